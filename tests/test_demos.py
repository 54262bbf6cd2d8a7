"""Transitions: every format's round trip, and what holds for all of them."""

import importlib
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from demo_files import FIELDS, assert_equal, assert_sound, changed, make, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from sac_dist.data.schema import Schema
from sac_dist.formats import check, files
from sac_dist.reporting.describe import describe, draw
from sac_dist.settings import ConfigError

WALK = {
    "observation": [[0.0], [1.0], [2.0]],
    "action": [[0.0]] * 3,
    "reward": [0.0, 0.0, 1.0],
    "next_observation": [[1.0], [2.0], [3.0]],
}


def walk(**changes):
    """A file's arrays: one episode of three transitions that terminates."""
    fields = WALK | {"terminated": [0.0, 0.0, 1.0]} | changes
    return {name: np.asarray(value) if value is not None else None for name, value in fields.items()}


def refused(**changes) -> str:
    with pytest.raises(ConfigError) as caught:
        check.checked("file.x", **walk(**changes))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def episodes(lengths, done):
    """The book's rows of episodes of so many transitions; ``done`` says whether the last one's is set."""
    found = []
    for number, length in enumerate(lengths):
        for step in range(length):
            at = 100.0 * number + step
            found.append(([at], [0.5], 0.0, [at + 1], done[number] and step == length - 1))
    return found


@pytest.fixture
def minari_home(tmp_path, monkeypatch):
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


# Round trips


@pytest.mark.parametrize("success", [True, False])
@pytest.mark.parametrize("name", ["a.npz", "a.hdf5", "a.h5", "minari:made/here-v0"])
def test_a_file_gives_back_what_was_written(name, success, tmp_path, minari_home):
    demos = make(
        (5, 3, 5, 1, *[2] * 9), success=success
    )  # more than ten: demo_10 must not come before demo_2
    path = name if name.startswith("minari:") else tmp_path / name
    files.write(demos, path)
    assert_equal(files.read(path), demos)


def test_the_books_pickle_keeps_all_but_success_and_source(tmp_path):
    demos = make()
    files.write(demos, tmp_path / "a.pickle")
    found = files.read(tmp_path / "a.pickle")
    assert_equal(
        found, demos, but=("success", "source")
    )  # the time limits were found again: all are of 5 transitions
    assert found.success is None and found.source == {}
    read_by_python = pickle.loads((tmp_path / "a.pickle").read_bytes())
    assert [len(row) for row in read_by_python] == [5] * len(demos)


@pytest.mark.parametrize("last", [False, True])
def test_other_formats_convert_into_each_other(last, tmp_path):
    demos = make()
    if last:
        demos = changed(
            demos, truncated=demos.truncated | demos.terminated
        )  # both at once: npz keeps that, HDF5 has no place for it
    files.write(demos, tmp_path / "a.npz")
    files.write(files.read(tmp_path / "a.npz"), tmp_path / "b.hdf5")
    files.write(files.read(tmp_path / "b.hdf5"), tmp_path / "c.npz")
    assert_equal(files.read(tmp_path / "c.npz"), make())


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "kind", [np.float32, np.float64, np.float16, np.int64, np.uint8, np.dtype(">f4"), np.dtype(">i2")]
)
def test_pickles_of_every_protocol_and_number(protocol, kind, tmp_path):
    listed = [
        (
            np.array([at, 2], kind),
            np.zeros(1, kind),
            np.array([1], kind)[0],
            np.array([at + 1, 2], kind),
            np.bool_(at == 2),
        )
        for at in range(3)
    ]
    listed[1] = (listed[1][0], listed[1][1], np.array([1.0]), [1 + 1, np.float32(2)], np.array([False]))
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(listed, protocol))
    demos = files.read(path)
    assert demos.observation.tolist() == [[0, 2], [1, 2], [2, 2]] and demos.next_observation.tolist() == [
        [1, 2],
        [2, 2],
        [3, 2],
    ]
    assert demos.reward.tolist() == [1, 1, 1] and demos.terminated.tolist() == [False, False, True]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", [2, 5])
