"""Where episodes begin in the ring and in its files, what is computed from that, and how they move to other
shards; against plain models.
"""

import contextlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_replay import CONTEXT, wait_until

from sac_dist.algorithms import losses
from sac_dist.data.dataset import DataSet
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.sampler import Batches, sample_n_steps
from sac_dist.data.schema import Schema
from sac_dist.data.segment import ReplaySegment, deal, shard_sizes
from sac_dist.data.transitions import Transitions
from sac_dist.settings import AgentConfig, ConfigError, DataConfig
from sac_dist.storage.segments import ReplayFiles

pytestmark = pytest.mark.timeout(120)
SCHEMA = Schema.vector(2, 1)


def push(
    buffer: ReplayBuffer, episode: int, step: int, terminated: bool = False, truncated: bool = False
) -> None:
    """The step of an episode says which it is, and its reward is its step."""
    here, after = np.float32([episode, step]), np.float32([episode, step + 1])
    buffer.push(here, np.zeros(1, np.float32), float(step), after, terminated, truncated)


def play(buffer: ReplayBuffer, episode: int, length: int, ending: str = "truncated") -> None:
    """A whole episode, or one that breaks off (``ending`` "cut")."""
    buffer.begin_episode()
    for step in range(length):
        last = step == length - 1
        push(buffer, episode, step, last and ending == "terminated", last and ending == "truncated")


def trajectories(segment: ReplaySegment) -> list[tuple[int, list[int]]]:
    """Each episode's number and steps, as the starts divide the rows. A row's next observation is that of the
    row after it, or the episode ends.
    """
    found = []
    for rows in np.split(segment.rows, segment.begins()[1:]):
        assert (rows[:, 0] == rows[0, 0]).all(), "two episodes in one"
        found.append((int(rows[0, 0]), rows[:, 1].astype(int).tolist()))
    return found


# In the ring


@st.composite
def histories(draw):
    shards = draw(st.integers(1, 3))
    capacity = draw(st.integers(shards, 25))
    shard = st.integers(0, shards - 1)
    operation = st.one_of(
        st.tuples(st.just("push"), shard, st.sampled_from(["", "", "", "terminated", "truncated"])),
        st.tuples(st.just("extend"), shard, st.lists(st.booleans(), max_size=12)),
        st.tuples(st.just("begin"), shard),
        st.tuples(st.just("handle"), shard),
        st.tuples(st.just("save")),
    )
    return capacity, shards, draw(st.lists(operation, max_size=40))


@given(histories())
@settings(max_examples=200, deadline=None)
def test_the_ring_knows_the_episode_of_every_stored_transition(history):
    capacity, shards, operations = history
    buffer = ReplayBuffer(capacity, SCHEMA, shards)
    writers = [buffer.for_shard(shard) for shard in range(shards)]
    model: list[list[int]] = [
        [] for _ in range(shards)
    ]  # of each transition ever written its episode's first
    fresh = [True] * shards
    for name, *arguments in operations:
        shard = arguments[0] if arguments else 0
        if name == "save":
            again = ReplayBuffer(capacity, SCHEMA, shards)
            assert again.restore(buffer.snapshot())
            buffer, writers = again, [again.for_shard(shard) for shard in range(shards)]
            fresh = [True] * shards
        elif name == "begin":
            writers[shard].begin_episode()
            fresh[shard] = True
        elif name == "handle":
            writers[shard] = buffer.for_shard(shard)
            fresh[shard] = True
        else:
            ends = [bool(arguments[1])] if name == "push" else arguments[1]
            for end in ends:
                model[shard].append(len(model[shard]) if fresh[shard] else model[shard][-1])
                fresh[shard] = end
            if name == "push":
                push(writers[shard], 0, 0, arguments[1] == "terminated", arguments[1] == "truncated")
            else:
                zeros = np.zeros((len(ends), 2))
                writers[shard].extend(
                    zeros, zeros[:, :1], zeros[:, 0], zeros, zeros[:, 0], np.array(ends, float)
                )
        for shard, starts in enumerate(model):
            stored = np.arange(max(len(starts) - shard_sizes(capacity, shards)[shard], 0), len(starts))
            found = buffer.episodes_of(np.full(len(stored), shard), stored)
            assert found.start.tolist() == [starts[index] for index in stored]
            stops = [starts.index(starts[i]) + starts.count(starts[i]) for i in stored]
            assert found.stop.tolist() == stops
            assert np.unique(found.number).size == len({starts[index] for index in stored})
    segment = buffer.snapshot()
    for starts, begun, start in zip(model, segment.episodes, segment.start, strict=True):
        assert begun.tolist() == sorted(set(starts[start:]))


