"""Batches drawn from the replay alone, from data alone, or from both; of single steps or of n steps."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from sac_dist.data.batch import Batch
from sac_dist.data.dataset import DataSet
from sac_dist.data.hindsight import Hindsight
from sac_dist.data.pictures import Seen
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.schema import Rows, Schema
from sac_dist.data.segment import Counts
from sac_dist.settings import AgentConfig, DataConfig

Numbers = npt.NDArray[np.float32]

# batches drawn at once from the replay alone: finding the rows of one takes longer than copying them
AHEAD = 8


class Batches:
    """Draws the batches of one process: from the replay alone, from data alone, or from both as
    ``DataConfig`` says.

    A batch's tensors are views of memory that later ones overwrite.

    Args:
        agent: γ, and what is made of each reward before n of them are added.
        calibrated: algorithms (Cal-QL) whose batches carry ``return_to_go``, known for data alone.
        followed: algorithms (ReBRAC) whose batches of an offline phase carry ``next_action``, likewise.
        corrections: what a person did in place of the policy, which counts as data in the online phase.
        n_step: steps whose rewards count before the value of the state after them; see :func:`add_steps`.
        hindsight: gives a share of the transitions other goals; single steps alone.
    """

    def __init__(
        self,
        replay: ReplayBuffer,
        data: DataSet | None,
        config: DataConfig,
        batch_size: int,
        agent: AgentConfig,
        calibrated: Collection[str] = (),
        n_step: int = 1,
        hindsight: Hindsight | None = None,
        followed: Collection[str] = (),
        corrections: ReplayBuffer | None = None,
    ) -> None:
        self.hindsight, self.corrections = hindsight, corrections
        self.replay, self.data, self.config = replay, data, config
        self.batch_size, self.discount = batch_size, agent.discount
        self.calibrated, self.n_step = calibrated, n_step
        self.bias = agent.reward_bias / agent.reward_scale  # in units of the stored rewards
        self.schema = schema = replay.schema
        appended = len(data) if data is not None and config.demo_mode == "append" else 0
        rows = self._rows = np.empty((batch_size + appended, schema.row_width), np.float32)
        discounts = self._discounts = np.empty(batch_size + appended, np.float32)
        returns = self._returns = np.empty(batch_size + appended, np.float32)
        seen = self._seen = Seen.empty(batch_size + appended, schema)
        self._next_actions: Numbers | None = None
        if config.algo in followed:
            self._next_actions = np.empty((batch_size + appended, schema.action_size), np.float32)
        if appended and data is not None:
            self._fill(slice(batch_size, None), data, np.arange(appended))
        online = returns if config.online_algo in calibrated else None
        offline = returns[:batch_size] if config.algo in calibrated else None
        self._online = Batch.of_rows(rows, schema, discounts, online, seen=seen)
        followers = None if self._next_actions is None else self._next_actions[:batch_size]
        shown = None if seen is None else seen.part(slice(batch_size))
        self._offline = Batch.of_rows(
            rows[:batch_size], schema, discounts[:batch_size], offline, followers, shown
        )

        self._drawn: list[Batch] = []  # ahead, and not handed out yet
        self._block = np.empty((AHEAD, *rows.shape), np.float32)
        self._block_discounts = np.empty((AHEAD, len(rows)), np.float32)
        self._of_block = [
            Batch.of_rows(part, schema, discount)
            for part, discount in zip(self._block, self._block_discounts, strict=True)
        ]

    def online(self, steps: int, rng: np.random.Generator) -> Batch:
        """A batch for the online phase after ``steps`` environment steps."""
        by_blocks = self.data is None and self.corrections is None and self._seen is None
        if by_blocks and not self.calibrated:  # pictures take too much memory
            if not self._drawn:
                block = self._block.reshape(-1, self._block.shape[2])
                self._sample(self.replay, block, self._block_discounts.reshape(-1), None, rng)
                self._drawn = self._of_block[::-1]
            return self._drawn.pop()
        corrected = 0 if self.corrections is None else len(self.corrections)
        from_data = self._from_data(steps, rng, corrected)
        if corrected:
            known = 0 if self.data is None else len(self.data)
            corrected = int(rng.binomial(from_data, corrected / (known + corrected)))
        self._mix(from_data - corrected, rng, corrected)
        return self._online

    def ahead(self) -> Numbers:
        """(n, batch size, row_width + 1): what is drawn and not handed out yet, rows and discounts, for a
        checkpoint.
        """
        begin = AHEAD - len(self._drawn)
        parts = self._block[begin:], self._block_discounts[begin:, :, None]
        return np.concatenate(parts, axis=2)

    def set_ahead(self, drawn: Numbers) -> None:
        """Hand these out first. Raises ValueError if they are not of this run."""
        shape = self._block.shape[1], self._block.shape[2] + 1
        if drawn.dtype != np.float32 or drawn.shape[1:] != shape or len(drawn) > AHEAD:
            raise ValueError(f"batches of {drawn.dtype} {drawn.shape} are not of this run")
        begin = AHEAD - len(drawn)
        self._block[begin:], self._block_discounts[begin:] = drawn[:, :, :-1], drawn[:, :, -1]
        self._drawn = self._of_block[begin:][::-1]

    def offline(self, rng: np.random.Generator) -> Batch:
        """A batch for an offline phase: of data, and once the replay holds something half of each."""
        if self.data is None:  # demo_overwrite: they lie in the replay
            self._mix(0, rng)
        else:
            self._mix(self.batch_size // 2 if len(self.replay) else self.batch_size, rng)
        return self._offline

    def _from_data(self, steps: int, rng: np.random.Generator, corrected: int = 0) -> int:
        """How many transitions of a batch come from the data and the corrections, of which there are
        ``corrected``; of few corrections alone no more than there are.
        """
        config = self.config
        if self.data is None:
            return min(round(config.demo_ratio * self.batch_size), corrected)
        if config.demo_mode == "append":
            return 0
        if config.demo_mode == "prefill":  # as if they lay in the buffer, where nothing overwrites them
            return int(rng.binomial(self.batch_size, len(self.data) / (len(self.data) + len(self.replay))))
        left = 1.0 if config.demo_anneal is None else max(0.0, 1 - steps / config.demo_anneal)
        return round(config.demo_ratio * left * self.batch_size)

    def _mix(self, from_data: int, rng: np.random.Generator, corrected: int = 0) -> None:
        if from_data:
            assert self.data is not None
            self._fill(slice(from_data), self.data, self.data.draw(from_data, rng), rng)
        if corrected:
            assert self.corrections is not None
            self._draw(self.corrections, slice(from_data, from_data + corrected), rng)
        if from_data + corrected < self.batch_size:
            self._draw(self.replay, slice(from_data + corrected, self.batch_size), rng)
        if from_data < self.batch_size:
            rest = slice(from_data, self.batch_size)
            self._returns[rest] = -np.inf
            if self._next_actions is not None:
                self._next_actions[rest] = np.nan

    def _fill(
        self, where: slice, data: DataSet, index: Counts, rng: np.random.Generator | None = None
    ) -> None:
        """Put the data's rows ``index`` into a batch; with ``rng`` they may get other goals."""
        rows, discounts, returns = self._rows[where], self._discounts[where], self._returns[where]
        data.return_to_go.take(index, out=returns, mode="clip")
        if self.hindsight is None or rng is None:
            data.rows.take(index, axis=0, out=rows, mode="clip")
        else:
            returns[self.hindsight.take_data(data, index, rows, rng)] = -np.inf  # not known for another goal
        self.schema.discounts(rows, self.discount, out=discounts)
        steps = index[:, None]
        if self.n_step > 1:
            steps = steps_ahead(index, data.stops_of(index), self.n_step)
            rewards = data.rows[steps, self.schema.columns["reward"]]
            last = data.rows[steps[:, -1]]
            discounts[:] = add_steps(self.schema, rows, steps, rewards, last, self.discount, self.bias)
        if self._next_actions is not None:
            self._next_actions[where] = data.next_actions(steps[:, -1])
        if self._seen is not None:
            data.look(index, steps[:, -1], self._seen.part(where))

    def _draw(self, replay: ReplayBuffer, where: slice, rng: np.random.Generator) -> None:
        """Fill a part of the batch from ``replay``."""
        seen = None if self._seen is None else self._seen.part(where)
        self._sample(replay, self._rows[where], self._discounts[where], seen, rng)

    def _sample(
        self,
        replay: ReplayBuffer,
        rows: Rows,
        discounts: Numbers,
        seen: Seen | None,
        rng: np.random.Generator,
    ) -> None:
        """Fill rows (B, row_width), discounts (B,) and pictures from ``replay``."""
        if self.n_step == 1:
            if self.hindsight is None:
                replay.sample_into(rows, rng, seen)
            else:
                self.hindsight.sample_into(replay, rows, rng, seen)
            self.schema.discounts(rows, self.discount, out=discounts)
        else:
            sample_n_steps(replay, rows, discounts, rng, self.n_step, self.discount, self.bias, seen)


