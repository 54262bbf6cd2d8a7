"""``--config FILE``: the settings of a YAML file, by the names of the flags."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

from sac_dist.settings import ConfigError
from sac_dist.settings.yaml_file import LARGEST, mapping_in

SCALARS = (str, int, float, date)  # what a text in YAML can come to
SWITCHES = ("compile",)  # the settings whose values are on and off
MAPPINGS = ("env_kwargs", "env-kwargs")  # the settings that are a mapping


def read_settings(path: Path) -> list[str]:
    """The file's settings as flags, so that one parser checks both."""
    from sac_dist.system.files import read_whole

    try:
        text = read_whole(path, LARGEST)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    settings = mapping_in(text, path)
    return [argument for name, value in settings.items() for argument in _flag(path, name, value)]


def _flag(path: Path, name: Any, value: Any) -> list[str]:
    flag = str(name).replace("_", "-")
    if isinstance(value, dict) and name in MAPPINGS:
        try:
            return [f"--{flag}={json.dumps(value)}"]
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: {name} holds what JSON cannot: {error}") from None
    if not all(
        part is None or isinstance(part, SCALARS) for part in (value if isinstance(value, list) else [value])
    ):
        raise ConfigError(f"{path}: {name} is neither a text, a number, true or false, nor a list of such")
    if isinstance(value, bool) and name in SWITCHES:
        value = "on" if value else "off"  # YAML's on and off are true and false
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if isinstance(value, list):
        return [f"--{flag}", *map(str, value)] if value else []
    return [] if value is None else [f"--{flag}={value}"]
