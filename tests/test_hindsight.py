"""Hindsight experience replay: which goals transitions get, and what rewards."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_replay import CONTEXT, wait_until

from sac_dist.data.dataset import DataSet
from sac_dist.data.hindsight import Hindsight, Later, spread
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.sampler import AHEAD, Batches
from sac_dist.data.schema import Field, Schema
from sac_dist.data.transitions import Transitions
from sac_dist.settings import AgentConfig, Config, ConfigError, DataConfig

pytestmark = pytest.mark.timeout(120)
SCHEMA = Schema((Field("achieved_goal", (2,)), Field("desired_goal", (2,)), Field("observation", (1,))), 1)
COLUMNS = SCHEMA.columns
AGENT = AgentConfig()


def row(episode: int, step: int, terminated: bool = False, truncated: bool = False) -> tuple[Any, ...]:
    """What is achieved says episode and step, what is desired is -1 -1, the reward 100."""
    here, after = ([episode, at, -1, -1, at] for at in (step, step + 1))
    return np.float32(here), np.zeros(1, np.float32), 100.0, np.float32(after), terminated, truncated


def play(buffer: ReplayBuffer, episode: int, length: int, ending: str = "truncated") -> None:
    buffer.begin_episode()
    for step in range(length):
        last = step == length - 1
        buffer.push(*row(episode, step, last and ending == "terminated", last and ending == "truncated"))


class Steps:
    """Rewards tell how many steps the achieved goal is behind the desired one; it ends where they meet."""

    def rewards(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        assert (achieved[:, 0] == desired[:, 0]).all(), "a goal of another episode"
        return achieved[:, 1] - desired[:, 1]

    def terminated(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray | None:
        return (achieved == desired).all(axis=1).astype(np.float32)


class Endless(Steps):
    def terminated(self, achieved: np.ndarray, desired: np.ndarray) -> None:
        return None


def hindsight(her: Any = "future", ratio: float = 0.8, goals: Any = Steps) -> Hindsight:
    return Hindsight(SCHEMA, DataConfig(her=her, her_ratio=ratio), goals)


def check(rows: np.ndarray, which: np.ndarray, ends: dict[int, int], final: bool = False) -> None:
    """``ends``: of each episode the steps that are written."""
    parts = SCHEMA.views(rows)
    observation, following = parts["observation"], parts["next_observation"]
    np.testing.assert_array_equal(observation[:, 2:4], following[:, 2:4])
    np.testing.assert_array_equal(following[:, :2] - observation[:, :2], np.tile([0, 1], (len(rows), 1)))
    relabelled = np.zeros(len(rows), bool)
    relabelled[which] = True
    assert (observation[~relabelled, 2:4] == -1).all() and (parts["reward"][~relabelled] == 100).all()
    episode, goal = following[relabelled, 0], observation[relabelled, 2:4]
    np.testing.assert_array_equal(goal[:, 0], episode)
    end = np.array([ends[int(number)] for number in episode], np.float32)
    assert (goal[:, 1] >= following[relabelled, 1]).all(), "a goal from before the transition"
    assert (goal[:, 1] <= end).all() and (not final or (goal[:, 1] == end).all())
    np.testing.assert_array_equal(parts["reward"][relabelled], following[relabelled, 1] - goal[:, 1])
    np.testing.assert_array_equal(parts["terminated"][relabelled], goal[:, 1] == following[relabelled, 1])


@st.composite
def histories(draw: Any) -> Any:
    shards = draw(st.integers(1, 3))
    capacity = draw(st.integers(shards, 30))
    episode = st.tuples(
        st.integers(0, shards - 1), st.integers(1, 9), st.sampled_from(["truncated", "terminated", "cut"])
    )
    return (
        capacity,
        shards,
        draw(st.lists(episode, min_size=1, max_size=12)),
        draw(st.sampled_from([0.3, 0.8, 1])),
    )


@given(histories(), st.sampled_from(["future", "final"]))
@settings(max_examples=150, deadline=None)
def test_goals_come_from_the_rest_of_the_same_episode_and_rewards_go_with_them(
    history: Any, her: str
) -> None:
    capacity, shards, episodes, ratio = history
    buffer, ends = ReplayBuffer(capacity, SCHEMA, shards), {}
    writers = [buffer.for_shard(shard) for shard in range(shards)]
    for number, (shard, length, ending) in enumerate(episodes):
        play(writers[shard], number, length, ending)
        ends[number] = length
    rows = np.empty((40, SCHEMA.row_width), np.float32)
    hindsight(her, ratio).sample_into(buffer, rows, np.random.default_rng(0))
    check(rows, spread(40, ratio), ends, her == "final")


def test_every_later_step_of_the_episode_is_as_likely() -> None:
    buffer = ReplayBuffer(100, SCHEMA)
    play(buffer, 0, 4)
    rows = np.empty((40_000, SCHEMA.row_width), np.float32)
    hindsight(ratio=1.0).sample_into(buffer, rows, np.random.default_rng(0))
    first = rows[rows[:, 1] == 0]
    goals, counts = np.unique(first[:, 3], return_counts=True)
    assert goals.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(counts / len(first), 0.25, atol=0.02)


def test_a_truncated_end_stays_one_and_a_terminated_one_is_judged_anew() -> None:
    for goals, kept in ((Steps, False), (Endless, True)):
        buffer = ReplayBuffer(100, SCHEMA)
        play(buffer, 0, 5, "terminated")
        play(buffer, 1, 5, "truncated")
        rows = np.empty((2000, SCHEMA.row_width), np.float32)
        hindsight(ratio=1.0, goals=goals).sample_into(buffer, rows, np.random.default_rng(0))
        parts = SCHEMA.views(rows)
        last = parts["next_observation"][:, 1] == 5
        episode = parts["observation"][:, 0]
        assert (parts["truncated"] == (last & (episode == 1))).all()
        if kept:
            assert (parts["terminated"] == (last & (episode == 0))).all()
        else:
            assert (parts["terminated"] == (parts["reward"] == 0)).all() and parts["terminated"][~last].any()


def lie(buffer: ReplayBuffer, episode: int) -> None:
    """Five steps in which what is achieved stays at [episode, 0]."""
    buffer.begin_episode()
    for at in range(5):
        here, after = (np.float32([episode, 0, -1, -1, step]) for step in (at, at + 1))
        buffer.push(here, np.zeros(1, np.float32), 100.0, after, False, at == 4)


def moving(rows: np.ndarray) -> float:
    """The share of transitions with another goal that were not there when they began."""
    parts = SCHEMA.views(rows[spread(len(rows), 0.8)])
    return float((parts["observation"][:, 1] != parts["observation"][:, 3]).mean())


def test_goals_that_were_reached_before_the_step_are_drawn_again() -> None:
    buffer = ReplayBuffer(1000, SCHEMA)
    for episode in range(8):
        lie(buffer, episode)
    rows, relabels, rng = (
        np.empty((5000, SCHEMA.row_width), np.float32),
        hindsight(),
        np.random.default_rng(0),
    )
    relabels.sample_into(buffer, rows, rng)  # there are no others
    assert moving(rows) == 0
    play(buffer, 8, 5)
    play(buffer, 9, 5)
    relabels.sample_into(buffer, rows, rng)
    assert moving(rows) == pytest.approx(1 - 0.8**5, abs=0.03)
    check(rows[rows[:, 0] >= 8], np.flatnonzero(rows[rows[:, 0] >= 8, 2] >= 0), {8: 5, 9: 5})
    parts = SCHEMA.views(rows)
    untouched = np.setdiff1d(np.arange(5000), spread(5000, 0.8))
    assert (parts["observation"][untouched, 0] < 8).mean() == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1 / 3, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("n", [1, 7, 256, 2048])
def test_shares_are_exact_in_every_batch_of_a_block(ratio: float, n: int) -> None:
    which = spread(n, ratio)
    assert abs(len(which) - ratio * n) < 1
    for start in range(0, n, 64):
        stretch = min(64, n - start)
        assert abs(((which >= start) & (which < start + 64)).sum() - ratio * stretch) <= 1


def write(buffer: ReplayBuffer) -> None:
    for episode in itertools.cycle(range(1000)):
        play(buffer, episode, 1 + episode % 7)


@pytest.mark.slow
def test_a_ring_that_is_overwritten_meanwhile_gives_goals_of_the_same_episode() -> None:
    buffer, ends = ReplayBuffer(40, SCHEMA, 2), {number: 1 + number % 7 for number in range(1000)}
    writers = [
        CONTEXT.Process(target=write, args=(buffer.for_shard(shard),), daemon=True) for shard in (0, 1)
    ]
    rows, rng, relabels = np.empty((32, SCHEMA.row_width), np.float32), np.random.default_rng(0), hindsight()
    for writer in writers:
        writer.start()
    try:
        wait_until(lambda: (buffer.written > 100).all(), 60)
        before = buffer.written
        for _ in range(200):
            relabels.sample_into(buffer, rows, rng)
            check(rows, spread(32, 0.8), ends)
        assert (buffer.written > before + 100).all()
    finally:
        for writer in writers:
            writer.kill()
            writer.join()


class Overtaken(ReplayBuffer):
    """Its writer overwrites all while goals are looked up for the first time."""

    def episodes_of(self, shard: np.ndarray, index: np.ndarray) -> Any:
        if not getattr(self, "lapped", False):
            self.lapped = True
            play(self, 7, 12)
        return super().episodes_of(shard, index)


def test_what_was_overwritten_is_drawn_again_with_its_goals() -> None:
    buffer = Overtaken(10, SCHEMA)
    play(buffer, 3, 10)
    rows = np.empty((50, SCHEMA.row_width), np.float32)
    hindsight().sample_into(buffer, rows, np.random.default_rng(0))
    assert (rows[:, 0] == 7).all()
    check(rows, spread(50, 0.8), {7: 12})


@pytest.fixture
def data() -> DataSet:
    """Episodes 500, 501, … of 3, 4, 5 and 6 steps."""
    rows = [row(500 + n, step, step == 2 + n) for n in range(4) for step in range(3 + n)]
    return DataSet(
        Transitions.of_arrays(dict(zip(COLUMNS, zip(*rows, strict=True), strict=True)), schema=SCHEMA), AGENT
    )


ENDS = {500 + n: 3 + n for n in range(4)}


def batches(data: DataSet | None, config: DataConfig, **more: Any) -> Iterator[np.ndarray]:
    """Rows of batches of 40; the replay has the episodes 0 … 9 of 5 steps."""
    buffer = ReplayBuffer(1000, SCHEMA)
    for episode in range(10):
        play(buffer, episode, 5)
    made = Batches(buffer, data, config, 40, AGENT, hindsight=Hindsight(SCHEMA, config, Steps), **more)
    rng = np.random.default_rng(0)
    while True:
        batch = made.online(0, rng)
        terminated = batch.discount.numpy() == 0
        parts = (batch.observation, batch.action, batch.reward, batch.next_observation)
        yield SCHEMA.rows(
            dict(
                zip(COLUMNS, [*(part.numpy() for part in parts), terminated, terminated & False], strict=True)
            )
        )


@pytest.mark.parametrize("her", ["future", "final"])
def test_demonstrations_get_goals_as_the_replay_does(data: DataSet, her: Any) -> None:
    drawn = batches(data, DataConfig(demos=("x",), demo_ratio=0.5, her=her))
    for _ in range(20):
        rows = next(drawn)
        for half, ends in ((rows[:20], ENDS), (rows[20:], dict.fromkeys(range(10), 5))):
            check(half, spread(20, 0.8), ends, her == "final")


def test_prefilled_ones_too(data: DataSet) -> None:
    drawn = batches(data, DataConfig(demos=("x",), demo_mode="prefill", her="future"))
    for _ in range(20):
        rows = next(drawn)
        of_data = int((rows[:, 0] >= 500).sum())
        assert 0 < of_data < 40
        check(rows[:of_data], spread(of_data, 0.8), ENDS)
        check(rows[of_data:], spread(40 - of_data, 0.8), dict.fromkeys(range(10), 5))


def test_the_return_to_go_of_another_goal_is_not_known(data: DataSet) -> None:
    config = DataConfig(offline=("x",), her="future")
    made = Batches(ReplayBuffer(5, SCHEMA), data, config, 40, AGENT, {"cql"}, hindsight=hindsight())
    known = made.offline(np.random.default_rng(0)).return_to_go.numpy() > -np.inf
    assert (np.flatnonzero(~known) == spread(40, 0.8)).all()


def test_batches_drawn_ahead_have_their_share_and_go_on_after_a_checkpoint() -> None:
    buffer = ReplayBuffer(1000, SCHEMA)
    play(buffer, 0, 5)
    play(buffer, 1, 7)
    config = DataConfig(her="future")
    first, second = (Batches(buffer, None, config, 50, AGENT, hindsight=hindsight()) for _ in range(2))
    rng = np.random.default_rng(3)
    for _ in range(3):
        batch = first.online(0, rng)
        assert int((batch.reward < 100).sum()) == 40
    kept, state = first.ahead(), rng.bit_generator.state
    assert len(kept) == AHEAD - 3
    again = np.random.default_rng(0)
    again.bit_generator.state = state
    second.set_ahead(kept)
    for _ in range(12):
        one, other = first.online(0, rng), second.online(0, again)
        assert all(a.equal(b) for a, b in zip(one[:5], other[:5], strict=True))


def test_n_steps_have_no_goals_in_hindsight() -> None:
    with pytest.raises(ConfigError, match=r"^her is for single steps, not n_step 3"):
        Config(agent=AgentConfig(n_step=3), data=DataConfig(her="final"))


def test_a_cluster_s_stores_find_the_goals_and_its_learner_judges_them() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'sac_dist[ray]'")
    from test_ray_parts import LocalStores

    from sac_dist.engine.ray.replay import Store, StoreHindsight, StoreSampler

    config = DataConfig(her="final")
    later = Later.of(SCHEMA, config)
    stores = LocalStores()
    stores.handles = [Store(100, SCHEMA, 2, False, later) for _ in range(2)]
    for episode in range(8):
        play(stores.handles[episode % 2].buffer.for_shard(episode // 4), episode, 3 + episode)
    sampler = StoreSampler(stores, SCHEMA, 90, lambda: None, later)
    hindsight, rng = StoreHindsight(SCHEMA, config, Steps), np.random.default_rng(0)
    rows, seen = np.empty((40, SCHEMA.row_width), np.float32), set()
    for _ in range(20):  # some over the end of a block
        hindsight.sample_into(sampler, rows, rng)
        check(rows, spread(40, 0.8), {episode: 3 + episode for episode in range(8)}, final=True)
        seen |= set(rows[:, 0].astype(int).tolist())
    assert seen == set(range(8))