def write_episodes(buffer: ReplayBuffer) -> None:
    """Episodes of 1, 2, … 5 steps, 1, 2, …; a row says at which transition its episode began."""
    start = buffer.state()["written"][buffer.shard]
    for length in itertools.cycle(range(1, 6)):
        for step in range(length):
            push(buffer, start, step, step == length - 1)
        start += length


@contextlib.contextmanager
def writing(buffer: ReplayBuffer, *shards: int):
    processes = [
        CONTEXT.Process(target=write_episodes, args=(buffer.for_shard(shard),), daemon=True)
        for shard in shards
    ]
    for process in processes:
        process.start()
    try:
        wait_until(lambda: all(buffer.state()["written"][shard] > 100 for shard in shards), 60)
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def test_a_reader_finds_the_right_episode_while_others_write():
    buffer, rng = ReplayBuffer(40, SCHEMA, 2), np.random.default_rng(0)
    looked = 0
    with writing(buffer, 0, 1):
        for _ in range(2000):
            shard, index = buffer.draw(16, rng)
            rows = buffer.take(shard, index, np.empty((16, SCHEMA.row_width), np.float32))
            found = buffer.episodes_of(shard, index)
            good = np.setdiff1d(np.arange(16), buffer.overwritten(shard, index))
            looked += len(good)
            np.testing.assert_array_equal(found.start[good], rows[good, 0])
            np.testing.assert_array_equal((index - found.start)[good], rows[good, 1])
            assert (found.stop > index)[good].all() and (found.stop - found.start <= 5)[good].all()
    assert looked > 5_000


@pytest.mark.slow
def test_snapshots_know_their_episodes_while_others_write_and_when_they_are_killed():
    buffer = ReplayBuffer(60, SCHEMA, 2)
    for _ in range(3):
        with writing(buffer, 0, 1):
            for _ in range(60):
                segment = buffer.snapshot()
                for (episode, steps), begun in zip(
                    trajectories(segment), np.concatenate(segment.episodes), strict=True
                ):
                    assert episode == begun and steps == list(range(steps[0], steps[0] + len(steps)))
    assert segment.stop.min() > 200


def test_a_writer_that_died_between_the_start_and_its_transition_leaves_one_start():
    buffer = ReplayBuffer(10, SCHEMA)
    play(buffer, 0, 3)
    buffer._begin(0, 3)  # and here it died
    play(buffer.for_shard(0), 1, 2)
    assert trajectories(buffer.snapshot()) == [(0, [0, 1, 2]), (1, [0, 1])]


class ReadEarly:
    """A count that a reader reads before the writer raised it, the first time that it looks."""

    def __init__(self, counts: np.ndarray, early: int) -> None:
        self.counts, self.early = counts, [early]

    def item(self, shard: int) -> int:
        return self.early.pop() if self.early else self.counts.item(shard)

    def __getitem__(self, shard: int) -> int:
        return self.counts[shard]


def test_a_writer_that_laps_a_search_does_not_lead_it_astray():
    """Episodes of one step in a ring of 5: four more are entered while a reader searches the table."""
    buffer = ReplayBuffer(5, SCHEMA)
    for number in range(100):
        play(buffer, number, 1)
    buffer._episodes = ReadEarly(buffer._episodes, 96)
    found = buffer.episodes_of(np.zeros(5, np.int64), np.arange(95, 100))
    assert found.number.tolist() == found.start.tolist() == list(range(95, 100))
    assert found.stop.tolist() == list(range(96, 101))
    buffer._episodes = ReadEarly(buffer._episodes.counts, 96)
    starts, number = buffer._begun(0, 95, 96)
    assert (starts.tolist(), number) == ([95], 95)


