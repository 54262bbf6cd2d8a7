"""The package's own file of demonstrations: a numpy .npz with one array per field, read without pickle."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.data.schema import Schema
from sac_dist.data.transitions import Transitions
from sac_dist.formats import trajectories
from sac_dist.formats.check import check_size, checked
from sac_dist.formats.format import Format, has_suffix, whole
from sac_dist.settings import ConfigError

REQUIRED = ("observation", "action", "reward", "next_observation", "terminated")
OPTIONAL = ("truncated", "success", "is_intervention", "source", "frames", "schema")
TEXTS = ("source", "schema")
LONGEST_SOURCE = 2**20  # bytes


def read(name: str) -> Transitions:
    """Raises ConfigError with file, transition, field and reason. Without ``truncated`` breaks are taken as
    the book's pickle's.

    A file with D4RL's names (``observations``, …) is read as ``d4rl`` reads HDF5.
    """
    path = Path(name)
    with zipfile.ZipFile(path) as archive:
        stems = [member.filename.removesuffix(".npy") for member in archive.infolist()]
        others = {} if "observation" in stems else trajectories.known_names(stems)
        theirs = "observation" in others
        members = _members(name, archive, tuple(others.values()) if theirs else ())
        check_size(name, sum(member.file_size for member in members.values()), path.stat().st_size)
        arrays: dict[str, Any] = {
            field: _array(name, field, archive, member) for field, member in members.items()
        }
    if theirs:
        found = trajectories.of_arrays(
            name, {field: arrays[key] for field, key in others.items()}, one_episode=False
        )
        if found is None:
            raise ConfigError(f"{name} holds no whole transitions")
        return found
    source, schema = (_json(name, field, arrays.pop(field, None)) for field in TEXTS)
    if bool(schema) != ("frames" in arrays):
        raise ConfigError(f"{name} has one of frames and schema alone: pictures are both")
    return checked(name, **arrays, source=source, schema=_schema(name, schema) if schema else None)


def write(demos: Transitions, path: Path) -> None:
    """Everything: float32 and bool arrays by their fields' names, and ``source`` as JSON; where there are
    pictures the uint8 ``frames``, and ``schema`` as JSON.
    """
    arrays: dict[str, Any] = {field: getattr(demos, field) for field in (*REQUIRED, "truncated")}
    if demos.success is not None:
        arrays["success"] = demos.success
    if demos.is_intervention is not None:
        arrays["is_intervention"] = demos.is_intervention
    arrays["source"] = np.array(json.dumps(demos.source))
    if demos.frames is not None:
        arrays |= {"frames": demos.frames, "schema": np.array(json.dumps(demos.schema.to_dict()))}
    np.savez_compressed(path, **arrays)


def _members(name: str, archive: zipfile.ZipFile, theirs: tuple[str, ...]) -> dict[str, zipfile.ZipInfo]:
    """``theirs``: the names to read of a file of D4RL's kind, which may hold more; () for one of ours."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        field = member.filename.removesuffix(".npy")
        if theirs and field not in theirs:
            continue
        if field in members or (not theirs and field not in REQUIRED + OPTIONAL):
            raise ConfigError(
                f"{name} holds {field[:60]!a}: a file of demonstrations has "
                f"{', '.join(REQUIRED + OPTIONAL)}, each once"
            )
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ConfigError(
                f"{name}: {field} is packed with the zip method {member.compress_type}: only stored and "
                "deflated are read"
            )
        members[field] = member
    missing = [field for field in REQUIRED if field not in members]
    if missing and not theirs:
        raise ConfigError(
            f"{name} lacks {' and '.join(missing)}: a file of demonstrations has {', '.join(REQUIRED)}"
        )
    return members


def _array(name: str, field: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """One member; its header has to fit the size that the zip declares, which was found bearable, and the
    type is checked first.
    """
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ConfigError(f"{name}: {field} has the npy version {version}: 1.0 and 2.0 are read")
        read_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read_header(file)
        kinds = "U" if field in TEXTS else "biuf"
        if dtype.hasobject or dtype.kind not in kinds:
            raise ConfigError(
                f"{name}: {field} is of the type {str(dtype)[:60]}, not "
                f"{'text' if field in TEXTS else 'numbers'}"
            )
        expected = math.prod(shape) * dtype.itemsize
        if any(size < 0 for size in shape) or expected != member.file_size - file.tell():
            raise ConfigError(
                f"{name}: {field} claims the shape {str(shape)[:60]}, which does not fit its "
                f"{member.file_size} bytes"
            )
        data = file.read()  # to the end: that is where its checksum is compared
    if len(data) != expected:
        raise ConfigError(f"{name}: {field} is cut off: {len(data)} of {expected} bytes")
    return (
        np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
        if expected
        else np.empty(shape, dtype)
    )


def _json(name: str, field: str, text: npt.NDArray[Any] | None) -> dict[str, Any]:
    if text is None:
        return {}
    found = json.loads(str(text)) if text.nbytes <= LONGEST_SOURCE and text.ndim == 0 else None
    if not isinstance(found, dict):
        raise ConfigError(f"{name}: {field} is no JSON object of at most {LONGEST_SOURCE} bytes")
    return found


def _schema(name: str, found: dict[str, Any]) -> Schema:
    try:
        return Schema.from_dict(found)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{name}: schema is damaged: {error}") from None


FORMAT = Format(has_suffix(".npz"), read, (".npz",), write=whole(write))
