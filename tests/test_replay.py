"""The replay buffer against a plain model, against writers that race or are killed, and behind its manager."""

import contextlib
import multiprocessing
import random
import sys
import time
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.schema import Schema
from sac_dist.data.segment import shard_sizes
from sac_dist.settings import ConfigError

pytestmark = pytest.mark.timeout(120)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
CONTEXT = multiprocessing.get_context("forkserver")
OBSERVATION, ACTION = 3, 2
SCHEMA = Schema.vector(OBSERVATION, ACTION)
FIELDS = tuple(SCHEMA.columns)


# Transitions whose entries are all the same number, so that a torn row shows.


def push(buffer: ReplayBuffer, number: float) -> None:
    observation, action = list(buffer.schema.shapes.values())[:2]
    buffer.push(
        np.full(observation, number),
        np.full(action, number),
        number,
        np.full(observation, number),
        number,
        number,
    )


def extend(buffer: ReplayBuffer, numbers) -> None:
    numbers = np.array(numbers, float)
    observation, action = (
        np.tile(numbers[:, None], shape) for shape in list(buffer.schema.shapes.values())[:2]
    )
    buffer.extend(observation, action, numbers, observation, numbers, numbers)


def numbers_of(rows: np.ndarray) -> np.ndarray:
    """(n, width) rows → (n,) their numbers, after a look at every entry."""
    assert (rows == rows[:, :1]).all(), "a torn row"
    return rows[:, 0].astype(int)


def filled(capacity: int, shards: int, counts: list[int]) -> ReplayBuffer:
    """Shard k holds the newest of the numbers 1000 k, 1000 k + 1, …: ``counts[k]`` were written."""
    buffer = ReplayBuffer(capacity, SCHEMA, shards)
    for shard, count in enumerate(counts):
        extend(buffer.for_shard(shard), 1000 * shard + np.arange(count))
    return buffer


# One process


@st.composite
def histories(draw):
    shards = draw(st.integers(1, 4))
    capacity = draw(st.integers(shards, 20))
    shard = st.integers(0, shards - 1)
    operation = st.one_of(
        st.tuples(st.just("push"), shard),
        st.tuples(st.just("extend"), shard, st.integers(0, 30)),
        st.tuples(st.just("sample"), st.integers(1, 40)),
    )
    return capacity, shards, draw(st.lists(operation, max_size=30))


@given(histories())
@settings(max_examples=150, deadline=None)
def test_holds_what_a_deque_per_shard_holds(history):
    capacity, shards, operations = history
    buffer = ReplayBuffer(capacity, SCHEMA, shards)
    writers = [buffer.for_shard(shard) for shard in range(shards)]
    model = [deque(maxlen=int(size)) for size in shard_sizes(capacity, shards)]
    written = [0] * shards
    number, rng = 0, np.random.default_rng(0)
    for name, *arguments in operations:
        if name == "sample":
            stored = set().union(*model)
            if stored:
                assert set(numbers_of(buffer.sample_rows(*arguments, rng))) <= stored
            else:
                with pytest.raises(ValueError, match="empty"):
                    buffer.sample(*arguments, rng)
            continue
        shard, count = arguments[0], 1 if name == "push" else arguments[1]
        new = range(number, number + count)
        number += count
        push(writers[shard], new[0]) if name == "push" else extend(writers[shard], new)
        model[shard].extend(new)
        written[shard] += count
        assert buffer.get_length() == len(buffer) == sum(map(len, model))
        assert numbers_of(buffer.snapshot().rows).tolist() == [n for ring in model for n in ring]
    assert buffer.state()["written"] == written and buffer.state()["total"] == number


@pytest.mark.parametrize("capacity, shards", [(1, 1), (10, 3), (1000, 7), (64, 64)])
def test_holds_exactly_its_capacity(capacity, shards):
    assert shard_sizes(capacity, shards).sum() == capacity
    assert len(filled(capacity, shards, [2 * capacity] * shards)) == capacity