# n steps


def n_step_model(
    episode: list[tuple[float, bool]], step: int, n: int, discount: float
) -> tuple[float, int, float]:
    """Reward, step that follows and discount, of an episode's (reward, terminated)."""
    total, factor = 0.0, 1.0
    for k in range(n):
        reward, terminated = episode[step + k]
        total += factor * reward
        factor *= discount
        if terminated:
            return total, step + k + 1, 0.0
        if step + k + 1 == len(episode):
            break
    return total, step + k + 1, factor


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_n_steps_stop_where_the_episode_does(n):
    buffer, rng, discount = ReplayBuffer(70, SCHEMA, 2), np.random.default_rng(0), 0.9
    lengths = [5, 1, 7, 30, 3, 4, 9, 2, 11]
    endings = [
        "truncated",
        "terminated",
        "cut",
        "truncated",
        "terminated",
        "cut",
        "truncated",
        "terminated",
        "cut",
    ]
    for episode, (length, ending) in enumerate(zip(lengths, endings, strict=True)):
        play(buffer.for_shard(episode % 2), episode, length, ending)
    rows, discounts = np.empty((2000, SCHEMA.row_width), np.float32), np.empty(2000, np.float32)
    sample_n_steps(buffer, rows, discounts, rng, n, discount)
    for row, value in zip(rows, discounts, strict=True):
        episode, step = row[:2].astype(int)
        length = lengths[episode]
        model = [(float(k), endings[episode] == "terminated" and k == length - 1) for k in range(length)]
        reward, after, expected = n_step_model(model, step, n, discount)
        assert row[3] == pytest.approx(reward, rel=1e-5) and value == pytest.approx(expected, rel=1e-5)
        assert row[4:6].tolist() == [episode, after]
    assert len(np.unique(rows[:, :2], axis=0)) == len(buffer) > 50, "all are drawn"


def test_one_step_is_the_row_bit_for_bit():
    buffer = ReplayBuffer(70, SCHEMA, 2)
    for episode in range(8):
        play(buffer.for_shard(episode % 2), episode, 9, "terminated" if episode % 3 else "truncated")
    rows = [np.empty((500, SCHEMA.row_width), np.float32) for _ in range(2)]
    discounts = np.empty(500, np.float32)
    buffer.sample_into(rows[0], np.random.default_rng(1))
    sample_n_steps(buffer, rows[1], discounts, np.random.default_rng(1), 1, 0.98)
    np.testing.assert_array_equal(*rows)
    np.testing.assert_array_equal(discounts, SCHEMA.discounts(rows[0], 0.98))


def test_n_step_batches_of_data_and_replay():
    lengths = np.array([4, 6, 3])
    steps = np.concatenate([np.arange(length) for length in lengths])
    last = np.concatenate([np.arange(length) == length - 1 for length in lengths])
    observation = np.stack([np.repeat(np.arange(3), lengths), steps], 1)
    parts = {
        "observation": observation,
        "action": np.zeros((13, 1)),
        "reward": steps,
        "next_observation": observation + np.array([0, 1]),
        "terminated": last & (steps == 3),
        "truncated": last & (steps != 3),
    }
    agent = AgentConfig(discount=0.5, reward_scale=2.0, reward_bias=-3.0)  # of each of the n rewards
    data = DataSet(Transitions.of_arrays(parts), agent)
    replay = ReplayBuffer(20, SCHEMA)
    play(replay, 7, 5, "terminated")
    for config in (DataConfig(demos=("x",), demo_ratio=0.5), DataConfig(demos=("x",), demo_mode="append")):
        batches = Batches(replay, data, config, 64, agent, n_step=2)
        batch = batches.online(0, np.random.default_rng(0))
        learned_from = losses.scaled_reward(batch.reward, agent.reward_scale, agent.reward_bias, False)
        episodes, numbers = batch.observation[:, 0].tolist(), batch.observation[:, 1].tolist()
        assert {0.0, 1.0, 2.0, 7.0} <= set(episodes)
        for row, (episode, step) in enumerate(zip(episodes, numbers, strict=True)):
            length, ends = {0: (4, True), 1: (6, False), 2: (3, False), 7: (5, True)}[int(episode)]
            model = [(2.0 * k - 3.0, ends and k == length - 1) for k in range(length)]
            reward, after, discount = n_step_model(model, int(step), 2, 0.5)
            assert learned_from[row] == reward and batch.discount[row] == discount
            assert batch.next_observation[row, 1] == after


