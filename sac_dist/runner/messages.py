"""What goes over the policy server's WebSocket, in JSON.

The server greets with ``{"version": 1, "policy": {…}}``, the policy's card. A client asks ``{"version": 1,
"id": 7, "observation": {name: array}}``, for a sample with ``"noise": [numbers]``, and gets ``{"version": 1,
"id": 7, "action": array}``, or ``{"version": 1, "id": 7, "error": "one line"}``. An array is nested lists of
numbers, or ``{"dtype": "uint8", "shape": [84, 84, 3], "base64": "…"}``, row by row, little-endian; actions
are lists.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.runner.policy import Policy
from sac_dist.settings.option import ConfigError

VERSION = 1
LARGEST_MESSAGE = 2**24  # bytes
BINARY_FROM = 64  # numbers of an array, from which on base64 is quicker than a list


def greeting(policy: Policy) -> str:
    parts = {name: part for name, part in policy.card.parts.items() if name not in ("program", "probes")}
    return json.dumps({"version": VERSION, "policy": parts})


def request(id: int, observation: Mapping[str, Any], noise: npt.ArrayLike | None = None) -> str:
    """A client's question."""
    asked: dict[str, Any] = {"version": VERSION, "id": id, "observation": packed(observation)}
    if noise is not None:
        asked["noise"] = np.asarray(noise).tolist()
    return json.dumps(asked)


def answer(policy: Policy, message: str | bytes) -> str:
    """The server's answer to any message at all."""
    id = None
    try:
        asked = json.loads(message)
        if not isinstance(asked, dict):
            raise ConfigError("a message is a JSON object")
        id = asked.get("id") if isinstance(asked.get("id"), int | str) else None
        if asked.get("version") != VERSION:
            raise ConfigError(f"the message has version {short(asked.get('version'))}, this server {VERSION}")
        if "observation" not in asked:
            raise ConfigError("the message has no observation")
        action = policy(unpacked(asked["observation"]), asked.get("noise"))
        return json.dumps({"version": VERSION, "id": id, "action": action.tolist()})
    except ConfigError as error:
        line = str(error)
    except (
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
    ) as error:  # no JSON, a noise that is no numbers
        line = f"the message cannot be read: {short(error)}"
    return json.dumps({"version": VERSION, "id": id, "error": line})


def packed(part: Any) -> Any:
    """An observation, or a part of one, as JSON."""
    if isinstance(part, Mapping):
        return {str(name): packed(inner) for name, inner in part.items()}
    if isinstance(part, tuple):
        return {str(number): packed(inner) for number, inner in enumerate(part)}
    array = np.asarray(part)
    if array.size < BINARY_FROM:
        return array.tolist()
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    data = base64.b64encode(little.tobytes()).decode("ascii")
    return {"dtype": array.dtype.name, "shape": list(array.shape), "base64": data}


def unpacked(part: Any) -> Any:
    """Undo :func:`packed`. Raises ConfigError for an array that is none."""
    if not isinstance(part, dict):
        return part
    if "base64" not in part:
        return {name: unpacked(inner) for name, inner in part.items()}
    try:
        dtype = np.dtype(str(part["dtype"])).newbyteorder("<")
        data = base64.b64decode(part["base64"], validate=True)
        array = np.frombuffer(data, dtype).reshape(part["shape"])
        return array.astype(dtype.newbyteorder("="), copy=False)
    except (LookupError, TypeError, ValueError, binascii.Error) as error:
        raise ConfigError(f"an array of the message cannot be read: {short(error)}") from None


def short(what: object) -> str:
    text = " ".join(str(what).split())
    return text if len(text) <= 80 else f"{text[:80]}…"