def test_fields_come_back_as_they_went_in():
    import torch

    rng = np.random.default_rng(0)
    buffer = ReplayBuffer(100, SCHEMA)
    pushed = {}
    for reward in range(50):
        observation, action, following = (
            rng.normal(size=OBSERVATION),
            rng.normal(size=ACTION),
            rng.normal(size=OBSERVATION),
        )
        pushed[reward] = (observation, action, following, reward % 3 == 0)
        buffer.push(observation, action, reward, following, reward % 3 == 0, reward % 3 == 1)
    batch = buffer.sample(256, rng)  # more than are stored
    assert all(tensor.dtype == torch.float32 for tensor in batch[:5])
    assert batch.return_to_go is None
    assert [tuple(tensor.shape) for tensor in batch[:5]] == [(256, 3), (256, 2), (256,), (256, 3), (256,)]
    for observation, action, reward, following, discount in zip(
        *(tensor.numpy() for tensor in batch[:5]), strict=True
    ):
        expected = pushed[int(reward)]
        for value, want in zip((observation, action, following, discount == 0), expected, strict=True):
            np.testing.assert_array_equal(value, np.float32(want))
    truncated = SCHEMA.views(buffer.snapshot().rows)["truncated"]
    np.testing.assert_array_equal(truncated, np.arange(50) % 3 == 1)


def test_the_generator_decides_what_is_drawn():
    buffer = filled(100, 3, [60, 5, 20])
    draws = [buffer.sample(32, np.random.default_rng(seed)).observation.clone() for seed in (1, 1, 2)]
    assert (draws[0] == draws[1]).all() and not (draws[0] == draws[2]).all()


def test_every_stored_transition_is_equally_likely():
    buffer = filled(900, 3, [1000, 10, 120])  # the first shard went round
    drawn = numbers_of(buffer.sample_rows(200_000, np.random.default_rng(0)))
    _, counts = np.unique(drawn, return_counts=True)
    assert len(counts) == len(buffer) == 300 + 10 + 120
    expected = len(drawn) / len(counts)
    freedom = len(counts) - 1
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)


GOOD = dict(
    zip(
        FIELDS,
        (np.zeros(OBSERVATION), np.zeros(ACTION), 0.0, np.zeros(OBSERVATION), False, False),
        strict=True,
    )
)


@pytest.mark.parametrize(
    "field, value, problem",
    [
        ("observation", np.zeros(OBSERVATION + 1), r"shape \(4,\) instead of \(3,\)"),
        ("action", np.zeros((1, ACTION)), r"shape \(1, 2\)"),
        ("action", 0.0, r"shape \(\)"),
        ("reward", np.zeros(1), r"shape \(1,\) instead of \(\)"),
        ("next_observation", [0.0, np.nan, 0.0], "finite"),
        ("observation", [0.0, np.inf, 0.0], "finite"),
        ("reward", -np.inf, "finite"),
        ("reward", None, "finite"),
        ("terminated", np.nan, "finite"),
        ("truncated", np.nan, "finite"),
        ("action", ["a", "b"], "no array of numbers"),
    ],
)
def test_a_bad_field_is_named_and_nothing_stored(field, value, problem):
    buffer = ReplayBuffer(10, SCHEMA)
    with pytest.raises(ValueError, match=f"^{field} .*{problem}"):
        buffer.push(**(GOOD | {field: value}))
    several = {name: [good, value if name == field else good] for name, good in GOOD.items()}
    with pytest.raises(ValueError):
        buffer.extend(*several.values())
    assert len(buffer) == 0 and buffer.state()["total"] == 0


@pytest.mark.filterwarnings("error")
def test_large_finite_numbers_are_stored():
    buffer = ReplayBuffer(10, SCHEMA)
    push(buffer, 3e38)
    extend(buffer, [-3e38, 3e38])
    assert (np.abs(buffer.snapshot().rows) == np.float32(3e38)).all() and len(buffer) == 3


def test_extend_names_the_field():
    buffer = ReplayBuffer(10, SCHEMA)
    with pytest.raises(ValueError, match=r"^action has the shape \(3, 2\) instead of \(2, 2\)"):
        buffer.extend(
            np.zeros((2, 3)), np.zeros((3, 2)), np.zeros(2), np.zeros((2, 3)), np.zeros(2), np.zeros(2)
        )
    with pytest.raises(ValueError, match=r"^action must be finite"):
        buffer.extend(
            np.zeros((2, 3)), np.full((2, 2), np.nan), np.zeros(2), np.zeros((2, 3)), np.zeros(2), np.zeros(2)
        )


