"""The networks in files, as functions of named arrays: read without running code, and one line for what is
none.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.runner.card import Card, Field
from sac_dist.runner.program import Program
from sac_dist.settings.option import ConfigError, check_path
from sac_dist.system.files import read_whole

Array = npt.NDArray[Any]
Network = Callable[[dict[str, Array], Array | None], Array]  # fields and noise → action
MOST = 2**31  # bytes of a file
DESCRIPTION = "policy"  # the description's name in a file
CHECKSUM, NO_CHECKSUM = "sha256", "0" * 64  # in ONNX's metadata: of the file with the latter in its place
FAULTS = (LookupError, OverflowError, TypeError, ValueError, EOFError, RuntimeError, NotImplementedError)


def read(path: Path) -> tuple[Card, Network]:
    """Raises ConfigError with the file and what is wrong with it."""
    check_path(path)
    readers = {".npz": read_npz, ".onnx": read_onnx}
    if path.suffix not in readers:
        raise ConfigError(
            f"{path} is for torch.export.load: the runner reads {' and '.join(readers)}"
            if path.suffix == ".pt2"
            else f"{path} is no exported policy: the runner reads {' and '.join(readers)}"
        )
    try:
        data = read_whole(path, MOST)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return readers[path.suffix](data)
    except ConfigError as error:
        raise ConfigError(f"{path} {error}") from None


def read_npz(data: bytes) -> tuple[Card, Network]:
    try:
        arrays = arrays_in(data)
        parts = json.loads(bytes(arrays.pop(DESCRIPTION)))
    except (zipfile.BadZipFile, *FAULTS) as error:
        raise ConfigError(
            f"is not a policy that sac_dist exported, or is cut off: {line_of(error)}"
        ) from None
    card = Card.of(parts)
    try:
        constants = [arrays[f"constant{number}"] for number in range(len(arrays))]
        return card, in_numpy(card, Program.from_json(parts["program"], constants))
    except FAULTS as error:
        raise ConfigError(f"is damaged: {line_of(error)}") from None


def in_numpy(card: Card, program: Program) -> Network:
    flat, run, silence = Flattening(card.fields), program.compiled(), np.zeros(card.noise_size, np.float32)

    def network(fields: dict[str, Array], noise: Array | None) -> Array:
        return run(flat(fields), silence if noise is None else noise)

    return network


def arrays_in(data: bytes) -> dict[str, Array]:
    """The arrays of numbers in an .npz file that is not compressed. Raises zipfile.BadZipFile and FAULTS."""
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:  # a few bytes could become all of the memory
                raise ValueError("it is compressed")
            content = archive.read(member)
            file = io.BytesIO(content)
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError(f"{member.filename} is no array of numbers")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            if fortran or dtype.kind not in "fiub":
                raise ValueError(f"{member.filename} is no array of numbers")
            array = np.frombuffer(content, dtype, offset=file.tell()).reshape(shape)
            arrays[member.filename.removesuffix(".npy")] = array
    return arrays


def read_onnx(data: bytes) -> tuple[Card, Network]:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"needs onnxruntime: pip install onnxruntime ({line_of(error)})") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # of one row: threads only wait
    options.log_severity_level = 4  # what is wrong is said below, in a line
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        found = session.get_modelmeta().custom_metadata_map
        parts = json.loads(found.get(DESCRIPTION, "null"))
    except Exception as error:  # onnxruntime's own derive from that alone
        raise ConfigError(f"is not a model of ONNX, or is cut off: {line_of(error)}") from None
    card, checksum = Card.of(parts), found.get(CHECKSUM, NO_CHECKSUM)
    if sha256(data.replace(checksum.encode(), NO_CHECKSUM.encode())).hexdigest() != checksum:
        raise ConfigError("is damaged: its checksum is another")

    def network(fields: dict[str, Array], noise: Array | None) -> Array:
        if noise is not None:
            fields = {**fields, "noise": noise}
        action: Array = session.run(("action",), fields)[0]
        return action

    return card, network


class Flattening:
    """The fields side by side as one float32 vector, as the network takes them."""

    def __init__(self, fields: tuple[Field, ...]) -> None:
        ends = np.cumsum([field.size for field in fields]).tolist()
        self.places = [slice(end - field.size, end) for field, end in zip(fields, ends, strict=True)]
        self.size = ends[-1]
        self.parts = [
            (field.name, place, None if field.choices is None else one_hot(field.choices))
            for field, place in zip(fields, self.places, strict=True)
        ]

    def __call__(self, fields: dict[str, Array]) -> npt.NDArray[np.float32]:
        if len(self.parts) == 1 and self.parts[0][2] is None:
            return fields[self.parts[0][0]].astype(np.float32, copy=False).ravel()
        vector = np.empty(self.size, np.float32)
        for name, place, choices in self.parts:
            value = fields[name].ravel()
            vector[place] = value if choices is None else value[choices[0]] == choices[1]
        return vector


def one_hot(choices: tuple[tuple[int, int], ...]) -> tuple[Array, Array]:
    """(size,) each: which number of the field an entry is about, and which value makes it 1."""
    owner = [number for number, (_, n) in enumerate(choices) for _ in range(n)]
    value = [first + k for first, n in choices for k in range(n)]
    return np.array(owner, np.int64), np.array(value, np.int64)


def line_of(error: BaseException) -> str:
    """Its first line, short."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= 100 else f"{line[:100]}…"
