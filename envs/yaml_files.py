"""Reads the YAML files of users: cards of robots, ranges of randomisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

LARGEST = 10**6  # bytes


class Loader(yaml.SafeLoader):
    """Refuses a name that stands twice, of which YAML drops the first."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [getattr(key, "value", None) for key, _ in getattr(node, "value", ())]
        for name in names:
            if isinstance(name, str) and names.count(name) > 1:
                raise ValueError(f"{name} stands there twice: give it once")
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def read_yaml(path: Path) -> Any:
    """Raises ValueError, in one line, for what cannot be read."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST} bytes")
        return yaml.load(path.read_text(encoding="utf-8"), Loader)
    except OSError as error:
        raise ValueError(error.strerror) from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error
