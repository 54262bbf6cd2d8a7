"""Settings tuned for one environment: a file for each, as ``--config`` reads it, beside this one or in the
user's own folder ``tuned/``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sac_dist.settings.option import ConfigError
from sac_dist.settings.presets import PRESETS, expanded
from sac_dist.settings.values import checked
from sac_dist.settings.yaml_file import read_mapping

OWN = Path("tuned")  # in the working folder; --optimize writes there
SHIPPED = Path(__file__).parent


def file_name(env: str) -> str:
    """The name of an environment's file: ``module:namespace/Id-v0`` without what no file name holds."""
    return f"{env.replace(':', '+').replace('/', '+')}.yaml"


def file_of(env: str) -> Path | None:
    """The user's file for an environment, else the package's; None: there is none."""
    for folder in (OWN, SHIPPED):
        path = folder / file_name(env)
        try:
            if path.is_file():
                return path
        except OSError:  # no file can have that name
            return None
    return None


def read(path: Path, env: str) -> dict[str, Any]:
    """The settings in an environment's file, with those of its ``preset``. Raises ConfigError."""
    found = read_mapping(path)
    preset = found.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise ConfigError(f"{path}: {preset!r} is no preset")
    settings = checked(found, path)
    if settings.pop("env", env) != env:
        raise ConfigError(f"{path} is for {found['env']}, and is named after {env}: rename it")
    return settings if preset is None else expanded(settings | {"preset": preset})
