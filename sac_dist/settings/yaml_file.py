"""A settings file's mapping, before anybody looks at its names and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sac_dist.settings.option import ConfigError

LARGEST = 2**20  # bytes
MERGE = "tag:yaml.org,2002:merge"  # YAML's "<<"


def mapping_in(text: bytes | str, path: Path) -> dict[Any, Any]:
    """What ``text``, the file ``path``, holds. Raises ConfigError unless it is a mapping in YAML in which no
    name stands twice.
    """
    import yaml  # here, so that who gives no file does not wait for it

    class Loader(yaml.SafeLoader):
        """Refuses a name that stands twice, of which YAML drops the first."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            names = [
                str(key.value).replace("-", "_") for key, _ in getattr(node, "value", ()) if key.tag != MERGE
            ]
            for name in names:
                if names.count(name) > 1:
                    raise ConfigError(f"{path}: {name} stands there twice: give it once")
            found: dict[Any, Any] = super().construct_mapping(node, deep)
            return found

    try:
        settings = yaml.load(text, Loader)
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"{path} holds no settings: lines such as 'workers: 2' are expected")
    return settings


def read_mapping(path: Path) -> dict[Any, Any]:
    """The mapping in the file ``path``. Raises ConfigError."""
    try:
        if not path.is_file():
            raise ConfigError(f"cannot read {path}: there is no such file")
        with open(path, "rb") as file:
            text = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if len(text) > LARGEST:
        raise ConfigError(f"{path} is too large: at most {LARGEST:,} bytes are read")
    return mapping_in(text, path)
