"""Transitions from arrays under the names that people give them, with or without next observations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.data.schema import STATE, Field, Schema
from sac_dist.data.transitions import Transitions
from sac_dist.formats.check import checked, noted, refusal
from sac_dist.settings import ConfigError

Arrays = npt.NDArray[Any]

# Of D4RL, gymnasium, Minari, robomimic, rllab and d3rlpy; the first that is there counts.
NAMES = {
    "observation": ("observations", "obs", "observation"),
    "action": ("actions", "action"),
    "reward": ("rewards", "reward"),
    "next_observation": ("next_observations", "next_obs", "next_observation"),
    "terminated": ("terminals", "terminations", "terminated", "dones", "done"),
    "truncated": ("timeouts", "truncations", "truncated", "episode_terminals"),
}
WITHOUT_NEXT = "transitions without a next observation, left out"


def known_names(keys: Iterable[str]) -> dict[str, str]:
    """Which of ``keys`` holds which field."""
    there = set(keys)
    found = {field: next((name for name in names if name in there), None) for field, names in NAMES.items()}
    return {field: name for field, name in found.items() if name is not None}


def of_arrays(name: str, arrays: Mapping[str, Arrays], *, one_episode: bool) -> Transitions | None:
    """The transitions of arrays by NAMES' keys; None: there is no whole one.

    Args:
        name: the file, for the messages.
        one_episode: they are one trajectory, whose ``terminated`` may be one number for all of it; else
            ``terminated`` and ``truncated`` say where each ends.

    Raises:
        ConfigError: as :func:`check.checked`, or nothing says where the episodes end.
    """
    missing = [NAMES[field][0] for field in ("observation", "action", "reward") if field not in arrays]
    if not one_episode and "terminated" not in arrays:
        missing.append(NAMES["terminated"][0])
    if missing:
        raise ConfigError(f"{name} lacks {' and '.join(missing)}")
    reward = arrays["reward"].reshape(-1)
    marks = {
        field: _spread(arrays[field], len(reward)) if one_episode else arrays[field].reshape(-1)
        for field in ("terminated", "truncated")
        if field in arrays
    }
    terminated = marks.get("terminated", np.zeros(len(reward), np.bool_))
    truncated = marks.get("truncated", np.zeros(len(reward), np.bool_) if one_episode else None)
    following = arrays.get("next_observation")
    if truncated is None and following is None:
        raise ConfigError(
            f"{name} has neither timeouts nor next_observations, so that nobody can see where a time limit "
            "cut an episode: add timeouts, zeros if there was none"
        )
    if truncated is not None and truncated.shape == terminated.shape:
        truncated = np.where(terminated != 0, 0, truncated)
    return completed(
        name,
        observation=arrays["observation"],
        action=arrays["action"],
        reward=reward,
        next_observation=following,
        terminated=terminated,
        truncated=truncated,
        one_episode=one_episode,
    )


def completed(
    name: str,
    *,
    observation: Arrays,
    action: Arrays,
    reward: Arrays,
    next_observation: Arrays | None,
    terminated: Arrays,
    truncated: Arrays | None,
    one_episode: bool,
    success: bool | None = None,
    notes: Mapping[str, int] | None = None,
    pictures: Mapping[str, Arrays] | None = None,
) -> Transitions | None:
    """As :func:`check.checked`, of whoever recorded no next observations: they are the following rows'.

    A trajectory's ``observation`` may have one row more. Where it has not, the last transition of an episode
    is kept if it terminated (its next observation is never used, and its own stands there) and else left
    out, which the source's ``notes`` count, beside the ``notes`` given. None: there is no whole transition.
    ``pictures`` are those of a trajectory's observations by camera, uint8 (T or T + 1, height, width,
    channels).
    """
    count, lost_transitions = reward.size, 0
    for field, marks in (("terminated", terminated), ("truncated", truncated)):
        if marks is not None and marks.shape != (count,):
            raise refusal(name, None, field, f"has the shape {marks.shape} instead of ({count},)")
    if next_observation is None and one_episode and len(observation) == count + 1:
        observation, next_observation = observation[:-1], observation[1:]
    if not count:
        return None
    if next_observation is None:
        if len(observation) != count or len(action) != count:
            raise ConfigError(
                f"{name} has {len(observation)} observations and {len(action)} actions for {count} rewards"
            )
        assert truncated is not None
        final = terminated != 0
        ends = final | (truncated != 0)
        if one_episode:
            ends[:-1] = False
        ends[-1] = True
        next_observation = np.concatenate([observation[1:], observation[-1:]])
        next_observation[ends] = observation[ends]
        lost = ends & ~final
        truncated = np.where(np.append(lost[1:], False) & ~ends, 1, truncated)
        kept = ~lost
        lost_transitions = int(lost.sum())
        if not kept.any():
            return None
        observation, action, reward = observation[kept], action[kept], reward.reshape(-1)[kept]
        next_observation, terminated, truncated = next_observation[kept], terminated[kept], truncated[kept]
    shown: dict[str, Any] = {}
    if pictures:
        numbers = (Field(STATE, (observation.shape[1],)),) if observation.shape[1] else ()
        cameras = tuple(Field(key, value.shape[1:], "uint8") for key, value in pictures.items())
        shown["schema"] = Schema(tuple(sorted((*cameras, *numbers), key=attrgetter("name"))), action.shape[1])
        frames = side_by_side(name, pictures)
        shown["frames"] = np.concatenate([frames, frames[-1:]])[: len(reward) + 1]
    return checked(
        name,
        observation=observation,
        action=action,
        reward=reward,
        next_observation=next_observation,
        terminated=terminated,
        truncated=truncated,
        one_episode=one_episode,
        success=None if success is None else np.array([success]),
        source=noted({}, {**(notes or {}), WITHOUT_NEXT: lost_transitions}),
        **shown,
    )


def is_pictures(array: Any) -> bool:
    """Whether it is uint8 (T, height, width, channels)."""
    return len(getattr(array, "shape", None) or ()) == 4 and array.dtype == np.uint8


def side_by_side(name: str, parts: Mapping[str, Arrays]) -> Arrays:
    """A Dict's observations as vectors: its entries in the order of their names, as Schema has them."""
    columns = [parts[key] for key in sorted(parts)]
    lengths = {len(column) if column.ndim else 0 for column in columns}
    if len(lengths) != 1:
        raise ConfigError(f"{name}: its entries have different lengths: {sorted(lengths)}")
    return np.concatenate([column.reshape(len(column), _width(column)) for column in columns], axis=1)


def _width(values: Arrays) -> int:
    """Entries of a row; ``reshape(0, -1)`` does not work."""
    return int(np.prod(values.shape[1:], dtype=np.int64))


def _spread(marks: Arrays, count: int) -> Arrays:
    """(count,) marks of a trajectory: one for the whole of it is that of its last transition."""
    if marks.size == 1 and count > 1:
        return np.append(np.zeros(count - 1, marks.dtype), marks.reshape(1))
    return marks.reshape(-1)