def sample_n_steps(
    replay: ReplayBuffer,
    rows: Rows,
    discounts: Numbers,
    rng: np.random.Generator,
    n: int,
    discount: float,
    bias: float = 0.0,
    seen: Seen | None = None,
) -> None:
    """As ``ReplayBuffer.sample_into``, with the rewards and the state of up to ``n`` steps; see add_steps."""
    schema = replay.schema
    again = np.arange(len(rows))
    while again.size:
        shard, index = replay.draw(again.size, rng)
        steps = steps_ahead(index, replay.episodes_of(shard, index).stop, n)
        drawn, last = (
            replay.take(shard, of, np.empty((again.size, schema.row_width), np.float32))
            for of in (index, steps[:, -1])
        )
        rewards = replay.take_columns(shard[:, None], steps, schema.columns["reward"])
        discounts[again] = add_steps(schema, drawn, steps, rewards, last, discount, bias)
        rows[again] = drawn
        if seen is not None:
            seen.put(again, replay.look(shard, index, steps[:, -1]))
        again = again[replay.overwritten(shard, index)]  # the steps after them are newer


def steps_ahead(index: Counts, stops: Counts, n: int) -> Counts:
    """(B, n) transitions ``index`` (B,) and the n - 1 after each; in place of those beyond ``stops`` (B,) the
    last one before it.
    """
    ahead: Counts = np.minimum(index[:, None] + np.arange(n), stops[:, None] - 1)
    return ahead