def test_pickled_arrays_of_one_long_axis_are_vectors(order, protocol, tmp_path):
    row = (np.ones((1, 3), order=order), np.ones((2, 1), order=order), np.ones((1, 1)), np.ones((3,))[::1], 1)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([row], protocol))
    demos = files.read(tmp_path / "a.pkl")
    assert demos.observation.shape == (1, 3) and demos.action.shape == (1, 2) and demos.terminated.all()


def test_a_pickle_of_numpy_1_and_one_of_python_2(tmp_path):
    """By hand, as those wrote them: numpy.core instead of numpy._core, and Python 2's byte strings."""
    numpy_1 = pickle.dumps(rows(make()), 4).replace(
        b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray"
    )
    numpy_1 = numpy_1.replace(numpy_1[2:11], b"")  # the frame's length is another one now
    (tmp_path / "numpy1.pickle").write_bytes(numpy_1)
    assert_equal(files.read(tmp_path / "numpy1.pickle"), make(), but=("success", "source"))
    vector = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n(S'f4'\nI0\nI1\ntR"
    vector += b"(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00@'\ntb"
    (tmp_path / "python2.pickle").write_bytes(
        b"(l(" + vector + vector.replace(b"\\x00@", b"\\x80?") + b"F1.5\n" + vector + b"I01\nta."
    )
    demos = files.read(tmp_path / "python2.pickle")
    assert demos.observation.tolist() == [[1, 2]] and demos.action.tolist() == [[1, 1]]
    assert demos.reward.tolist() == [1.5] and demos.terminated.tolist() == [True]


def test_a_pickle_is_known_by_its_beginning_too(tmp_path):
    for protocol in range(6):
        (tmp_path / "demons").write_bytes(pickle.dumps(rows(make()), protocol))
        assert len(files.read(tmp_path / "demons")) == 13


def test_an_npz_of_ones_own_needs_no_marks(tmp_path):
    np.savez(tmp_path / "a.npz", **walk(terminated=[False, False, True]))
    assert len(files.read(tmp_path / "a.npz").ends) == 1
    np.savez(tmp_path / "b.npz", **walk(terminated=[0, 0, 0]))
    assert files.read(tmp_path / "b.npz").truncated.tolist() == [False, False, True]


# Writing


@pytest.mark.parametrize("name", ["a.npz", "a.pickle", "a.hdf5", "minari:made/here-v0"])
def test_nothing_is_overwritten(name, tmp_path, minari_home):
    path = name if name.startswith("minari:") else tmp_path / name
    files.write(make(), path)
    with pytest.raises(ConfigError, match="exists"):
        files.write(make((2,)), path)
    assert len(files.read(path)) == 13


@pytest.mark.parametrize("kind", ["npz", "pickle", "hdf5"])
def test_a_failed_write_leaves_nothing(kind, tmp_path, monkeypatch):
    def full(*_):
        assert len(list(tmp_path.iterdir())) == 1  # the temporary file
        raise OSError(28, "No space left on device")

    with (
        monkeypatch.context() as patch,
        pytest.raises(ConfigError, match=rf"cannot write .*a\.{kind}: No space"),
    ):
        patch.setattr("os.replace", full)
        files.write(make(), tmp_path / f"a.{kind}")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match=r"no folder|cannot write"):
        files.write(make(), tmp_path / "missing" / f"a.{kind}")


