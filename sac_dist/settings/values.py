"""Settings by their flat names, as files give them: which there are, and of what kind their values are."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sac_dist.settings.agent import AgentConfig
from sac_dist.settings.algorithms import ALGORITHMS
from sac_dist.settings.data import DataConfig
from sac_dist.settings.environment import EnvConfig
from sac_dist.settings.option import ConfigError, flag_of, options_of
from sac_dist.settings.training import TrainConfig


def kinds() -> dict[str, Any]:
    """The type of each setting, by its flag's name."""
    found: dict[str, Any] = {}
    for section in sections():
        hints = typing.get_type_hints(section)
        found |= {flag_of(option): hints[option.name] for option in options_of(section)}
    return found


def defaults() -> dict[str, Any]:
    """The value of each setting that is not given."""
    return {flag_of(option): option.default for section in sections() for option in options_of(section)}


def sections() -> list[type]:
    own = (entry.settings for entry in ALGORITHMS.values())
    return [EnvConfig, AgentConfig, TrainConfig, DataConfig, *own]


def checked(settings: Mapping[Any, Any], path: Path) -> dict[str, Any]:
    """The settings that the file ``path`` holds, with values of their kinds. Raises ConfigError."""
    known, found = kinds(), {}
    for name, value in settings.items():
        flat = str(name).replace("-", "_")
        if flat not in known:
            raise ConfigError(f"{path}: {name} is no setting")
        try:
            found[flat] = of_kind(value, known[flat])
        except (ValueError, OverflowError):
            raise ConfigError(f"{path}: {name} cannot be {value!r}") from None
    return found


def of_kind(value: Any, kind: Any) -> Any:
    """``value`` as ``kind`` has it. YAML takes 1e-3 for a text. Raises ValueError."""
    origin, choices = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return of_kind(value, choices[0])
    if origin is Literal:
        if value in choices:
            return value
    elif kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        return float(value)
    elif kind is int and isinstance(value, int | float | str) and not isinstance(value, bool):
        if float(value).is_integer():
            return int(float(value)) if isinstance(value, str) else int(value)
    elif (kind is bool or kind is str) and isinstance(value, kind):
        return value
    elif origin is tuple and isinstance(value, list) and all(isinstance(part, str) for part in value):
        return tuple(value)
    elif origin is not None and origin is not tuple and isinstance(value, dict):
        return value
    raise ValueError(value)
