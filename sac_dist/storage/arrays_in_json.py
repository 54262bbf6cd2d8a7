"""Arrays inside JSON: a checkpoint's metadata holds what is no network and no transition."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

ARRAY = "__array__"


def to_json(value: Any) -> Any:
    """Plain JSON for nested dicts and lists of numpy arrays, bytes, numbers, texts and None.

    Raises:
        TypeError: anything else, arrays of objects included.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError("an array of objects")
        content = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {ARRAY: [value.dtype.str, list(value.shape), content]}
    if isinstance(value, bytes | bytearray | memoryview):
        return to_json(np.frombuffer(value, np.uint8))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {str(key): to_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(part) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__}")


def from_json(value: Any) -> Any:
    """Undo :func:`to_json`; tuples come back as lists, bytes as arrays of uint8. Raises ValueError if it is
    damaged.
    """
    if isinstance(value, dict) and ARRAY in value:
        try:
            dtype, shape, content = value[ARRAY]
            data = base64.b64decode(content, validate=True)
            return np.frombuffer(data, np.dtype(dtype)).reshape(shape).copy()
        except (TypeError, ValueError) as error:
            raise ValueError(f"an array in JSON is damaged: {error}") from None
    if isinstance(value, dict):
        return {key: from_json(part) for key, part in value.items()}
    return [from_json(part) for part in value] if isinstance(value, list) else value
