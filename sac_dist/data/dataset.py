"""Transitions that do not change, in shared memory, and batches of them alone or beside the replay's."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from sac_dist.data.batch import Batch
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.transitions import Demonstrations
from sac_dist.settings import AgentConfig, DataConfig
from sac_dist.system.shared import SharedArray


def returns_to_go(demos: Demonstrations, config: AgentConfig) -> npt.NDArray[np.float32]:
    """(N,) Σ_k γᵏ r_{t+k} of the scaled rewards up to the episode's end; -inf where it was truncated, as what
    followed is unknown.
    """
    returns = config.reward_scale * demos.reward.astype(np.float64) + config.reward_bias
    for t in range(len(demos) - 1, -1, -1):
        if demos.truncated[t]:
            returns[t] = -np.inf
        elif not demos.terminated[t] and config.discount > 0:
            returns[t] += config.discount * returns[t + 1]
    return returns.astype(np.float32)


class DataSet:
    """N transitions in shared memory: pickling it to another process gives a handle on the same.

    Rows are those of replay.py, but the last column holds the return-to-go in place of ``truncated``, which
    no batch has.
    """

    def __init__(self, demos: Demonstrations, config: AgentConfig) -> None:
        self.observation_size, self.action_size = demos.observation.shape[1], demos.action.shape[1]
        columns = (
            demos.observation,
            demos.action,
            demos.reward,
            demos.next_observation,
            demos.terminated,
            returns_to_go(demos, config),
        )
        self._memory = SharedArray((len(demos), 2 * self.observation_size + self.action_size + 3), np.float32)
        self.rows[:] = np.concatenate(
            [column.reshape(len(demos), -1).astype(np.float32) for column in columns], axis=1
        )

    @property
    def rows(self) -> npt.NDArray[np.float32]:
        """(N, row width)"""
        return self._memory.array

    def __len__(self) -> int:
        return len(self.rows)

    def sample_into(self, out: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
        """Fill ``out`` (B, row width) with rows drawn uniformly, with replacement."""
        self.rows.take((rng.random(len(out)) * len(self)).astype(np.int64), axis=0, out=out, mode="clip")


AHEAD = (
    8  # batches drawn at once from the replay alone: finding the rows of one takes longer than copying them
)


class Batches:
    """Draws the batches of one process: from the replay alone, from data alone, or from both as
    ``DataConfig`` says.

    A batch's tensors are views of memory that later ones overwrite. Those of the algorithms in ``calibrated``
    (Cal-QL) carry ``return_to_go``, which is known for data alone.
    """

    def __init__(
        self,
        replay: ReplayBuffer,
        data: DataSet | None,
        config: DataConfig,
        batch_size: int,
        calibrated: Collection[str] = (),
    ) -> None:
        self.replay, self.data, self.config = replay, data, config
        self.batch_size, self.calibrated = batch_size, calibrated
        appended = len(data) if data is not None and config.demo_mode == "append" else 0
        self._sizes = replay.observation_size, replay.action_size
        self._rows = np.empty((batch_size + appended, replay.row_width), np.float32)
        if appended and data is not None:
            self._rows[batch_size:] = data.rows
        self._online = Batch.of_rows(self._rows, *self._sizes, returns=config.online_algo in calibrated)
        self._offline = Batch.of_rows(
            self._rows[:batch_size], *self._sizes, returns=config.algo in calibrated
        )

        self._drawn: list[Batch] = []  # ahead, and not handed out yet
        self._block = np.empty((AHEAD, *self._rows.shape), np.float32)
        self._of_block = [Batch.of_rows(rows, *self._sizes) for rows in self._block]

    def online(self, steps: int, rng: np.random.Generator) -> Batch:
        """A batch for the online phase after ``steps`` environment steps."""
        if self.data is None and not self.calibrated:
            if not self._drawn:
                self.replay.sample_into(self._block.reshape(-1, self._block.shape[2]), rng)
                self._drawn = self._of_block[::-1]
            return self._drawn.pop()
        self._mix(self._from_data(steps, rng), rng)
        return self._online

    def forget(self) -> None:
        """Draw the next batch anew: what was drawn ahead is in no checkpoint, and a resumed run is to draw
        what this one does.
        """
        self._drawn = []

    def offline(self, rng: np.random.Generator) -> Batch:
        """A batch for an offline phase: of data, and once the replay holds something half of each."""
        if self.data is None:  # demo_overwrite: they lie in the replay
            self._mix(0, rng)
        else:
            self._mix(self.batch_size // 2 if len(self.replay) else self.batch_size, rng)
        return self._offline

    def _from_data(self, steps: int, rng: np.random.Generator) -> int:
        """How many transitions of a batch come from the data."""
        config = self.config
        if self.data is None or config.demo_mode == "append":
            return 0
        if config.demo_mode == "prefill":  # as if they lay in the buffer, where nothing overwrites them
            return int(rng.binomial(self.batch_size, len(self.data) / (len(self.data) + len(self.replay))))
        left = 1.0 if config.demo_anneal is None else max(0.0, 1 - steps / config.demo_anneal)
        return round(config.demo_ratio * left * self.batch_size)

    def _mix(self, from_data: int, rng: np.random.Generator) -> None:
        if from_data:
            assert self.data is not None
            self.data.sample_into(self._rows[:from_data], rng)
        if from_data < self.batch_size:
            self.replay.sample_into(self._rows[from_data : self.batch_size], rng)
            if self.calibrated:
                self._rows[from_data : self.batch_size, -1] = -np.inf
