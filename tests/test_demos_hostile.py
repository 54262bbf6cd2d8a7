"""Files of demonstrations that are damaged or meant to do harm: each is refused in a line, or is sound; none
runs anything.
"""

import builtins
import copyreg
import functools
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from demo_files import Payload, make, rows

from sac_dist.formats import files
from sac_dist.formats.pickled_numpy import ALLOWED
from sac_dist.settings import ConfigError

COUNTS = {".pickle": 6500, ".npz": 2700, ".hdf5": 800}


def refusal(path: Path) -> str:
    """The one line that reading ``path`` ends with."""
    with pytest.raises(ConfigError) as caught:
        files.read(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message and len(message) < 600
    return message


def refused_pickle(folder: Path, data: bytes) -> str:
    path = folder / "demo.pickle"
    path.write_bytes(data)
    began = time.perf_counter()
    message = refusal(path)
    assert time.perf_counter() - began < 30
    return message


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


# Pickles that run something


@pytest.mark.parametrize("protocol", range(6))
def test_a_payload_is_refused_by_its_name(protocol, tmp_path):
    canary = tmp_path / "canary"
    data = pickle.dumps([*rows(make()), Payload(canary)], protocol)
    message = refused_pickle(tmp_path, data)
    assert f"demo.pickle names {os.system.__module__}.system: {ALLOWED}" in message
    assert not canary.exists()
    pickle.loads(data)  # the payload is a real one
    assert canary.exists()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (Calls(eval, "__import__('os').system('touch {}')"), "eval"),
        (Calls(exec, "open({!r}, 'w')"), "exec"),
        (Calls(subprocess.Popen, ["touch", "{}"]), ".Popen"),  # protocols below 3 say Python 2's commands
        (Calls(np.load, "evil.npy", None, True), "numpy.load"),
        (Calls(functools.partial, os.system, "touch {}"), "functools.partial"),
        (Calls(getattr, "a", "upper"), "getattr"),
        (Calls(builtins.__import__, "os"), "__import__"),
        (Calls(copyreg._reconstructor, dict, object, None), "._reconstructor"),
        (Calls(np.memmap, "evil"), "numpy.memmap"),
        (Calls(open, "{}", "w"), "open"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_but_numpys_constructors_may_be_named(call, name, protocol, tmp_path):
    canary = str(tmp_path / "canary")
    call.call = (
        call.call[0],
        tuple(
            part.replace("{}", canary).replace("{!r}", repr(canary)) if type(part) is str else part
            for part in call.call[1]
        ),
    )
    message = refused_pickle(tmp_path, pickle.dumps([call], protocol))
    assert f"{name}: {ALLOWED}" in message and not Path(canary).exists()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"(S'touch canary'\nios\nsystem\n.", "names os.system"),  # INST
        (b"(cos\nsystem\nS'touch canary'\no.", "names os.system"),  # OBJ
        (b"cnumpy.f2py.diagnose\nrun\n)R.", "names numpy.f2py.diagnose.run"),
        (
            b"cnumpy.testing._private.utils\nrunstring\n(S'import os'\n}tR.",
            "names numpy.testing._private.utils.runstring",
        ),
        (
            b"\x80\x04\x8c\x05numpy\x8c\x0dos.sys.system\x93.",
            "names numpy.os.sys.system",
        ),  # nested attributes
        (b"\x80\x04\x8c\x15numpy.core.multiarray\x8c\x15_reconstruct.__call__\x93.", "_reconstruct.__call__"),
        (b"\x80\x04\x8c\x04a\x1b[2\x8c\x03b\nR\x93.", "names a?[2.b?R"),  # nothing reaches the terminal
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "NEWOBJ"),
        (b"\x80\x04cnumpy\nndarray\n)}\x92.", "an object of a class (pickle's NEWOBJ_EX)"),
        (b"cnumpy\nndarray\n(I1\ntR.", "calls something"),  # a class, but none that may be called
        (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\nNNtR.", "another class"),
        (b"\x80\x02cbuiltins\nbytes\nK\x64\x85R.", "builds bytes"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"Pos.system\n.", "PERSID"),
        (b"\x80\x02NQ.", "BINPERSID"),
        (b"\x80\x04]2.", "DUP"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x04\x8f.", "holds a set (pickle's EMPTY_SET)"),
        (b"\x80\x04]N.", "stops"),
        (b"\x80\x04](.", "stops"),
        (b"\x80\x09].", "protocols 0 to 5"),
        (b"\x80\x04\xff.", "no opcode"),
        (b"", "cut off"),
        (b"\x80\x04N.", "not a list"),
        (b"\x80\x04].", "no transitions"),
        (b"\x80\x04]b.", "damaged"),
        (b"\x80\x04]NNb.", "state of something"),
        (b"\x80\x04h\x07.", "damaged"),
        (b"\x80\x04(u.", "damaged"),
        (b"\x80\x04}K\x01K\x02s.", "keys are not all names"),  # a number may hash as the file likes
        (b"\x80\x04}NNs.", "keys are not all names"),
        (b"\x80\x04}]Ns.", "keys are not all names"),
        (b"\x80\x04})Ns.", "keys are not all names"),
        (b"\x80\x04]U\x01aNs.", "damaged"),  # the items of a list
        (b"\x80\x04}(U\x01au.", "damaged"),  # a key without its value
        (b"(U\x01ad.", "damaged"),
        (b"}(U\x01aNs.", "damaged"),  # the dict lies below a mark
        (b"\x80\x04}.", "keys []"),
        (b"ccollections\nOrderedDict\n](U\x01aNtR.", "calls something"),
        (b"ccollections\nOrderedDict\n(]tR.", "builds a dict from something"),
        (b"ccollections\ndefaultdict\n)R.", "names collections.defaultdict"),
    ],
)
def test_instructions_that_lists_of_arrays_do_not_need(data, word, tmp_path):
    assert word in refused_pickle(tmp_path, data)


# Pickles that eat memory or time


def vector(shape: bytes, data: bytes, kind: bytes = b"f4") -> bytes:
    """A list with one array by hand, protocol 2."""
    found = (
        b"\x80\x02]cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + shape
    )
    return (
        found
        + b"cnumpy\ndtype\nU"
        + bytes([len(kind)])
        + kind
        + b"K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + data
        + b"tba."
    )


def test_the_array_by_hand_is_one(tmp_path):
    loaded = pickle.loads(vector(b"K\x02\x85", b"U\x08" + bytes(8)), encoding="bytes")
    assert loaded[0].tolist() == [0, 0]
    assert "transition 0 is an array instead of a tuple" in refused_pickle(
        tmp_path, vector(b"K\x02\x85", b"U\x08" + bytes(8))
    )


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (
            b"\x80\x02]r\xff\xff\xff\xff.",
            "no transitions",
        ),  # a memo of 4 billion entries, of which one exists
        (b"\x80\x02]p9999999999999999999\n.", "no transitions"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "cut off"),  # BINBYTES8
        (b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\x00\x00.", "cut off"),  # BYTEARRAY8
        (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "cut off"),  # BINUNICODE8
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "cut off"),  # LONG4
        (b"\x80\x02\x8b\xff\xff\xff\xff.", "cut off"),  # … of a negative length
        (b"\x80\x02\x8b\x00\x00\x10\x00" + b"\x7f" * 2**20 + b".", "whole number of 1048576 bytes"),
        (b"I" + b"9" * 10**6 + b"\n.", "number of 1000000 characters"),
        (b"L" + b"9" * 10**6 + b"L\n.", "number of 1000001 characters"),
        (b"F" + b"9" * 10**6 + b"\n.", "number of 1000000 characters"),
        (b"\x80\x02" + b"(" * 10**6, "nests deeper"),
        (b"\x80\x02" + b"]" * 10**6 + b".", "far more objects"),
        pytest.param(
            b"\x80\x02" + b"]" * 10**6 + b"a" * (10**6 - 1) + b".",
            "transition 0 is 1 values",  # a million lists deep
            marks=pytest.mark.slow,
        ),
        (b"\x80\x02N" + b"\x85" * 10**6 + b".", "far more objects"),
        (b"\x80\x02(" + b"}" * 10**6 + b"l.", "far more objects"),
        (b"\x80\x02}U\x01aq\x000}(" + b"h\x00N" * 10**6 + b"u.", "stops at"),  # an item a million times
        pytest.param(b"\x80\x02]." * 10**6, "no transitions", marks=pytest.mark.slow),  # as many in one file
        (b"\x80\x04]" + b"\x94" * 10**6 + b".", "far more objects"),
        (
            b"\x80\x02X\x00\x00\x10\x00"
            + b"a" * 2**20
            + b"\x85q\x000c_codecs\nencode\nq\x010"
            + b"h\x01h\x00R0" * 50000
            + b".",
            "far more bytes",
        ),
        (b"\x80\x02](q\x01h\x01h\x01h\x01h\x01e.", "damaged"),
        (
            vector(b"\x8a\x08" + b"\xff" * 7 + b"\x7f\x85", b"U\x04abcd"),
            "claims the shape (9223372036854775807,)",
        ),
        (
            vector(b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", b"U\x04abcd"),
            "claims the shape (2147483647, 2147483647)",
        ),
        (vector(b"J\xff\xff\xff\xff\x85", b"U\x04abcd"), "valid shape"),
        (vector(b"K\x01\x85", b"U\x04abcd", b"O8"), "dtype O8"),
        (vector(b"K\x01\x85", b"U\x04abcd", b"V4"), "dtype V4"),
        (vector(b"K\x01\x85", b"U\x04abcd", b"f4,f4"), "dtype f4,f4"),
    ],
)
def test_claims_are_not_believed(data, word, tmp_path):
    assert word in refused_pickle(tmp_path, data)


