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
from sac_dist.system.shared import SharedArray, memory_fence

LIMIT = 10.0  # normalised observations lie in ± this
VARIANCE_FLOOR = 1e-8  # is added to a variance; both as in Stable-Baselines3's VecNormalize
LOWEST, HIGHEST = np.float32(-LIMIT), np.float32(LIMIT)
NAMES = tuple(f"observations.{part}" for part in Moments._fields)  # in a checkpoint


class Normalization:
    """(o − mean) / √(variance + 1e-8), within ± 10, of the observations that :meth:`add` was told of.

    A component that has had one value alone is centred and not scaled: its next value, were it a billionth
    away, would else become a 10. Without any observation all stay as they are but for the bounds.

    After :meth:`share_memory` it can be sent to other processes. One at a time calls ``add`` or ``set``; it
    writes the moments beside the present ones and then says which count, so that it may be killed anywhere.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._shared: SharedArray | None = None
        # two sets of moments, which of them counts, and float32 mean and scale
        self._bind(np.zeros(2 * (1 + 2 * size) + 1 + size))
        self.set(Moments.none(size))

    def _bind(self, memory: npt.NDArray[np.float64]) -> None:
        self._memory = memory
        slots, turn, numbers = np.split(memory, [2 * (1 + 2 * self.size), -self.size])
        self._slots, self._turn = slots.reshape(2, -1), turn.view(np.int64)
        self.numbers = numbers.view(np.float32)  # (2 size,) mean and scale, which acting and updates go by
        self._mean, self._scale = np.split(self.numbers, 2)
        self._tensors = torch.from_numpy(self._mean), torch.from_numpy(self._scale)

    def share_memory(self) -> None:
        if self._shared is None:
            self._shared = SharedArray(self._memory.shape, np.float64)
            self._shared.array[:] = self._memory
            self._bind(self._shared.array)

    def __getstate__(self) -> dict[str, Any]:
        memory = self._memory if self._shared is None else None
        return {"size": self.size, "_shared": self._shared, "memory": memory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        memory = state.pop("memory")
        self.__dict__.update(state)
        # what Ray unpickles can only be read
        self._bind(memory.copy() if self._shared is None else self._shared.array)

    # statistics

    @property
    def known(self) -> bool:
        """Whether there is an observation to go by."""
        return self._slots.item(self._turn.item(0) % 2, 0) > 0

    @property
    def moments(self) -> Moments:
        while True:
            turn = self._turn.item(0)
            memory_fence()
            number, mean, squares = np.split(self._slots[turn % 2].copy(), [1, 1 + self.size])
            memory_fence()
            if self._turn.item(0) == turn:
                return Moments(number.item(), mean, squares)

    def add(self, new: Moments) -> None:
        """Go by these observations too from now on."""
        self.set(self.moments.merged(new))

    def set(self, moments: Moments) -> None:
        turn = self._turn.item(0) + 1
        self._slots[turn % 2] = np.concatenate([[moments.number], moments.mean, moments.squares])
        scale = 1 / np.sqrt(moments.variance + VARIANCE_FLOOR)
        self._mean[:], self._scale[:] = moments.mean, np.where(moments.squares > 0, scale, 1)
        memory_fence()
        self._turn[0] = turn
        memory_fence()

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
        mean, scale = self._tensors
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
        x = np.subtract(observation, self._mean)
        np.multiply(x, self._scale, out=x)
        np.minimum(x, HIGHEST, out=x)
        np.maximum(x, LOWEST, out=x)
        return x
