"""Pictures of the replay: each stored once, found by index, whole whatever was overwritten meanwhile."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from sac_dist.data.dataset import DataSet
from sac_dist.data.pictures import Seen, slots_for
from sac_dist.data.ring import ReplayBuffer, buffer_bytes
from sac_dist.data.sampler import Batches, sample_n_steps
from sac_dist.data.schema import Field, Schema
from sac_dist.data.segment import ReplaySegment
from sac_dist.data.transitions import Transitions
from sac_dist.settings import AgentConfig, DataConfig
from sac_dist.storage.segments import ReplayFiles

pytestmark = pytest.mark.timeout(120)
CONTEXT = multiprocessing.get_context("forkserver")
EPISODE, STEP = 0, 1  # of an observation's numbers


def schema_of(stack: int = 1) -> Schema:
    """Two cameras around the numbers, so that the layout is not trivial."""
    fields = (
        Field("a", (2, 2, 1), "uint8", stack),
        Field("numbers", (2,)),
        Field("z", (1, 1, 3), "uint8", stack),
    )
    return Schema(fields, 1)


def frame_of(episode: int, step: int) -> np.ndarray:
    """(7,): no two of a test are alike."""
    return np.array([episode % 251, step % 251, episode // 251, 1, step, episode % 7, step % 5], np.uint8)


def observation_of(episode: int, step: int, schema: Schema) -> np.ndarray:
    steps = [max(step - back, 0) for back in range(schema.stack - 1, -1, -1)]
    frames = np.array([frame_of(episode, each) for each in steps])
    return schema.observations_of(np.array([[episode, step]], np.float32), frames[None])[0]


class Writer:
    """Pushes episodes step by step."""

    def __init__(self, buffer: ReplayBuffer, first: int = 0) -> None:
        self.buffer, self.episode, self.step = buffer, first, 0

    def push(self, ends: bool) -> None:
        now, following = (
            observation_of(self.episode, step, self.buffer.schema) for step in (self.step, self.step + 1)
        )
        self.buffer.push(now, np.zeros(1, np.float32), 0.0, following, ends, False)
        self.step += 1
        if ends:
            self.episode, self.step = self.episode + 1, 0


def check(rows: np.ndarray, seen: Seen, schema: Schema, n: int = 1) -> None:
    """Every row's pictures are those of its episode and step; the next ones at most ``n`` steps on."""
    parts = schema.views(rows)
    for row, now, following in zip(range(len(rows)), seen.now, seen.following, strict=True):
        for numbers, frames in (
            (parts["observation"][row], now),
            (parts["next_observation"][row], following),
        ):
            episode, step = int(numbers[EPISODE]), int(numbers[STEP])
            expected = schema.frames_of(observation_of(episode, step, schema))
            assert (frames == expected).all(), (episode, step, frames, expected)
        assert 1 <= parts["next_observation"][row, STEP] - parts["observation"][row, STEP] <= n


