"""A policy from a file: an observation in, an action out, and never an action from nonsense."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from sac_dist.runner.card import KINDS, LARGEST, ROUNDING, Card, Field
from sac_dist.runner.networks import Network, line_of, read
from sac_dist.settings.option import ConfigError

Array = npt.NDArray[Any]
PROBES = 8  # observations whose actions a file holds
TOLERANCE = 1e-3  # of a probe's action, in halves of the action's range


class ObservationError(ConfigError):
    """An observation that the policy was not made for; the message is one line."""


class Policy:
    """An exported policy.

    Where it sees the pictures of several steps, its field is a stack of them, oldest first. Given a picture
    in place of a stack, it remembers those of the calls before, back to ``begin``.

    Args:
        check_range: refuse an observation with a number beyond its field's range (by more than a hundredth
            of it). Without: only NaN, infinite and huge numbers, for environments that leave their own
            space.
    """

    def __init__(self, card: Card, network: Network, check_range: bool = True) -> None:
        self.card, self._network = card, network
        self._fields = [(field, field.path, *limits(field, check_range)) for field in card.fields]
        self._names = list(dict.fromkeys(field.path[0] for field in card.fields))
        self._seen: dict[str, Array] = {}  # by field, the last pictures

    def begin(self) -> None:
        """Forget the pictures that it was shown: an episode begins."""
        self._seen = {}

    @classmethod
    def load(cls, path: str | os.PathLike[str], check_range: bool = True) -> Policy:
        """Raises ConfigError, in one line, for a file that is no policy, is of another version, is cut off or
        damaged, or whose actions here are not those of the machine that wrote it.
        """
        card, network = read(Path(path))
        policy = cls(card, network, check_range)
        try:
            expected = np.array(card.parts["probes"], np.float64)
            off = np.abs(probes(policy) - expected).max()
        except Exception as error:  # onnxruntime's own derive from that alone
            raise ConfigError(f"{path} is damaged: {line_of(error)}") from None
        if not off <= TOLERANCE:
            raise ConfigError(
                f"{path} is damaged: it acts otherwise here than where it was written, by {off:.2g}"
            )
        return policy

    def __call__(self, observation: Any, noise: npt.ArrayLike | None = None) -> Array:
        """The action, of the environment's own shape, dtype and range, for its own observation: a mapping
        from the fields' names, or the array where there is one field.

        It is the policy's mean; with standard normal ``noise`` (as many numbers as the action) a sample.
        Raises ObservationError for a name, shape, dtype or number that the policy was not made for.
        """
        if noise is not None:
            try:
                noise = np.asarray(noise, np.float32).ravel()
            except (OverflowError, TypeError, ValueError):
                raise ObservationError(f"noise has to be {self.card.noise_size} finite numbers") from None
            if noise.size != self.card.noise_size or not np.isfinite(noise).all():
                raise ObservationError(f"noise has to be {self.card.noise_size} finite numbers")
        action = self._network(self._checked(observation), noise)
        if not np.isfinite(action).all():
            raise ObservationError("the policy has no finite action for this observation")
        return action

    def _checked(self, observation: Any) -> dict[str, Array]:
        if not isinstance(observation, Mapping):
            if len(self._names) > 1:
                raise ObservationError(
                    f"the observation is a {type(observation).__name__}, not a mapping from "
                    f"{', '.join(self._names)}"
                )
            observation = {self._names[0]: observation}
        elif len(observation) != len(self._names):
            self._refuse_names(observation)
        checked, seen = {}, []
        for field, path, low, high in self._fields:
            value = observation
            for part in path:
                try:
                    value = value[int(part) if isinstance(value, tuple) else part]
                except (IndexError, KeyError, TypeError, ValueError):
                    self._refuse_names(observation, field.name)
            array = value if type(value) is np.ndarray else as_array(field, value)
            if field.stack > 1 and array.shape == field.shape[1:]:
                before = self._seen.get(field.name, np.broadcast_to(array, field.shape))
                array = np.concatenate([before[1:], array[None]])
                seen.append(field.name)
            if array.shape != field.shape:
                raise ObservationError(
                    f"{field.name} has the shape {array.shape}, and {field.shape} is needed"
                )
            if array.dtype != field.dtype:
                array = as_dtype(field, array)
            if low is not None and not ((array >= low) & (array <= high)).all():
                refuse_number(field, array, low, high)
            checked[field.name] = array
        self._seen.update((name, checked[name]) for name in seen)  # pictures of an observation that is taken
        return checked

    def _refuse_names(self, observation: Any, missing: str | None = None) -> NoReturn:
        has = ", ".join(map(str, list(observation)[:5])) or "nothing"
        lacks = "" if missing is None else f" ({missing} is missing)"
        raise ObservationError(
            f"the observation has {has}, and the policy takes {', '.join(self._names)}{lacks}"
        )


def probes(policy: Policy) -> Array:
    """(PROBES, actions) by the policy, in halves of the action's range from its middle, for observations that
    every machine draws alike.
    """
    # not a Generator, whose numbers another version of numpy may change
    generator, action = np.random.RandomState(0), policy.card.action
    low, high = action.low.astype(np.float64), action.high.astype(np.float64)
    actions = [policy(policy.card.random(generator)) for _ in range(PROBES)]
    return np.array([((2 * each - low - high) / (high - low)).ravel() for each in actions])


def limits(field: Field, check_range: bool) -> tuple[Array | None, Array | None]:
    """What the field's numbers are held against, in its dtype; None where no number of that can be wrong."""
    if field.dtype.kind == "b":
        return None, None
    if field.dtype.kind in "iu":
        info = np.iinfo(field.dtype)
        low, high = np.maximum(field.low, info.min), np.minimum(field.high, info.max)
        whole = (low <= info.min).all() and (high >= info.max).all()
        return (None, None) if whole or not check_range else (low, high)
    low, high = field.low, field.high
    with np.errstate(invalid="ignore", over="ignore"):
        slack = np.where(np.isfinite(high - low), ROUNDING * (high - low), 0.0)
    if not check_range:
        low, high = np.full(field.shape, -LARGEST), np.full(field.shape, LARGEST)
    low, high = np.maximum(low - slack, -LARGEST), np.minimum(high + slack, LARGEST)
    most = np.finfo(field.dtype).max
    return np.maximum(low, -most).astype(field.dtype), np.minimum(high, most).astype(field.dtype)


def as_array(field: Field, value: Any) -> Array:
    try:
        return np.asarray(value)
    except Exception:  # rows of several lengths, or what another library's array raises
        raise ObservationError(f"{field.name} is no array of numbers") from None


def as_dtype(field: Field, array: Array) -> Array:
    """In the field's dtype, where that changes no value."""
    kind = array.dtype.kind
    if kind not in KINDS:
        raise ObservationError(f"{field.name} is of {array.dtype}, and {field.dtype} is needed")
    with np.errstate(invalid="ignore", over="ignore"):
        found = array.astype(field.dtype)
    if field.dtype.kind != "f" and not (found == array).all():
        raise ObservationError(
            f"{field.name} holds numbers that {field.dtype} does not: {field.dtype} is needed"
        )
    return found


def refuse_number(field: Field, array: Array, low: Array, high: Array | None) -> NoReturn:
    bad = tuple(np.argwhere(~((array >= low) & (array <= high)))[0])
    place = f"[{', '.join(map(str, bad))}]" if bad else ""
    number, ends = array[bad], f"{field.low[bad]:g} … {field.high[bad]:g}"
    what = f"beyond its range {ends}" if np.isfinite(number) else "no finite number"
    raise ObservationError(f"{field.name}{place} is {number:g}, {what}")
