"""What holds for demonstrations whatever file they come from; the readers hand their raw arrays to
:func:`checked`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sac_dist.data.schema import Schema
from sac_dist.data.transitions import Transitions
from sac_dist.settings import ConfigError
from sac_dist.system.shared import available_memory

TOLERANCE = 1e-6  # actions this far outside [-1, 1] are rounding, and clipped
CHUNK = 65536  # rows compared at a time: the temporaries stay small beside the data
ALLOWANCE = 2**28  # bytes that any file may unfold to, however small it is
EXPANSION = 50  # … and otherwise at most so many times its own size

EMPTY = "episodes without a whole transition, left out"

Breaks = Literal["refuse", "time_limit", "cut"]


def refusal(name: str, index: int | None, field: str, reason: str) -> ConfigError:
    """The one line that every reader raises: file, 0-based transition, field, reason."""
    place = name if index is None else f"{name}: transition {index}"
    return ConfigError(f"{place}: {field} {reason}")


def check_size(name: str, nbytes: int, file_size: int) -> int:
    """Refuse to unfold a file into ``nbytes``, before anything of that size is allocated; returns how many
    more there could be.
    """
    allowed = max(ALLOWANCE, EXPANSION * file_size)
    if nbytes > allowed:
        raise ConfigError(
            f"{name} claims {nbytes:,} bytes of data in a file of {file_size:,}: refused above {allowed:,}"
        )
    available = available_memory()
    if nbytes > available:
        raise ConfigError(
            f"{name} needs {nbytes / 2**20:.0f} MiB of memory, and {available / 2**20:.0f} MiB are "
            "available: split it"
        )
    return min(allowed, available) - nbytes


def checked(
    name: str,
    *,
    observation: npt.NDArray[Any],
    action: npt.NDArray[Any],
    reward: npt.NDArray[Any],
    next_observation: npt.NDArray[Any],
    terminated: npt.NDArray[Any],
    truncated: npt.NDArray[Any] | None = None,
    success: npt.NDArray[Any] | None = None,
    is_intervention: npt.NDArray[Any] | None = None,
    source: dict[str, Any] | None = None,
    breaks: Breaks = "refuse",
    one_episode: bool = False,
    schema: Schema | None = None,
    frames: npt.NDArray[Any] | None = None,
) -> Transitions:
    """The transitions in these arrays, (N, …) by their names in a Schema; the last one counts as truncated if
    it ends nothing.

    A column of one number may be (N,) or (N, 1), and so may a vector of one entry.

    Args:
        name: the file, for the messages.
        one_episode: the arrays are one whole episode: ``terminated`` and ``truncated`` before its last
            transition (robomimic marks each state of success so) end nothing.
        truncated: None where the file has no marks; ``breaks`` is then "time_limit".
        breaks: what a next observation means that the following transition does not begin with, inside an
            episode. "refuse": the file is wrong. "time_limit": the episode was truncated there, if that
            explains every such place (see :func:`_time_limit`), else refused. "cut": it was truncated there.
        schema: None is that of plain vectors.
        frames: pictures where the schema has some, as Transitions'.

    Raises:
        ConfigError: naming the file, the first bad transition, the field and the reason.
    """
    count = reward.size
    if count == 0:
        raise ConfigError(f"{name} holds no transitions")
    observation, action, next_observation = (
        _vectors(values, count) for values in (observation, action, next_observation)
    )
    reward, terminated = _column(reward), _column(terminated)
    truncated = None if truncated is None else _column(truncated)
    sizes = {"observation": observation, "action": action, "next_observation": next_observation}
    for field, values in sizes.items():
        least = 0 if frames is not None and field != "action" else 1
        if values.ndim != 2 or len(values) != count or values.shape[1] < least:
            raise refusal(
                name, None, field, f"has the shape {values.shape} instead of ({count}, a size above 0)"
            )
    if observation.shape != next_observation.shape:
        raise refusal(
            name,
            0,
            "next_observation",
            f"has {next_observation.shape[1]} entries and observation {observation.shape[1]}",
        )
    marks = {
        "reward": reward,
        "terminated": terminated,
        "truncated": terminated if truncated is None else truncated,
    }
    for field, values in marks.items():
        if values.shape != (count,):
            raise refusal(name, None, field, f"has the shape {values.shape} instead of ({count},)")

    observation = _finite(name, "observation", observation)
    next_observation = _finite(name, "next_observation", next_observation)
    reward = _finite(name, "reward", reward)
    action = _bounded(name, _finite(name, "action", action))
    terminated = _marks(name, "terminated", terminated)
    ends = terminated.copy() if truncated is None else _marks(name, "truncated", truncated)
    if one_episode:
        terminated[:-1] = ends[:-1] = False
    broken = _breaks(observation, next_observation) & ~(terminated[:-1] | ends[:-1])
    if truncated is None:
        breaks, ends = "time_limit", np.zeros(count, np.bool_)
    if broken.any():
        if breaks == "refuse":
            raise _broken(
                name,
                int(np.flatnonzero(broken)[0]),
                observation,
                next_observation,
                "and the episode does not end there",
            )
        if breaks == "time_limit":
            _time_limit(name, broken, terminated, observation, next_observation)
        ends[:-1] |= broken
    ends[-1] |= not terminated[-1]
    parts = {
        "observation": observation,
        "action": action,
        "reward": reward,
        "next_observation": next_observation,
        "terminated": terminated,
        "truncated": ends,
    }
    if frames is not None and schema is not None and observation.shape[1] != schema.vector_size:
        raise refusal(name, None, "observation", f"has {observation.shape[1]} entries beside the pictures")
    read = Transitions.of_arrays(parts, None, source, schema, frames)
    if frames is not None:
        expected = (count + len(read.starts), read.schema.frame_size)
        if frames.dtype != np.uint8 or frames.shape != expected:
            shape = f"is {frames.dtype} {frames.shape} instead of uint8 {expected}"
            raise refusal(name, None, "frames", f"{shape}: one for each transition, and one for each episode")
    if is_intervention is not None:
        by_person = _marks(name, "is_intervention", _column(is_intervention))
        if by_person.shape != (count,):
            shape = f"has the shape {by_person.shape} instead of ({count},)"
            raise refusal(name, None, "is_intervention", shape)
        read = replace(read, is_intervention=by_person)
    if success is None:
        return read
    success = _marks(name, "success", _column(success))
    if success.shape != read.starts.shape:
        raise refusal(
            name, None, "success", f"has the shape {success.shape}, and there are {len(read.starts)} episodes"
        )
    return replace(read, success=success)


def joined(
    name: str, parts: Iterable[tuple[str, Transitions | None]], source: dict[str, Any] | None = None
) -> Transitions:
    """One after the other the episodes of a file that has parts with names of their own; None: a part without
    a whole transition.

    ``source`` is the file's; what was left out or changed in the parts is added up in its ``notes``. Raises
    ConfigError: nothing is left, or sizes differ.
    """
    everything = list(parts)
    labelled = [(label, part) for label, part in everything if part is not None]
    if not labelled:
        raise ConfigError(f"{name} holds no transitions")
    first_label, first = labelled[0]
    for label, part in labelled:
        for field in ("observation", "action"):
            size, expected = getattr(part, field).shape[1], getattr(first, field).shape[1]
            if size != expected:
                raise ConfigError(
                    f"{name}: {label}: {field} has {size} entries, and {first_label}'s has {expected}"
                )
    whole = Transitions.concatenate([part for _, part in labelled])
    notes = Counter({EMPTY: len(everything) - len(labelled)})
    for _, part in labelled:
        notes.update(part.source.get("notes", {}))
    return replace(whole, source=noted(source or {}, notes))


def noted(source: dict[str, Any], notes: Mapping[str, int]) -> dict[str, Any]:
    """``source`` with what a reader left out or changed, by how often, beside what it held of that before."""
    kept = {name: value for name, value in source.items() if name != "notes"}
    before = source.get("notes")
    sound = isinstance(before, dict) and all(type(count) is int for count in before.values())
    found = Counter(before if sound else {}) + Counter(notes)
    return {**kept, "notes": dict(found)} if found else kept


def digest(demos: Transitions) -> str:
    """SHA-256 of what training sees: the same transitions in another file, or of another kind, are the same
    data.
    """
    found = hashlib.sha256(str((demos.observation.shape, demos.action.shape)).encode())
    for name in ("observation", "action", "reward", "next_observation", "terminated", "truncated"):
        found.update(np.ascontiguousarray(getattr(demos, name)).data)
    if demos.frames is not None:
        found.update(np.ascontiguousarray(demos.frames).data)
    return found.hexdigest()


def check_fits(demos: Transitions, schema: Schema, name: str) -> None:
    """Raise ConfigError if the sizes of ``demos``, of file ``name``, are not the environment's."""
    shown, wanted = (
        ", ".join(str(replace(field, stack=1)) for field in each.pictures) or "no pictures"
        for each in (demos.schema, schema)
    )
    if shown != wanted:
        unread = f"{name}/pictures reads those of a dataset that has some, else "
        raise ConfigError(
            f"{name} has {shown}, and the environment observes {wanted}: "
            f"{'' if demos.schema.pictures else unread}record it with the same cameras"
        )
    for field, theirs, size in (
        ("observations", demos.schema.vector_size, schema.vector_size),
        ("actions", demos.schema.action_size, schema.action_size),
    ):
        if theirs != size:
            raise ConfigError(
                f"{name} has {field} of {theirs} numbers and the environment of {size}: they do not fit "
                "together; give --robot, --observation and --privileged as when it was recorded"
            )


