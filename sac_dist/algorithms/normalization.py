"""Observations brought to one size, by statistics that all processes of a run share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sac_dist.data.batch import Batch
from sac_dist.data.moments import Moments
from sac_dist.networks.policy import Actor
from sac_dist.settings import ConfigError
from sac_dist.system.shared import DoubleBuffer

LIMIT = 10.0  # normalised observations lie in ± this
VARIANCE_FLOOR = 1e-8  # is added to a variance; both as in Stable-Baselines3's VecNormalize
LOWEST, HIGHEST = np.float32(-LIMIT), np.float32(LIMIT)
NAMES = tuple(f"observations.{part}" for part in Moments._fields)  # in a checkpoint


class Normalization:
    """(o − mean) / √(variance + 1e-8), within ± 10, of the observations that :meth:`add` was told of.

    A component that has had one value alone is centred and not scaled: its next value, were it a billionth
    away, would else become a 10. Without any observation all stay as they are but for the bounds.

    After :meth:`share_memory` it can be sent to other processes, one of which at a time calls ``add`` or
    ``set``.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._buffer = DoubleBuffer(1 + 2 * size, 2 * size)
        self.set(Moments.none(size))

    def share_memory(self) -> None:
        self._buffer.share_memory()

    @property
    def numbers(self) -> npt.NDArray[np.float32]:
        """(2 size,) mean and scale, which acting and updates go by."""
        return self._buffer.numbers

    # statistics

    @property
    def known(self) -> bool:
        """Whether there is an observation to go by."""
        return self._buffer.first > 0

    @property
    def moments(self) -> Moments:
        number, mean, squares = np.split(self._buffer.read(), [1, 1 + self.size])
        return Moments(number.item(), mean, squares)

    def add(self, new: Moments) -> None:
        """Go by these observations too from now on."""
        self.set(self.moments.merged(new))

    def set(self, moments: Moments) -> None:
        scale = np.where(moments.squares > 0, 1 / np.sqrt(moments.variance + VARIANCE_FLOOR), 1)
        row = np.concatenate([[moments.number], moments.mean, moments.squares])
        self._buffer.write(row, np.concatenate([moments.mean, scale]))

    # a checkpoint's part

    def state(self) -> dict[str, Tensor]:
        """A copy, float64."""
        parts = (torch.as_tensor(part, dtype=torch.float64) for part in self.moments)
        return dict(zip(NAMES, parts, strict=True))

    def moments_in(self, state: Mapping[str, Any]) -> Moments:
        """What ``state`` gave. Raise ConfigError if a part is missing or not of this kind."""
        for name, shape in zip(NAMES, ((), (self.size,), (self.size,)), strict=True):
            tensor = state.get(name)
            if tensor is None:
                raise ConfigError(f"missing tensor {name}")
            good = isinstance(tensor, Tensor) and tensor.dtype == torch.float64 and tensor.shape == shape
            if not good or not bool(tensor.isfinite().all()):
                raise ConfigError(f"{name} is no finite float64 tensor of shape {shape}")
            if name != NAMES[1] and bool((tensor < 0).any()):
                raise ConfigError(f"{name} holds negative numbers")
        number, mean, squares = (state[name].numpy() for name in NAMES)
        return Moments(number.item(), mean, squares)

    # use

    def batch(self, batch: Batch) -> Batch:
        """``batch`` with normalised observations, in memory of its own that has the same strides: compiled
        updates are compiled for those.
        """
        return batch._replace(
            observation=self._normalised(batch.observation),
            next_observation=self._normalised(batch.next_observation),
        )

    def _normalised(self, observations: Tensor) -> Tensor:
        mean, scale = torch.from_numpy(self.numbers).split(self.size)
        out = torch.empty_strided(observations.shape, observations.stride(), dtype=torch.float32)
        # not o · scale − mean · scale: of large numbers the difference would be lost
        return torch.sub(observations, mean, out=out).mul_(scale).clamp_(-LIMIT, LIMIT)

    def before(self, actor: Actor) -> Actor:
        """``actor`` on normalised observations."""

        def act(
            observation: npt.NDArray[np.float32], noise: npt.NDArray[np.float32] | None
        ) -> npt.NDArray[np.float32]:
            return actor(self.of(observation), noise)

        return act

    def of(self, observation: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One observation (size,), normalised."""
        numbers = self.numbers
        x = np.subtract(observation, numbers[: self.size])
        np.multiply(x, numbers[self.size :], out=x)
        np.minimum(x, HIGHEST, out=x)
        np.maximum(x, LOWEST, out=x)
        return x
