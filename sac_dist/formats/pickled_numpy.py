"""What numpy's pickles call, as functions that build arrays from bytes; nothing of what a pickle names is
imported.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

ALLOWED = "only lists, tuples, dicts, numbers and numpy arrays are read; pickle nothing else"
MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")  # numpy 1 and 2
NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
DTYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")


class Refused(ValueError):
    """Why a pickle is not read; the message goes behind the file's name."""


class Array:
    """An array on its way: numpy's pickles make an empty one first and fill it later. ``value`` is None until
    then.
    """

    __slots__ = ("value",)

    def __init__(self, value: npt.NDArray[Any] | None = None) -> None:
        self.value = value


class DType:
    """A numpy dtype on its way: its byte order comes in a second step."""

    __slots__ = ("value",)

    def __init__(self, value: np.dtype[Any]) -> None:
        self.value = value

    def set_state(self, state: tuple[Any, ...]) -> None:
        """Numpy's (version, byte order, subarray, names, fields, …). Raises Refused unless it is a plain
        number's.
        """
        order = state[1].decode("latin-1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise Refused(f"holds a dtype of several fields or parts: {ALLOWED}")
        self.value = np.dtype(order + self.value.str[1:])


class Name:
    """A name of numpy's that the pickle may call: ``build`` does what that would do. NDARRAY is named but
    never called.
    """

    __slots__ = ("build",)

    def __init__(self, build: Callable[..., Any] | None) -> None:
        self.build = build


def build_array(shape: Any, dtype: Any, fortran: Any, data: Any) -> npt.NDArray[Any]:
    """A view of ``data``, whose length has to be the array's."""
    if isinstance(shape, int):
        shape = (shape,)
    if type(dtype) is not DType or type(data) not in (bytes, str) or type(shape) is not tuple:
        raise Refused("holds an array of something other than numbers")
    if not all(type(size) is int and size >= 0 for size in shape) or len(shape) > 32:
        raise Refused("holds an array without a valid shape")
    raw = data.encode("latin-1") if isinstance(data, str) else data
    needed = math.prod(shape) * dtype.value.itemsize
    if len(raw) != needed:
        raise Refused(
            f"holds an array that claims the shape {shortened(shape)}, {shortened(needed)} bytes, and "
            f"has {len(raw)}"
        )
    return (
        np.frombuffer(raw, dtype.value).reshape(shape, order="F" if fortran else "C")
        if needed
        else np.empty(shape, dtype.value)
    )


def shortened(value: Any) -> str:
    """What a file says, fit for a terminal: printable and short."""
    text = "2**64 or more" if isinstance(value, int) and value >= 2**64 else str(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text[:80])
    return text if len(text) < 80 else f"{text[:77]}..."


def _build_dtype(kind: Any, *flags: Any) -> DType:
    if isinstance(kind, bytes):
        kind = kind.decode("latin-1")
    if type(kind) is not str or not DTYPE.fullmatch(kind):
        named = f"dtype {shortened(kind)}" if type(kind) is str else "unnamed dtype"
        raise Refused(f"holds an array of the {named}: {ALLOWED}")
    return DType(np.dtype(kind))


def _reconstruct(kind: Any, shape: Any, code: Any) -> Array:
    if kind is not NDARRAY:
        raise Refused(f"holds another class than numpy's plain ndarray: {ALLOWED}")
    return Array()


def _scalar(dtype: Any, data: Any) -> Any:
    return build_array((), dtype, False, data).item()


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
    return Array(build_array(shape, dtype, order == "F", data))


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise Refused("encodes text in another way than numpy's arrays do")
    return text.encode("latin-1")


def _no_bytes(*arguments: Any) -> bytes:
    if arguments:
        raise Refused(f"builds bytes from something: {ALLOWED}")
    return b""


def _no_items(*arguments: Any) -> dict[str, Any]:
    if arguments:
        raise Refused(f"builds a dict from something: {ALLOWED}")
    return {}


NDARRAY = Name(None)
NAMES: dict[tuple[str, str], Name] = {
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): Name(_build_dtype),
    ("_codecs", "encode"): Name(_encode),
    ("collections", "OrderedDict"): Name(_no_items),
    ("__builtin__", "bytes"): Name(_no_bytes),
    ("builtins", "bytes"): Name(_no_bytes),
}
for _module in MULTIARRAY:
    NAMES[_module, "_reconstruct"] = Name(_reconstruct)
    NAMES[_module, "scalar"] = Name(_scalar)
for _module in NUMERIC:
    NAMES[_module, "_frombuffer"] = Name(_frombuffer)