def _vectors(values: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """(N, size) of what has one long axis beside N, or none; the rest as it is."""
    if (
        values.ndim not in (0, 2)
        and len(values) == count
        and values.size == count * max(values.shape[1:], default=1)
    ):
        return values.reshape(count, -1)
    return values


def _column(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.reshape(-1) if values.ndim == 2 and values.shape[1] == 1 else values


def _numeric(name: str, field: str, values: npt.NDArray[Any]) -> None:
    if values.dtype.kind not in "biuf":
        raise refusal(name, None, field, f"is of the type {values.dtype}, not numbers")


def _finite(name: str, field: str, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    _numeric(name, field, values)
    with np.errstate(over="ignore", invalid="ignore"):
        single = np.ascontiguousarray(values, np.float32)
    good = np.isfinite(single)
    if not good.all():
        place = tuple(np.argwhere(~good)[0].tolist())
        where = f"entry {place[1]} is" if len(place) > 1 else "is"
        raise refusal(name, place[0], field, f"{where} {values[place]}: not a finite float32")
    return single


def _bounded(name: str, action: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    outside = np.abs(action) > 1 + TOLERANCE
    if outside.any():
        index, entry = (int(place) for place in np.argwhere(outside)[0])
        value = action[index, entry]
        raise refusal(
            name,
            index,
            "action",
            f"entry {entry} is {value:.7g}: outside [-1, 1], scale it from the environment's limits",
        )
    return np.clip(action, -1, 1)


def _marks(name: str, field: str, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Bools, or numbers that are all 0 or 1."""
    _numeric(name, field, values)
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        index = int(np.argwhere(wrong)[0][0])
        raise refusal(name, index, field, f"is {values.flat[index]}: it must be 0 or 1")
    return values.astype(np.bool_)


def _breaks(
    observation: npt.NDArray[np.float32], next_observation: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """(N - 1,) whether a transition's next observation is not the following transition's observation."""
    following, broken = observation[1:], np.empty(len(observation) - 1, np.bool_)
    for start in range(0, len(broken), CHUNK):
        part = slice(start, min(start + CHUNK, len(broken)))
        broken[part] = _apart(next_observation[part], following[part]).any(1)
    return broken


def _apart(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    with np.errstate(over="ignore"):
        return ~np.isclose(ours, theirs, rtol=1e-4, atol=1e-5)


def _time_limit(
    name: str,
    broken: npt.NDArray[np.bool_],
    terminated: npt.NDArray[np.bool_],
    observation: npt.NDArray[np.float32],
    next_observation: npt.NDArray[np.float32],
) -> None:
    """Refuse breaks that no time limit explains: one cuts every episode at the same length, and none is
    longer.
    """
    lasts = np.flatnonzero(np.append(broken | terminated[:-1], True))
    lengths = np.diff(lasts, prepend=-1)
    longest = int(lengths.max())
    for last, length in zip(lasts[:-1].tolist(), lengths[:-1].tolist(), strict=True):
        if broken[last] and length != longest:
            why = f"and no time limit explains it: this episode has {length} transitions, another {longest}"
            raise _broken(name, last, observation, next_observation, why)


def _broken(
    name: str, index: int, observation: npt.NDArray[Any], next_observation: npt.NDArray[Any], why: str
) -> ConfigError:
    entry = int(np.flatnonzero(_apart(next_observation[index], observation[index + 1]))[0])
    values = f"{next_observation[index, entry]:.7g} and {observation[index + 1, entry]:.7g}"
    return refusal(
        name,
        index,
        "next_observation",
        f"is not transition {index + 1}'s observation (entry {entry}: {values}) {why}",
    )