def test_a_name_must_say_its_kind(tmp_path):
    with pytest.raises(ConfigError, match=r"a\.csv should be.*\.npz"):
        files.write(make(), tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("1,2,3")
    for path, words in (("a.csv", "no kind"), ("b.npz", "no such file"), ("", "neither a run")):
        with pytest.raises(ConfigError, match=words):
            files.read(tmp_path / path)


# Checks


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"observation": [[0.0], [np.nan], [2.0]]}, ["transition 1", "observation", "entry 0 is nan"]),
        (
            {"next_observation": [[1.0], [2.0], [1e300]]},
            ["transition 2", "next_observation", "1e+300", "finite float32"],
        ),
        ({"reward": [0.0, -np.inf, 1.0]}, ["transition 1", "reward", "-inf"]),
        (
            {"action": [[0.0], [0.0], [1.5]]},
            ["transition 2", "action", "entry 0 is 1.5", "outside [-1, 1]", "limits"],
        ),
        ({"action": [[0.0], [-1.00001], [0.0]]}, ["transition 1", "action"]),
        ({"action": np.zeros((3, 2, 2))}, ["action", "shape (3, 2, 2)"]),
        ({"action": [0.0, 0.0]}, ["action", "shape (2,)"]),
        ({"action": [["a"]] * 3}, ["action", "not numbers"]),
        ({"action": [[1j]] * 3}, ["action", "complex128", "not numbers"]),
        ({"terminated": [[0.0, 0.0, 1.0]]}, ["terminated", "shape (1, 3)"]),
        ({"terminated": [0, 2, 1]}, ["transition 1", "terminated", "is 2", "0 or 1"]),
        ({"next_observation": [[1.0, 1.0]] * 3}, ["transition 0", "next_observation", "2 entries", "1"]),
        ({"observation": np.zeros((3, 0))}, ["observation", "shape (3, 0)"]),
        (
            {"next_observation": [[1.0], [2.1], [3.0]], "truncated": [0, 0, 0]},
            ["transition 1", "next_observation", "transition 2", "2.1"],
        ),
        ({"success": [True, False]}, ["success", "1 episodes"]),
        ({name: np.zeros((0, 1)) for name in WALK} | {"reward": []}, ["no transitions"]),
    ],
)
def test_what_is_wrong_is_named(changes, words):
    message = refused(**changes)
    assert message.startswith("file.x") and all(word in message for word in words), message


def test_columns_of_one_number_are_columns(tmp_path):
    """(N, 1) rewards and marks, and (N,) vectors of one entry, from npz as from the other kinds."""
    changes = {"reward": [[0.0], [0.0], [1.0]], "terminated": [[0], [0], [1]], "action": [0.0, 0.0, 0.0]}
    np.savez(tmp_path / "a.npz", **walk(**changes), success=[[1]])
    found = files.read(tmp_path / "a.npz")
    assert found.reward.tolist() == [0, 0, 1] and found.action.shape == (3, 1)
    assert found.terminated.tolist() == [False, False, True] and found.success.tolist() == [True]


def test_rounding_is_forgiven():
    demos = check.checked(
        "f", **walk(action=[[1 + 5e-7], [-1 - 5e-7], [0]], next_observation=[[1.00001], [2.0001], [3]])
    )
    assert demos.action.max() == 1 and demos.action.min() == -1 and not demos.truncated.any()


@pytest.mark.parametrize(
    ("lengths", "done", "ends"),
    [
        ((4, 4, 4), (0, 0, 0), [3, 7, 11]),  # nothing but time limits
        ((4, 2, 4), (0, 1, 0), [3, 5, 9]),
        ((4, 4, 2), (0, 0, 0), [3, 7, 9]),  # the recording stopped
        ((4, 4), (0, 1), [3, 7]),
    ],
)
def test_equal_breaks_are_time_limits(lengths, done, ends, tmp_path):
    (tmp_path / "a.pickle").write_bytes(pickle.dumps(episodes(lengths, done)))
    demos = files.read(tmp_path / "a.pickle")
    assert (demos.ends - 1).tolist() == ends
    assert demos.terminated[np.array(ends)].tolist() == [bool(value) for value in done]


@pytest.mark.parametrize(
    ("lengths", "done", "index"),
    [((4, 3, 4), (0, 0, 0), 6), ((3, 4), (0, 1), 2), ((3, 4), (0, 0), 2), ((4, 4, 5), (0, 0, 1), 3)],
)
def test_other_breaks_are_refused(lengths, done, index, tmp_path):
    (tmp_path / "a.pickle").write_bytes(pickle.dumps(episodes(lengths, done)))
    with pytest.raises(
        ConfigError,
        match=rf"a\.pickle: transition {index}: next_observation is not transition {index + 1}'s.*no "
        r"time limit",
    ):
        files.read(tmp_path / "a.pickle")