@pytest.mark.parametrize("capacity, shards", [(0, 1), (10, 0), (3, 4)])
def test_impossible_sizes_are_refused(capacity, shards):
    with pytest.raises(ValueError, match="needs a shard, and a row per shard"):
        ReplayBuffer(capacity, SCHEMA, shards)


def test_a_buffer_beyond_the_memory_is_refused():
    with pytest.raises(ConfigError, match="MiB are available"):
        ReplayBuffer(10**12, Schema.vector(31, 7))


def test_a_reading_handle_does_not_write_and_shards_are_checked():
    buffer = ReplayBuffer(10, SCHEMA, shards=2)
    with pytest.raises(ValueError, match="only reads"):
        push(buffer.for_shard(None), 1)
    for shard in (-1, 2):
        with pytest.raises(IndexError, match="of 2"):
            buffer.for_shard(shard)


@linux
def test_memory_is_the_raw_bytes_within_one_percent():
    before = mapped_memory()
    buffer = ReplayBuffer(20_000, Schema.vector(31, 7), shards=4)
    raw = 20_000 * (2 * 31 + 7 + 3) * 4
    zeros = np.zeros
    for shard in range(4):
        buffer.for_shard(shard).extend(
            zeros((6000, 31)), zeros((6000, 7)), zeros(6000), zeros((6000, 31)), zeros(6000), zeros(6000)
        )
    assert len(buffer) == 20_000
    assert raw <= buffer.nbytes == buffer.state()["bytes"] <= 1.01 * raw
    assert raw <= mapped_memory() - before <= 1.01 * raw


def mapped_memory() -> int:
    """Bytes resident in this process's memfd mappings, from /proc/self/smaps."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            ours = "/memfd:sac_dist" in line
        elif ours and line.startswith("Rss:"):
            total += 1024 * int(line.split()[1])
    return total


# Checkpoints


@pytest.mark.parametrize("counts", [[0, 0, 0], [5, 0, 3], [4, 9, 1], [40, 41, 45]])
def test_restore_puts_back_every_row_and_count(counts):
    buffer = filled(13, 3, counts)
    restored = ReplayBuffer(13, SCHEMA, 3)
    assert restored.restore(buffer.snapshot()) is True
    assert restored.state() == buffer.state()
    for handle in (buffer, restored):  # positions too: what comes next overwrites the same
        extend(handle.for_shard(1), [7, 8])
    np.testing.assert_array_equal(restored.snapshot().rows, buffer.snapshot().rows)
    draws = [handle.sample(64, np.random.default_rng(0)).observation for handle in (buffer, restored)]
    assert (draws[0] == draws[1]).all()


def test_snapshots_since_add_up_to_the_whole():
    buffer, restored = filled(12, 2, [4, 0]), ReplayBuffer(12, SCHEMA, 2)
    segment = buffer.snapshot()
    assert restored.restore(segment)
    for first, second in [(1, 2), (0, 0), (20, 1), (3, 7)]:
        extend(buffer.for_shard(0), range(first))
        extend(buffer.for_shard(1), range(second))
        segment = buffer.snapshot(since=segment.stop)
        assert len(segment.rows) == min(first, 6) + min(second, 6)
        assert restored.restore(segment)
        np.testing.assert_array_equal(restored.snapshot().rows, buffer.snapshot().rows)
        assert restored.state() == buffer.state()


@pytest.mark.parametrize("since", [[5, 0], [4, 1], [-1, 0], [4], [4, 0, 0]])
def test_a_snapshot_since_what_was_never_written_is_refused(since):
    with pytest.raises(ValueError, match=r"since is \[.*written are \[4, 0\] transitions"):
        filled(12, 2, [4, 0]).snapshot(since)


@pytest.mark.parametrize("capacity, shards", [(13, 1), (13, 5), (100, 3), (6, 2)])
def test_restore_into_other_shards_keeps_what_fits(capacity, shards):
    saved = filled(13, 3, [40, 41, 45])
    restored = ReplayBuffer(capacity, SCHEMA, shards)
    assert restored.restore(saved.snapshot()) is False
    assert len(restored) == min(capacity, 13)
    kept = set(numbers_of(restored.snapshot().rows))
    assert kept <= set(numbers_of(saved.snapshot().rows))
    newest = {39, 38, 1040, 1039, 2044, 2043}  # where not all fit, of every shard
    assert kept == newest if capacity == 6 else len(kept) == 13


def test_restore_refuses_what_does_not_fit():
    segment = filled(13, 3, [4, 9, 1]).snapshot()
    buffer = ReplayBuffer(13, SCHEMA, 3)
    bad = segment.rows.copy()
    bad[3, 2] = np.nan
    cases = [
        (segment._replace(rows=segment.rows[:, :-1]), "replay rows are float32"),
        (segment._replace(rows=segment.rows.astype(float)), "replay rows are float64"),
        (segment._replace(rows=segment.rows[:-1]), "do not fit the counts"),
        (segment._replace(rows=bad), "must be finite"),
        (
            segment._replace(
                start=segment.start + 1,
                stop=segment.stop + 1,
                episodes=tuple(begun + 1 for begun in segment.episodes),
            ),
            "cannot follow",
        ),
        (segment._replace(episodes=segment.episodes[:2]), "episodes of 2 shards"),
        *(
            (
                segment._replace(episodes=(np.array(begun, np.int64), *segment.episodes[1:])),
                "starts of episodes",
            )
            for begun in ([], [1], [-1, 2], [0, 2, 2], [0, 4], [0, 3, 2])
        ),
    ]
    for case, problem in cases:
        with pytest.raises(ValueError, match=problem):
            buffer.restore(case)
    assert len(buffer) == 0


# Several processes


def write_forever(buffer: ReplayBuffer) -> None:
    """Write the numbers that the shard's count stands at, by push and by extend."""
    while True:
        written = buffer.state()["written"][buffer.shard]
        push(buffer, written)
        extend(buffer, range(written + 1, written + 6))