def add_steps(
    schema: Schema,
    rows: Rows,
    steps: Counts,
    rewards: Numbers,
    last: Rows,
    discount: float,
    bias: float = 0.0,
) -> Numbers:
    """Make of transitions ``rows`` (B, row_width) those of n steps: the reward is Σ_{k<m} γᵏ r_{t+k}, what
    follows is that of the m-th step; m is n, or less where the episode ends before that or the rest is not
    written yet. (Sutton and Barto, Reinforcement Learning, 2nd edition, equation 7.1.)

    Args:
        steps: see steps_ahead.
        rewards: (B, n) of these steps.
        last: (B, row_width) the last ones' rows.
        bias: what the algorithm adds to a reward, once; here it is added to the m - 1 others.

    Returns:
        (B,) γᵐ, or 0 where the last step terminated.
    """
    n = steps.shape[1]
    count = steps[:, -1] - steps[:, 0] + 1  # m
    powers = discount ** np.arange(n + 1.0)
    weights = np.where(np.arange(n) < count[:, None], powers[:n], 0.0)
    rows[:, schema.columns["reward"]] = (weights * (rewards + bias)).sum(axis=1) - bias
    for name in ("next_observation", "terminated", "truncated"):
        rows[:, schema.columns[name]] = last[:, schema.columns[name]]
    values: Numbers = (powers[count] * schema.discounts(last, 1.0)).astype(np.float32)
    return values
