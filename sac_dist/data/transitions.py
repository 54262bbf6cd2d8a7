"""The one form of demonstrations in memory: arrays of transitions, episode after episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.settings import ConfigError


@dataclass(frozen=True)
class Demonstrations:
    """N transitions of whole episodes in the order in which they happened; the last of each episode is
    terminated or truncated.

    Made by the readers (see ``files.read``), which have checked every entry: finite numbers, actions in [-1,
    1], and within an episode each next observation is the following transition's observation.
    """

    observation: npt.NDArray[np.float32]  # (N, observation_size)
    action: npt.NDArray[np.float32]  # (N, action_size), in [-1, 1]
    reward: npt.NDArray[np.float32]  # (N,)
    next_observation: npt.NDArray[np.float32]  # (N, observation_size), the true last one at an episode's end
    terminated: npt.NDArray[np.bool_]  # (N,) the episode ended in a state of no further value
    truncated: npt.NDArray[
        np.bool_
    ]  # (N,) the episode was cut (a time limit, a stopped run) but its value goes on
    success: npt.NDArray[np.bool_] | None = None  # (episodes,) None: the file does not say
    source: dict[str, Any] = field(
        default_factory=dict
    )  # plain JSON: "env" (EnvConfig's fields), "policy", "seed", … where known

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def ends(self) -> npt.NDArray[np.int64]:
        """(episodes,) one past each episode's last transition."""
        return np.flatnonzero(self.terminated | self.truncated) + 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(episodes,) transitions in each episode."""
        return np.diff(self.ends, prepend=0)

    @property
    def returns(self) -> npt.NDArray[np.float64]:
        """(episodes,) undiscounted sums of the rewards."""
        return np.add.reduceat(self.reward.astype(np.float64), self.ends - self.lengths)

    @classmethod
    def concatenate(cls, parts: Sequence[Demonstrations]) -> Demonstrations:
        """All episodes of ``parts`` (at least one), one part after the other; ``source`` is the first one's.

        Raises ConfigError if the sizes of observations or actions differ.
        """
        first = parts[0]
        for part in parts[1:]:
            for name in ("observation", "action"):
                mine, other = getattr(first, name).shape[1], getattr(part, name).shape[1]
                if mine != other:
                    raise ConfigError(
                        f"the demonstrations do not fit together: {name}s of {mine} and of {other} numbers"
                    )
        names = ("observation", "action", "reward", "next_observation", "terminated", "truncated")
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        successes = [part.success for part in parts if part.success is not None]
        success = np.concatenate(successes) if len(successes) == len(parts) else None
        return cls(**arrays, success=success, source=first.source)