@pytest.mark.slow
def test_n_steps_are_right_while_others_write():
    buffer, rng = ReplayBuffer(40, SCHEMA, 2), np.random.default_rng(0)
    rows, discounts = np.empty((32, SCHEMA.row_width), np.float32), np.empty(32, np.float32)
    with writing(buffer, 0, 1):
        for _ in range(500):
            sample_n_steps(buffer, rows, discounts, rng, 3, 0.5)
            count = rows[:, 5] - rows[:, 1]  # steps that were taken together
            assert (rows[:, 4] == rows[:, 0]).all() and (count >= 1).all() and (count <= 3).all()
            expected = sum(0.5**k * (rows[:, 1] + k) * (k < count) for k in range(3))
            np.testing.assert_allclose(rows[:, 3], expected, rtol=1e-6)
            np.testing.assert_array_equal(discounts, (rows[:, 6] == 0) * 0.5**count)


# To other shards


@st.composite
def rings(draw):
    """A filled ring, and the capacity and shards of another."""
    shards = draw(st.integers(1, 3))
    capacity = draw(st.integers(10 * shards, 60))
    buffer = ReplayBuffer(capacity, SCHEMA, shards)
    endings = st.sampled_from(["terminated", "truncated", "cut"])
    episodes = st.tuples(st.integers(0, shards - 1), st.integers(1, 12), endings)
    for number, (shard, length, ending) in enumerate(draw(st.lists(episodes, max_size=20))):
        play(buffer.for_shard(shard), number, length, ending)
    return buffer, draw(st.integers(1, 4)), draw(st.integers(10, 80))


@given(rings())
@settings(max_examples=200, deadline=None)
def test_dealing_keeps_episodes_whole_but_for_the_oldest_of_a_full_shard(ring):
    buffer, shards, capacity = ring
    segment = buffer.snapshot()
    before = dict(trajectories(segment)) if len(segment.rows) else {}
    sizes = shard_sizes(capacity, shards)
    dealt = deal(segment, sizes)
    for (rows, begins, _), size in zip(dealt, sizes, strict=True):
        assert len(rows) <= size
        for part, episode in enumerate(np.split(rows, begins[1:]) if len(rows) else []):
            steps = episode[:, 1].astype(int).tolist()
            whole = before[int(episode[0, 0])]
            cut = part == 0 and len(rows) == size
            assert steps == whole or (cut and steps == whole[-len(steps) :])
    kept = sum(len(part.rows) for part in dealt)
    if capacity >= sum(map(len, before.values())) + 12 * shards:
        assert kept == len(segment.rows)
    again = ReplayBuffer(capacity, SCHEMA, shards)
    again.restore(segment)
    assert len(again) == (
        kept if not (shards == buffer.shards and capacity == buffer.capacity) else len(buffer)
    )