def test_breaks_in_a_recording_that_was_cut():
    demos = check.checked(
        "f",
        **walk(next_observation=[[1.0], [9.0], [3.0]], terminated=[0, 0, 0], truncated=[0, 0, 0]),
        breaks="cut",
    )
    assert demos.truncated.tolist() == [False, True, True]


def test_sizes_must_fit_the_environment():
    demos = make()
    check.check_fits(demos, Schema.vector(3, 2), "a.npz")
    for sizes, word in (
        ((4, 2), "observations of 3 numbers and the environment of 4"),
        ((3, 1), "actions of 2 numbers"),
    ):
        with pytest.raises(ConfigError, match=rf"a\.npz has {word}"):
            check.check_fits(demos, Schema.vector(*sizes), "a.npz")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=8),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 2**31),
)
def test_any_whole_episodes_pass_and_survive(tmp_path_factory, lengths, observation_size, action_size, seed):
    demos = make(tuple(lengths), observation_size, action_size, seed)
    assert_sound(demos)
    path = tmp_path_factory.mktemp("any")
    for name in ("a.npz", "a.pickle"):
        files.write(demos, path / name)
        assert_equal(files.read(path / name), demos, but=("success", "source"))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FIELDS[:4]), st.integers(0, 12), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_any_bad_entry_is_found(field, index, value):
    demos = make()
    array = getattr(demos, field).copy()
    array[index] = value
    with pytest.raises(ConfigError, match=rf"f: transition {index}: {field} .*not a finite float32"):
        check.checked("f", **{name: getattr(demos, name) for name in FIELDS} | {field: array})


@pytest.mark.parametrize(("package", "path"), [("h5py", "a.hdf5"), ("minari", "minari:made/here-v0")])
def test_a_missing_package_is_named(package, path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    target = path if path.startswith("minari:") else str(tmp_path / path)
    Path(tmp_path / "a.hdf5").touch()
    with pytest.raises(ConfigError, match=rf"needs .*{package}.*pip install 'sac-dist\[data\]'"):
        files.read(target)


def test_reading_an_npz_needs_neither_h5py_nor_minari(tmp_path, monkeypatch):
    for package in ("h5py", "minari"):
        monkeypatch.setitem(sys.modules, package, None)
    importlib.reload(files)
    files.write(make(), tmp_path / "a.npz")
    assert len(files.read(tmp_path / "a.npz")) == 13


# Inspection


def test_the_description_says_what_is_in_a_file():
    demos = make()
    lines = {line.split("  ")[1].strip(): line for line in describe(demos, "a.npz").splitlines()[1:] if line}
    assert "13" in lines["transitions"] and "3" in lines["episodes"]
    assert "1 of 3 = 33% (95 % interval 6% to 79%)" in lines["success"]
    assert "1 terminated, 2 truncated" in lines["ends"]
    assert lines["source"].split(maxsplit=1)[1] == "env SawyerLift-v0, horizon 5, policy expert, seed 3"
    assert [float(word) for word in lines["action 1"].split()[2:]] == pytest.approx(
        [demos.action[:, 1].min(), demos.action[:, 1].mean(), demos.action[:, 1].max()], rel=1e-3
    )
    assert [float(word) for word in lines["length"].split()[1:]] == pytest.approx([3, 13 / 3, 5], rel=1e-3)
    assert [float(word) for word in lines["return"].split()[1:]] == pytest.approx(
        [demos.returns.min(), demos.returns.mean(), demos.returns.max()], rel=1e-3
    )
    assert len({len(line) for name, line in lines.items() if name.startswith(("action ", "re", "len"))}) == 1
    assert "not recorded" in describe(make(success=False), "a.npz")


@pytest.mark.parametrize("demos", [make(), make((1,), 1, 1, success=False), make((3,) * 30, action_size=30)])
def test_the_picture_is_drawn(demos, tmp_path):
    import matplotlib.image

    draw(demos, tmp_path / "a.png")
    picture = matplotlib.image.imread(tmp_path / "a.png")
    assert picture.shape[1] == 1350 and picture[..., :3].std() > 0.05
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
