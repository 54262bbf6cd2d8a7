"""Transitions that do not change, in shared memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sac_dist.data.pictures import Seen, slots_of_stack
from sac_dist.data.schema import Rows
from sac_dist.data.transitions import Starts, Transitions
from sac_dist.settings import AgentConfig
from sac_dist.system.shared import SharedArray


def returns_to_go(data: Transitions, config: AgentConfig) -> npt.NDArray[np.float32]:
    """(N,) Σ_k γᵏ r_{t+k} of the scaled rewards up to the episode's end; -inf where it was truncated, as what
    followed is unknown.
    """
    returns = config.reward_scale * data.reward.astype(np.float64) + config.reward_bias
    truncated, terminated = data.truncated.tolist(), data.terminated.tolist()
    for t in range(len(data) - 1, -1, -1):
        if truncated[t]:
            returns[t] = -np.inf
        elif not terminated[t] and config.discount > 0:
            returns[t] += config.discount * returns[t + 1]
    return returns.astype(np.float32)


class DataSet:
    """N transitions in shared memory, each with its return-to-go: pickling it to another process gives a
    handle on the same.
    """

    def __init__(self, data: Transitions, config: AgentConfig) -> None:
        self.schema = data.schema
        self._rows = _shared(data.rows)
        self._starts = _shared(data.starts)
        self._return_to_go = _shared(returns_to_go(data, config))
        self._frames = None if data.frames is None else _shared(data.frames)

    @property
    def rows(self) -> Rows:
        """(N, row_width)"""
        return self._rows.array

    @property
    def starts(self) -> Starts:
        """(E,) the row at which each episode begins."""
        return self._starts.array

    @property
    def return_to_go(self) -> npt.NDArray[np.float32]:
        """(N,) see :func:`returns_to_go`."""
        return self._return_to_go.array

    def __len__(self) -> int:
        return len(self.rows)

    def draw(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """(n,) rows drawn uniformly, with replacement."""
        return (rng.random(n) * len(self)).astype(np.int64)

    def stops_of(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(n,) one past the last row of the episode of each row ``index`` (n,)."""
        return np.append(self.starts[1:], len(self))[self.starts.searchsorted(index, side="right") - 1]

    def look(self, index: npt.NDArray[np.int64], last: npt.NDArray[np.int64], out: Seen) -> None:
        """Fill ``out`` with what the observations of rows ``index`` (n,) show, and the next ones of ``last``
        (n,), which are of the same episodes.
        """
        assert self._frames is not None
        episode = self.starts.searchsorted(index, side="right") - 1
        first = self.starts[episode] + episode
        for of, into in ((index, out.now), (last + 1, out.following)):
            slots = slots_of_stack(of + episode, first, self.schema.stack)
            self._frames.array.take(slots, axis=0, out=into, mode="clip")

    def next_actions(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """(n, action_size) of the rows after ``index`` (n,), NaN where that is the last of its episode."""
        actions = self.rows[:, self.schema.columns["action"]].take(index + 1, axis=0, mode="clip")
        actions[index + 1 == self.stops_of(index)] = np.nan
        return actions


def _shared(array: npt.NDArray[np.generic]) -> SharedArray:
    shared = SharedArray(array.shape, array.dtype)
    shared.array[:] = array
    return shared