@contextlib.contextmanager
def writing(buffer: ReplayBuffer, *shards: int):
    """Writer processes on these shards, at work when the body begins, killed after it."""
    before = buffer.state()["written"]
    processes = [
        CONTEXT.Process(target=write_forever, args=(buffer.for_shard(shard),), daemon=True)
        for shard in shards
    ]
    for process in processes:
        process.start()
    try:
        wait_until(lambda: all(buffer.state()["written"][shard] > before[shard] for shard in shards), 60)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.join()


def wait_until(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def test_no_torn_row_while_others_write():
    buffer = ReplayBuffer(48, Schema.vector(100, 10), shards=3)
    rng = np.random.default_rng(0)
    with writing(buffer, 0, 1):
        start = buffer.state()["total"]
        for _ in range(20_000):
            before = buffer.state()["written"]
            numbers = numbers_of(buffer.sample_rows(32, rng))
            assert numbers.min() >= min(before[:2]) - 16  # nothing older than the rings hold
        assert buffer.state()["total"] > start + 1000  # they did write


def test_snapshots_are_whole_while_others_write():
    buffer = ReplayBuffer(300, Schema.vector(100, 10), shards=3)
    with writing(buffer, 0, 2):
        for _ in range(300):
            segment = buffer.snapshot()
            expected = np.concatenate(
                [np.arange(a, b) for a, b in zip(segment.start, segment.stop, strict=True)]
            )
            np.testing.assert_array_equal(numbers_of(segment.rows), expected)
            assert (segment.stop - segment.start == np.minimum(segment.stop, 100)).all()


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_rows_and_its_successor_goes_on():
    buffer = ReplayBuffer(30, Schema.vector(100, 10), shards=2)
    rng = random.Random(0)
    for _ in range(12):
        before = buffer.state()["written"][1]
        with writing(buffer, 1):
            time.sleep(rng.uniform(0, 0.01))
        segment = buffer.snapshot()
        stop = int(segment.stop[1])
        assert stop > before
        assert numbers_of(segment.rows).tolist() == list(
            range(max(stop - 15, 0), stop)
        )  # none torn, lost or twice
        numbers_of(buffer.sample_rows(64, np.random.default_rng(0)))
    assert stop > 100 and buffer.state()["written"][0] == 0