def test_recursion_and_sharing_do_no_harm(tmp_path):
    circle: list = []
    circle.append(circle)
    assert "transition 0 is 1 values" in refused_pickle(tmp_path, pickle.dumps(circle))
    circle = []
    circle.append((circle, [0.0], 0.0, circle, True))
    assert "state holds a tuple" in refused_pickle(tmp_path, pickle.dumps(circle))
    walled: dict = {}
    walled["observations"] = walled["actions"] = walled["rewards"] = walled
    assert "instead of a number" in (message := refused_pickle(tmp_path, pickle.dumps(walled))) or message
    laughs: list = ["ha"]
    for _ in range(100):
        laughs = [laughs] * 10  # 10^100 when unfolded
    assert "transition 0 is 10 values" in refused_pickle(tmp_path, pickle.dumps(laughs))
    assert "state holds a list" in refused_pickle(tmp_path, pickle.dumps([(laughs, 0.0, 0.0, laughs, True)]))
    state = np.zeros(10_000)
    shared = [(state, [0.0], 0.0, state, True)] * 40_000  # 3.2 GB of float32 from a file of 160 kB
    assert "claims 3,2" in refused_pickle(tmp_path, pickle.dumps(shared))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_file_cut_at_any_byte_is_refused(protocol, tmp_path):
    data = pickle.dumps(rows(make((2,), 2, 1)), protocol)
    for size in range(len(data)):
        message = refused_pickle(tmp_path, data[:size])
        assert "cut off" in message, size


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({0: np.array([object()])}, ["dtype O8"]),
        ({0: np.array(["a"])}, ["dtype U1"]),
        ({0: np.array(["2020-01-01"], "M8[D]")}, ["dtype M8"]),
        ({0: np.zeros(1, [("a", "f4")])}, ["dtype V4"]),
        ({0: np.zeros(1, complex)}, ["dtype c16"]),
        ({0: np.ones((1, 1)).view(np.matrix)}, ["numpy.matrix"]),
        ({0: "text"}, ["transition 1", "state is text"]),
        ({0: {"a": 1}}, ["transition 1: state has 1 entries", "transition 0's has 3"]),
        ({0: {"a": {"b": 1}}}, ["transition 1: state is a dict, not numbers"]),
        ({0: {}}, ["transition 1: state is a dict, not numbers"]),
        ({0: [1.0, "x", 2.0]}, ["transition 1", "state holds text"]),
        ({0: [1.0, 2.0]}, ["transition 1: state has 2 entries", "transition 0's has 3"]),
        ({0: np.zeros((3, 3))}, ["transition 1: state has the shape (3, 3)"]),
        ({1: None}, ["transition 1: action is None"]),
        ({1: [10**400, 0]}, ["whole number of"]),
        ({1: [0.0, 3.0]}, ["transition 1: action entry 1 is 3", "[-1, 1]"]),
        ({2: float("nan")}, ["transition 1: reward is nan"]),
        ({2: [1.0, 2.0]}, ["transition 1: reward has 2 entries"]),
        ({3: [float("inf")] * 3}, ["transition 1: next_observation entry 0 is inf"]),
        ({4: 0.5}, ["transition 1: terminated is 0.5"]),
        ({4: "yes"}, ["transition 1: done is text"]),
    ],
)
def test_a_wrong_value_is_named(change, words, tmp_path):
    listed = [list(row) for row in rows(make())]
    for field, value in change.items():
        listed[1][field] = value
    message = refused_pickle(tmp_path, pickle.dumps(listed))
    assert all(word in message for word in words), message


