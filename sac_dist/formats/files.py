"""Files of demonstrations: :func:`read` and :func:`write`; the kind follows from the name.
docs/demonstrations.md says what each holds.
"""

from __future__ import annotations

from pathlib import Path

from sac_dist.data.transitions import Transitions
from sac_dist.formats import d4rl, lerobot_data, minari_data, npz, pickles, robomimic
from sac_dist.formats import run as run_replay
from sac_dist.formats.format import Format
from sac_dist.settings import ConfigError, check_path

# A new kind is a module that declares its FORMAT, and a name here; the first that matches reads.
FORMATS = tuple(
    kind.FORMAT for kind in (minari_data, lerobot_data, run_replay, npz, d4rl, robomimic, pickles)
)
NEW = ", ".join(
    f"{kind.names[0]}NAME-v0" if kind.names[0].endswith(":") else f"NAME{kind.names[0]}"
    for kind in FORMATS
    if kind.names
)


def read(path: str | Path) -> Transitions:
    """The demonstrations in a file, a run's folder, a Minari or LeRobot folder, or ``minari:ID``.

    Nothing in a file is executed. Raises ConfigError, one line: the file, the first bad transition (from 0),
    the field, the reason.
    """
    try:
        return _format_of(str(path)).read(str(path))
    except ConfigError as error:
        raise ConfigError(_one_line(error)) from None
    except MemoryError:
        raise ConfigError(f"{path} needs more memory than there is: split it") from None
    except RecursionError:
        raise ConfigError(f"{path} is damaged: it nests too deeply") from None
    except OSError as error:
        raise ConfigError(_one_line(f"cannot read {path}: {error.strerror or error}")) from None
    except Exception as error:
        # whatever a damaged file makes a library raise: it is the file's fault, and the user can only replace
        # it
        raise ConfigError(
            _one_line(
                f"{path} is damaged or of another kind than its name says: {type(error).__name__}: {error}"
            )
        ) from None


def write(demos: Transitions, path: str | Path, again: bool = False) -> None:
    """Write ``demos`` to a new file, whole or not at all; ``minari:ID`` adds a dataset to Minari's folder,
    ``lerobot:FOLDER`` makes one. ``again``: over the file that was written before.

    Raises ConfigError if the file exists, cannot be written, or its name does not say a kind.
    """
    kind = _kind_named(str(path)) if again else _format_of_new(str(path))
    assert kind.write is not None
    if demos.frames is not None and kind is pickles.FORMAT:
        raise ConfigError(
            f"{path}: the book's pickles hold no pictures: write .npz, .hdf5, minari:ID or lerobot:FOLDER"
        )
    try:
        kind.write(demos, str(path))
    except OSError as error:
        raise ConfigError(_one_line(f"cannot write {path}: {error.strerror or error}")) from None
    except (UnicodeError, OverflowError) as error:  # what the kind cannot hold
        raise ConfigError(_one_line(f"cannot write {path}: {error}")) from None


def check_new(path: str | Path) -> None:
    """Raise ConfigError unless :func:`write` knows a kind for this name and would overwrite nothing: before
    hours of recording.
    """
    _format_of_new(str(path))


def absolute(name: str) -> str:
    """The name that finds the same from any folder; a Minari id stays."""
    if name.startswith(minari_data.PREFIX):
        return name
    prefix = lerobot_data.PREFIX if name.startswith(lerobot_data.PREFIX) else ""
    return prefix + str(Path(name.removeprefix(prefix)).resolve())


def notes(demos: Transitions, name: str) -> str | None:
    """A line of what the reader left out or changed of file ``name``; None: nothing."""
    found = demos.source.get("notes")
    if not isinstance(found, dict) or not found:
        return None
    return _one_line(f"{name}: " + "; ".join(f"{count} {note}" for note, count in found.items()))


def _format_of(name: str) -> Format:
    for kind in FORMATS:
        if kind.matches(name):
            return kind
    if Path(name).is_dir():
        raise ConfigError(
            f"{name} is a folder, but neither a run (checkpoints/last.safetensors) nor a dataset of Minari's "
            "(data/main_data.hdf5) or LeRobot's (meta/info.json)"
        )
    if not Path(name).is_file():
        raise ConfigError(f"no such file: {name}")
    raise ConfigError(f"{name} is of no kind that is read: {NEW}, a run's folder or a dataset's")


def _format_of_new(name: str) -> Format:
    kind = _kind_named(name)
    kind.check_new(name)
    return kind


def _kind_named(name: str) -> Format:
    check_path(name)
    for kind in FORMATS:
        if kind.names_new(name):
            return kind
    raise ConfigError(f"cannot tell what kind of file {name} should be: name it {NEW}")


def _one_line(message: object) -> str:
    """What libraries say of a file may hold anything the file holds."""
    words = " ".join(str(message).split())
    printable = "".join(letter if letter.isprintable() else "?" for letter in words)
    return printable if len(printable) < 500 else f"{printable[:497]}..."
