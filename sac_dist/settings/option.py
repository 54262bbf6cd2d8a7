"""What every section of the settings is made of: fields with a help text, and errors of one line."""

from __future__ import annotations

import math
import os
from dataclasses import Field, field, fields
from typing import Any


class ConfigError(ValueError):
    """A setting, file or environment the user has to change; its message is one line for the terminal."""


def option(default: Any, help: str, flag: str | None = None) -> Any:
    """A field of a section: ``help`` is the help text of its flag, which has the field's name or ``flag``.

    A class as ``default`` (``dict``) is called for each new section.
    """
    metadata = {"help": help, "flag": flag}
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def options_of(section: type) -> list[Field[Any]]:
    """The fields of a section that a user sets."""
    return [field for field in fields(section) if "help" in field.metadata]


def flag_of(option: Field[Any]) -> str:
    """The field's name on the command line and in files, with underscores."""
    return option.metadata["flag"] or option.name


def finite(config: Any) -> None:
    """Raise ConfigError for a field that is infinite or not a number."""
    for option in fields(config):
        value = getattr(config, option.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{option.name} is {value}: it must be a finite number")


def positive(config: Any, *names: str) -> None:
    """Raise ConfigError for each named field that is set and not above zero."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ConfigError(f"{name} is {value}: it must be above 0")


def check_path(path: str | os.PathLike[str]) -> None:
    """Raise ConfigError for a path that the system cannot look up: it holds a NUL, is too long, or leads
    through a folder that may not be entered. Nothing has to be there.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        name, reason = repr(os.fspath(path)), getattr(error, "strerror", None) or error
        short = name if len(name) < 100 else f"{name[:60]}…"
        raise ConfigError(f"{short} cannot be the name of a file: {reason}") from None