def test_a_transition_of_another_length_is_named(tmp_path):
    listed = rows(make())
    listed[4] = listed[4][:4]
    assert "transition 4 is 4 values instead of a tuple (state, action" in refused_pickle(
        tmp_path, pickle.dumps(listed)
    )


# npz


def npy(array: np.ndarray, claim: tuple[int, ...] | None = None) -> bytes:
    target = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        target, {"descr": array.dtype.str, "fortran_order": False, "shape": claim or array.shape}
    )
    return target.getvalue() + array.tobytes()


def write_npz(path: Path, **members: bytes) -> Path:
    arrays = {
        name: npy(getattr(make(), name))
        for name in ("observation", "action", "reward", "next_observation", "terminated")
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (arrays | members).items():
            archive.writestr(f"{name}.npy", data)
    return path


def test_the_npz_by_hand_is_one(tmp_path):
    assert len(files.read(write_npz(tmp_path / "a.npz"))) == 13


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ({"reward": npy(np.zeros(3, np.float32), (10**12,))}, "reward claims the shape (1000000000000,)"),
        ({"reward": npy(np.zeros(3, np.float32), (2**40, 2**40))}, "reward claims the shape"),
        ({"reward": npy(np.zeros(3), (-3,))}, "reward claims the shape (-3,)"),
        ({"reward": npy(np.zeros(13, complex))}, "complex128"),
        ({"reward": npy(np.zeros(13, "M8[s]"))}, "datetime64"),
        ({"source": npy(np.zeros(3))}, "source is of the type float64, not text"),
        ({"source": npy(np.array("[1]"))}, "no JSON object"),
        ({"extra": npy(np.zeros(3))}, "holds 'extra'"),
        ({"../../evil": npy(np.zeros(3))}, "evil"),
        ({"reward": b""}, "damaged"),
        ({"reward": b"\x93NUMPY\x03\x00" + bytes(100)}, "npy version"),
        ({"reward": b"\x93NUMPY\x01\x00\xff\x0f" + b"(" * 4095}, "damaged"),
        ({"reward": npy(np.zeros(0, np.float32))}, "no transitions"),
        (
            {
                "observation": npy(np.zeros((13, 10**6), np.int8)),
                "next_observation": npy(np.zeros((13, 10**7 * 3), np.int8)),
            },
            "claims 4",
        ),
    ],
)
def test_a_bad_npz_is_refused(members, word, tmp_path):
    path = write_npz(tmp_path / "a.npz", **members)
    assert path.stat().st_size < 5 * 10**5
    assert word in refusal(path)