@st.composite
def histories(draw: Any) -> tuple[int, int, int, list[tuple[int, bool]]]:
    shards = draw(st.integers(1, 3))
    capacity = draw(st.integers(shards, 40))
    often = draw(st.sampled_from([0.02, 0.3, 1.0]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    steps = draw(st.integers(0, 150))
    history = [(int(random.integers(shards)), bool(random.random() < often)) for _ in range(steps)]
    return shards, capacity, draw(st.integers(1, 3)), history


def written(shards: int, capacity: int, stack: int, history: list[tuple[int, bool]]) -> ReplayBuffer:
    buffer = ReplayBuffer(capacity, schema_of(stack), shards)
    writers = [Writer(buffer.for_shard(shard), 60 * shard) for shard in range(shards)]
    for shard, ends in history:
        writers[shard].push(ends)
    return buffer


@given(histories(), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_every_row_that_is_drawn_has_its_pictures(history: Any, n: int) -> None:
    buffer = written(*history)
    if not len(buffer):
        return
    rng = np.random.default_rng(0)
    check(buffer.sample_rows(60, rng), buffer.seen, buffer.schema)  # type: ignore[arg-type]
    rows, seen = np.empty((60, buffer.schema.row_width), np.float32), Seen.empty(60, buffer.schema)
    assert seen is not None
    sample_n_steps(buffer, rows, np.empty(60, np.float32), rng, n, 0.9, 0.0, seen)
    check(rows, seen, buffer.schema, n)


@given(histories(), st.integers(0, 150))
@settings(max_examples=8, deadline=None)
def test_snapshots_in_files_give_the_same_buffer_back(
    tmp_path_factory: Any, history: Any, middle: int
) -> None:
    shards, capacity, stack, steps = history
    buffer = ReplayBuffer(capacity, schema_of(stack), shards)
    writers = [Writer(buffer.for_shard(shard), 60 * shard) for shard in range(shards)]
    files = ReplayFiles(tmp_path_factory.mktemp("replay"), buffer.schema)
    saved = None
    for count, (shard, ends) in enumerate(steps):
        writers[shard].push(ends)
        if count % 37 == middle % 37:
            saved = files.write(files.copy_new(buffer))
            files.prune()
    saved = files.write(files.copy_new(buffer))
    files.prune()
    again = ReplayBuffer(capacity, schema_of(stack), shards)
    resumed = ReplayFiles(files.folder, buffer.schema)
    resumed.load(saved, again)
    assert len(again) == len(buffer)
    if not len(buffer):
        return
    for _ in range(3):
        rows = buffer.sample_rows(50, np.random.default_rng(1)).copy()
        assert (rows == again.sample_rows(50, np.random.default_rng(1))).all()
        check(rows, again.seen, buffer.schema)  # type: ignore[arg-type]
        for writer in writers:  # both go on alike
            other = Writer(again.for_shard(writer.buffer.shard), writer.episode)
            other.step = writer.step
            if writer.step:
                other.buffer.continue_episode()
            for _ in range(4):
                writer.push(False)
                other.push(False)
        saved = resumed.write(resumed.copy_new(again))
    third = ReplayBuffer(capacity, schema_of(stack), shards)
    ReplayFiles(files.folder, buffer.schema).load(saved, third)
    rows = again.sample_rows(50, np.random.default_rng(2))
    assert (rows == third.sample_rows(50, np.random.default_rng(2))).all()
    check(rows, third.seen, buffer.schema)  # type: ignore[arg-type]


@given(histories(), st.integers(1, 4), st.integers(4, 50))
@settings(max_examples=25, deadline=None)
def test_episodes_dealt_to_other_shards_keep_their_pictures(history: Any, shards: int, capacity: int) -> None:
    buffer = written(*history)
    again = ReplayBuffer(capacity, buffer.schema, shards)
    again.restore(buffer.snapshot())
    if not len(again):
        return
    rows = again.sample_rows(50, np.random.default_rng(0))
    if buffer.schema.stack == 1:  # an episode that lost its beginning begins anew
        check(rows, again.seen, again.schema)  # type: ignore[arg-type]


def data_of(lengths: list[int], schema: Schema) -> Transitions:
    pairs = [(episode, step) for episode, length in enumerate(lengths) for step in range(length)]
    frames = [frame_of(e, s) for e, length in enumerate(lengths) for s in range(length + 1)]
    parts = {
        "observation": pairs,
        "next_observation": [(episode, step + 1) for episode, step in pairs],
        "action": np.zeros((len(pairs), 1)),
        "reward": np.zeros(len(pairs)),
        "terminated": [step + 1 == lengths[episode] for episode, step in pairs],
        "truncated": np.zeros(len(pairs)),
    }
    return Transitions.of_arrays(parts, schema=schema, frames=np.array(frames))


@pytest.mark.parametrize("stack", [1, 3])
@pytest.mark.parametrize("n", [1, 2])
def test_batches_of_data_and_replay_have_both_s_pictures(stack: int, n: int) -> None:
    schema = schema_of(stack)
    data = Transitions.concatenate([data_of([3, 1, 5], schema)] * 2)
    buffer = written(2, 30, stack, [(k % 2, k % 7 == 0) for k in range(40)])
    config = DataConfig(demos=("x",))
    batches = Batches(buffer, DataSet(data, AgentConfig()), config, 32, AgentConfig(), n_step=n)
    batch = batches.online(0, np.random.default_rng(0))
    assert batch.seen is not None and batch.next_seen is not None
    check(batches._rows, Seen(batch.seen.numpy(), batch.next_seen.numpy()), schema, n)
    again = ReplayBuffer(100, schema)
    again.restore(ReplaySegment.of(data))
    check(again.sample_rows(50, np.random.default_rng(0)), again.seen, schema)  # type: ignore[arg-type]
    alone = Batches(buffer, None, DataConfig(), 8, AgentConfig())
    batch = alone.online(0, np.random.default_rng(0))
    assert batch.seen is not None and len(alone.ahead()) == 0


def test_episodes_that_are_picked_keep_their_pictures() -> None:
    schema = schema_of()
    picked = data_of([3, 1, 5], schema).pick([2, 0])
    data = DataSet(picked, AgentConfig())
    index, seen = np.arange(8), Seen.empty(8, schema)
    assert seen is not None
    data.look(index, index, seen)
    check(picked.rows, seen, schema)


def test_memory_is_that_of_the_raw_pictures() -> None:
    schema = Schema((Field("camera", (84, 84, 3), "uint8"), Field("state", (24,))), 8)
    raw = 100_000 * 84 * 84 * 3
    assert raw < buffer_bytes(100_000, schema, 2) - 4 * 100_002 * schema.row_width < 1.01 * raw
    assert slots_for(50_000, 1) < 50_500
    small = Schema((Field("camera", (16, 16, 3), "uint8"),), 1)
    buffer = ReplayBuffer(2000, small)
    assert buffer.nbytes == pytest.approx(buffer_bytes(2000, small, 1), rel=0.001)


def test_long_episodes_fill_the_buffer() -> None:
    schema = schema_of()
    buffer = ReplayBuffer(500, schema)
    writer = Writer(buffer)
    for step in range(1500):
        writer.push(step % 200 == 199)
    assert len(buffer) == 500


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.full(9, 256.0), "numbers from 0 to 255"),
        (np.full(9, np.nan), "numbers from 0 to 255"),
        (np.zeros(8), "shape"),
    ],
)
def test_what_is_no_picture_is_not_stored(value: np.ndarray, words: str) -> None:
    buffer = ReplayBuffer(5, schema_of())
    good = observation_of(0, 0, buffer.schema)
    with pytest.raises(ValueError, match=words):
        buffer.push(good, np.zeros(1), 0.0, value, False, False)
    assert len(buffer) == 0


