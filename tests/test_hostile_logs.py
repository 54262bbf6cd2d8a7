"""Replay segments, metrics and the log of a run, made to do harm: each is refused in a line, and none runs
anything.
"""

import contextlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from reports import file_reporter
from test_hostile_files import Payload

from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.schema import Schema
from sac_dist.reporting.metrics import read_metrics, read_returns
from sac_dist.settings import ConfigError
from sac_dist.storage.segments import ReplayFiles

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def files(tmp_path) -> ReplayFiles:
    """Two segments of 40 transitions each, in ``files.listed``."""
    replay, files = ReplayBuffer(100, Schema.vector(1, 1)), ReplayFiles(tmp_path, Schema.vector(1, 1))
    for _ in range(2):
        column = np.zeros((40, 1))
        replay.extend(column, column, column[:, 0], column, column[:, 0], column[:, 0])
        files.write(files.copy_new(replay))
    return files


def saved(files: ReplayFiles, **changes: object) -> dict:
    return {"capacity": 100, "segments": [files.listed[0], files.listed[1] | changes]}


def objects(path: Path, marker: Path) -> None:
    np.save(path, np.array([Payload(marker)], object), allow_pickle=True)


def claims(shape: str):
    def write(path: Path, marker: Path) -> None:
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)

    return write


def pickled(path: Path, marker: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(marker)))


def archive(path: Path, marker: Path) -> None:
    with open(path, "wb") as file:
        np.savez(
            file, **{str(number): np.zeros(1) for number in range(40)}
        )  # as long as the rows that are expected


HOSTILE_ARRAYS = {
    "objects": objects,
    "pickled": pickled,
    "archive": archive,
    "terabytes": claims("(1000000000000, 1)"),
    "overflow": claims("(4611686018427387904, 4611686018427387904)"),
    "negative": claims("(-40, 9)"),
    "deep": claims("(" * 5000),
    "called": claims("__import__('os')"),
    "empty": lambda path, marker: path.write_bytes(b""),
    "magic": lambda path, marker: path.write_bytes(b"\x93NUMPY\x09\x00"),
    "short": lambda path, marker: path.write_bytes(path.read_bytes()[:-1] if path.exists() else b"x"),
}


@pytest.mark.parametrize("kind", HOSTILE_ARRAYS)
def test_arrays_that_a_resumed_run_reads(tmp_path, files, kind):
    marker = tmp_path / "marker"
    HOSTILE_ARRAYS[kind](tmp_path / files.listed[1]["file"], marker)
    with pytest.raises(ConfigError, match=r"0000002\.npy is missing or damaged") as caught:
        files.load(saved(files), ReplayBuffer(100, Schema.vector(1, 1)))
    assert "\n" not in str(caught.value) and not marker.exists()
    HOSTILE_ARRAYS[kind](tmp_path / "reward_log.npy", marker)
    with pytest.raises(ConfigError, match=r"reward_log\.npy") as caught:
        read_returns(tmp_path / "reward_log.npy")
    assert "\n" not in str(caught.value) and not marker.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../000000000001.npy"},
        {"file": "/etc/passwd"},
        {"file": "000000000001.npy"},
        {"file": 3},
        {"start": [0]},
        {"stop": [10**9]},
        {"stop": [80, 80]},
        {"stop": "ab"},
        {"stop": []},
        {"stop": [float("nan")]},
        {"start": None},
    ],
)
def test_a_list_of_segments_with_nonsense(files, changes):
    with pytest.raises(ConfigError) as caught:
        files.load(saved(files, **changes), ReplayBuffer(100, Schema.vector(1, 1)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("capacity", [0, -5, "100", None, 1e999])
def test_a_capacity_with_nonsense(files, capacity):
    with pytest.raises(ConfigError):
        files.load(saved(files) | {"capacity": capacity}, ReplayBuffer(100, Schema.vector(1, 1)))


def test_rows_that_would_spoil_the_networks(tmp_path, files):
    rows = np.load(tmp_path / files.listed[1]["file"])
    for bad in (np.full_like(rows, np.nan), rows.astype(np.float64), rows[:, :-1], rows[:, None]):
        np.save(tmp_path / files.listed[1]["file"], bad)
        with pytest.raises(ConfigError):
            files.load(saved(files), ReplayBuffer(100, Schema.vector(1, 1)))


@pytest.mark.parametrize(
    "text",
    [
        b"step,loss\n1," + b"x" * 200_000 + b"\n",
        b"step,loss\n1,\x00\n",
        b"\xff\xfe\x00",
        b'step,loss\n1,"' + b"\n" * 200_000,
        b"," * 10**5 + b"\n" + b"," * 10**5 + b"\n",
        b"",
    ],
)
def test_a_table_of_metrics_with_nonsense(tmp_path, text):
    state = file_reporter(tmp_path).state() | {"rows": 1}
    (tmp_path / "metrics.csv").write_bytes(text)
    try:
        read_metrics(tmp_path / "metrics.csv")
        file_reporter(tmp_path, state).close()
    except ConfigError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000


@pytest.mark.parametrize("place", ["rows", "episodes", "recent", "step", "updates", "wall_time_s", "pending"])
@pytest.mark.parametrize("value", [None, "x", [1], {}, 10**18, -(10**18)])
def test_a_log_state_with_nonsense_is_refused_or_harmless(tmp_path, place, value):
    log = file_reporter(tmp_path)
    state = log.state() | {place: value}
    log.close()
    with contextlib.suppress(ConfigError):
        file_reporter(tmp_path, state).close()