def test_an_npz_of_objects_runs_nothing(tmp_path):
    array = np.empty(13, object)
    array[:] = [Payload(tmp_path / "canary")] * 13
    np.savez(
        tmp_path / "a.npz",
        **{
            name: getattr(make(), name)
            for name in ("observation", "action", "next_observation", "terminated")
        },
        reward=array,
    )
    assert (
        "reward is of the type object" in refusal(tmp_path / "a.npz") and not (tmp_path / "canary").exists()
    )


def test_an_npz_that_is_none(tmp_path):
    for data, word in ((b"PK\x03\x04", "damaged"), (b"", "damaged"), (npy(np.zeros(3)), "damaged")):
        (tmp_path / "a.npz").write_bytes(data)
        assert word in refusal(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", observation=np.zeros((2, 1)))
    assert "lacks action and reward and next_observation and terminated" in refusal(tmp_path / "b.npz")


def test_a_zip_that_declares_less_than_it_holds(tmp_path):
    path = write_npz(tmp_path / "a.npz", reward=npy(np.zeros(13, np.float32)) + bytes(10**6))
    data = path.read_bytes()
    true = struct.pack("<I", len(npy(np.zeros(13, np.float32))) + 10**6)
    path.write_bytes(data.replace(true, struct.pack("<I", len(npy(np.zeros(13, np.float32))))))
    assert "a.npz" in refusal(path)  # its checksum is another one


# Damage at random


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_damaged_files(tmp_path):
    """Each is refused in a line or sound. A crash, a hang, other errors, an executed payload and much memory
    fail.
    """
    pytest.importorskip("h5py")
    command = [
        sys.executable,
        str(Path(__file__).with_name("demo_files.py")),
        str(tmp_path),
        json.dumps(COUNTS),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    number = tmp_path / "number"
    assert done.returncode == 0, (
        f"{number.read_text() if number.exists() else 'start'}: {done.returncode} {done.stderr[-2000:]}"
    )
    report = json.loads(done.stdout)
    assert report["loaded"] + report["refused"] == sum(COUNTS.values()) == 10_000
    assert all(count > 0 for count in report["kinds"].values()), (
        report
    )  # some damage does no harm: the seeds are read at all
    assert report["slowest"] < 10 and report["peak_mb"] < 600, report
    assert not (tmp_path / "canary").exists()