def test_two_then_three_then_one_workers_keep_every_trajectory_and_the_right_returns(tmp_path):
    """21 episodes of two workers; 0.1 made 403 of them, of a median length of 1."""
    lengths = np.random.default_rng(0).integers(3, 40, 21).tolist()
    buffer = ReplayBuffer(2000, SCHEMA, 2)
    for episode, length in enumerate(lengths):
        play(buffer.for_shard(episode % 2), episode, length, ("terminated", "truncated", "cut")[episode % 3])
    files = ReplayFiles(tmp_path, SCHEMA)
    saved = json.loads(json.dumps(files.write(files.copy_new(buffer))))
    for shards in (2, 3, 1):
        buffer, files = ReplayBuffer(2000, SCHEMA, shards), ReplayFiles(tmp_path, SCHEMA)
        files.load(saved, buffer)
        saved = json.loads(json.dumps(files.write(files.copy_new(buffer))))
        files.prune()
        found = trajectories(ReplayFiles(tmp_path, SCHEMA).read(saved))
        assert sorted(found) == [(episode, list(range(length))) for episode, length in enumerate(lengths)]
    assert len(list(tmp_path.iterdir())) == 2


# On disk


def saved_in_parts(folder: Path) -> tuple[ReplayBuffer, ReplayFiles, dict]:
    """Four checkpoints of a ring that went round, some in the middle of an episode."""
    buffer, files = ReplayBuffer(50, SCHEMA, 2), ReplayFiles(folder, SCHEMA)
    for number in range(4):
        for shard in range(2):
            writer = buffer.for_shard(shard)
            play(writer, 10 * number + shard, 4, "terminated")
            writer.begin_episode()
            for step in range(9):
                push(writer, 10 * number + 5 + shard, step)
        saved = files.write(files.copy_new(buffer))
    return buffer, files, json.loads(json.dumps(saved))


def test_files_hold_the_episodes_too(tmp_path):
    buffer, files, saved = saved_in_parts(tmp_path)
    again = ReplayBuffer(50, SCHEMA, 2)
    ReplayFiles(tmp_path, SCHEMA).load(saved, again)
    ours, theirs = buffer.snapshot(), again.snapshot()
    np.testing.assert_array_equal(ours.rows, theirs.rows)
    assert [begun.tolist() for begun in ours.episodes] == [begun.tolist() for begun in theirs.episodes]
    files.prune()
    names = {entry["file"].removesuffix(".npy") for entry in saved["segments"]}
    expected = {f"{name}{kind}" for name in names for kind in (".npy", ".episodes.npy")}
    assert {path.name for path in tmp_path.iterdir()} == expected


def test_files_of_0_1_have_the_episodes_of_their_rows(tmp_path):
    """Also where newer segments follow them."""
    buffer, _, saved = saved_in_parts(tmp_path)
    for old in (1, len(saved["segments"])):
        for entry in saved["segments"][:old]:
            entry.pop("episodes", None)
            (tmp_path / entry["file"]).with_suffix(".episodes.npy").unlink(missing_ok=True)
        segment = ReplayFiles(tmp_path, SCHEMA).read(saved)
        assert trajectories(segment) == trajectories(buffer.snapshot())


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-3]),
        lambda path: np.save(path, np.load(path)[:-1]),
        lambda path: np.save(path, np.load(path).astype(float)),
        lambda path: np.save(path, np.load(path)[::-1]),
        lambda path: np.save(path, np.load(path) - 10**9),
        lambda path: np.save(path, np.load(path) + 10**9),
        lambda path: np.save(path, np.array(["x"] * len(np.load(path)), object), allow_pickle=True),
    ],
)
def test_damaged_starts_are_refused_in_a_line(tmp_path, damage):
    _, _, saved = saved_in_parts(tmp_path)
    damage((tmp_path / saved["segments"][-1]["file"]).with_suffix(".episodes.npy"))
    with pytest.raises(ConfigError) as caught:
        ReplayFiles(tmp_path, SCHEMA).load(saved, ReplayBuffer(50, SCHEMA, 2))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "episodes", [[3], [10**9, 1], [-1, 5], "ab", None, [[1], [2]], [0.5, 1.5], [1e999, 1]]
)
def test_a_count_of_episodes_with_nonsense(tmp_path, episodes):
    _, _, saved = saved_in_parts(tmp_path)
    saved["segments"][-1]["episodes"] = episodes
    with pytest.raises(ConfigError) as caught:
        ReplayFiles(tmp_path, SCHEMA).load(saved, ReplayBuffer(50, SCHEMA, 2))
    assert "\n" not in str(caught.value)
