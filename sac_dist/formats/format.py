"""What a module of this wing declares: one kind of demonstrations, for the table in files.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sac_dist.data.transitions import Transitions
from sac_dist.settings import ConfigError
from sac_dist.system.files import replacing

Read = Callable[[str], Transitions]
Write = Callable[[Transitions, str], None]


def check_new_file(name: str) -> None:
    """Raise ConfigError unless a new file of this name could be written."""
    path = Path(name)
    if path.exists():
        raise ConfigError(f"{path} exists: remove it or choose another name")
    if not path.resolve().parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent} to write {path.name} to")


@dataclass(frozen=True)
class Format:
    """A kind of demonstrations.

    matches: whether what has this name, and is there, is of this kind; the first in the table wins.
    read: nothing in a file is executed; whatever is wrong raises, ConfigError with a place if it can.
    names: how the name of a new one ends (".npz"), or begins ("minari:"); none: it is only read.
    check_new: raises ConfigError unless ``write`` could make one of this name and overwrite nothing.
    write: whole or not at all.
    """

    matches: Callable[[str], bool]
    read: Read
    names: tuple[str, ...] = ()
    check_new: Callable[[str], None] = check_new_file
    write: Write | None = None

    def names_new(self, name: str) -> bool:
        """Whether ``name`` asks for a new one of this kind."""
        return any(
            name.startswith(part) if part.endswith(":") else Path(name).suffix.lower() == part
            for part in self.names
        )


def has_suffix(*suffixes: str) -> Callable[[str], bool]:
    """Whether a name is that of a file that ends so."""
    return lambda name: Path(name).suffix.lower() in suffixes and Path(name).is_file()


def whole(write: Callable[[Transitions, Path], None]) -> Write:
    """``write`` to a temporary file that takes the name when it is complete."""

    def write_whole(demos: Transitions, name: str) -> None:
        with replacing(Path(name)) as temporary:
            write(demos, temporary)

    return write_whole