def test_spaces_become_pictures_and_numbers() -> None:
    box = spaces.Box(-1, 1, (2,))
    schema = Schema.from_spaces(spaces.Box(0, 255, (16, 20), np.uint8), box, stack=3)
    assert schema.fields == (Field("picture", (16, 20, 1), "uint8", 3),)
    assert (schema.observation_size, schema.vector_size, schema.frame_size) == (960, 0, 320)
    assert Schema.from_dict(schema.to_dict()) == schema
    assert str(schema) == "observation: picture 16×20×1 uint8 (3 stacked); action: 2"
    mixed = spaces.Dict({"b": spaces.Box(-1, 1, (3,)), "a": spaces.Box(0, 255, (8, 8, 3), np.uint8)})
    assert [field.name for field in Schema.from_spaces(mixed, box).pictures] == ["a"]


@pytest.mark.parametrize("stack", [1, 3])
def test_a_copy_that_was_overwritten_meanwhile_is_told(stack: int) -> None:
    buffer = ReplayBuffer(20, schema_of(stack))
    writer = Writer(buffer)
    for step in range(100):
        writer.push(step % 2 == 1)
    assert buffer.pictures is not None
    index = np.arange(buffer.pictures.oldest[0], 100)
    shard = np.zeros_like(index)
    assert 8 < len(index) < 20, "episodes of two steps leave room for fewer"
    before = buffer.look(shard, index, index)
    for step in range(4):
        writer.push(step % 2 == 1)
    gone = buffer.overwritten(shard, index)
    assert len(gone) and index[gone].max() >= 104 - 20, "told by rows alone"
    kept = np.setdiff1d(np.arange(len(index)), gone)
    after = buffer.look(shard[kept], index[kept], index[kept])
    assert (after.now == before.now[kept]).all() and (after.following == before.following[kept]).all()


@pytest.mark.parametrize("length", [1, 7, 1000])
def test_files_of_checkpoints_hold_each_picture_once(tmp_path: Path, length: int) -> None:
    buffer = ReplayBuffer(1000, schema_of())
    files, writer = ReplayFiles(tmp_path, buffer.schema), Writer(buffer)
    for step in range(120):
        writer.push(step % length == length - 1)
        if step % 11 == 10:
            files.write(files.copy_new(buffer))
    files.write(files.copy_new(buffer))
    held = sum(len(np.load(file)) for file in tmp_path.glob("*.frames.npy"))
    assert held == 120 + -(-120 // length)


def write_for_ever(buffer: ReplayBuffer) -> None:
    writer = Writer(buffer)
    while True:
        writer.push(writer.step >= writer.episode % 5)
        if writer.episode > 60_000:
            writer.episode = 0


@pytest.mark.slow
def test_a_reader_never_sees_a_frame_that_a_writer_wrote_over() -> None:
    buffer = ReplayBuffer(12, schema_of(2))
    process = CONTEXT.Process(target=write_for_ever, args=(buffer.for_shard(0),), daemon=True)
    process.start()
    try:
        rng, until = np.random.default_rng(0), time.monotonic() + 20
        while not len(buffer) and time.monotonic() < until:
            time.sleep(0.01)
        for _ in range(300):
            rows = buffer.sample_rows(8, rng)
            check(rows, buffer.seen, buffer.schema)  # type: ignore[arg-type]
        assert buffer.written[0] > 100
    finally:
        process.kill()
        process.join(10)
