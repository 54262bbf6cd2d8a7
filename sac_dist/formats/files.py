"""Files of demonstrations: :func:`read` and :func:`write`; the kind follows from the name.
docs/demonstrations.md says what each holds.
"""

from __future__ import annotations

from pathlib import Path

from sac_dist.data.transitions import Transitions
from sac_dist.formats import book, minari_data, npz, robomimic
from sac_dist.formats import run as run_replay
from sac_dist.settings import ConfigError
from sac_dist.system.files import replacing

KINDS = ".npz, .pickle, .hdf5 or minari:NAME-v0"
PICKLE, HDF5 = (".pickle", ".pkl"), (".hdf5", ".h5")
WRITERS = {".npz": npz.write} | dict.fromkeys(PICKLE, book.write) | dict.fromkeys(HDF5, robomimic.write)
PICKLED = (b"\x80", b"(l", b"]q", b"(d")  # how a list's pickle begins, protocols 2 to 5, 0 and 1


def read(path: str | Path) -> Transitions:
    """The demonstrations in a file, a run's folder, a Minari folder or ``minari:ID``.

    Nothing in a file is executed. Raises ConfigError, one line: the file, the first bad transition (from 0),
    the field, the reason.
    """
    try:
        return _read(path)
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


def _read(path: str | Path) -> Transitions:
    if str(path).startswith(minari_data.PREFIX):
        return minari_data.read_id(str(path))
    path = Path(path)
    if path.is_dir():
        if minari_data.is_dataset(path):
            return minari_data.read_folder(path, str(path))
        if run_replay.is_run(path):
            return run_replay.read(path)
        raise ConfigError(
            f"{path} is a folder, but neither a run (checkpoints/last.safetensors) nor a Minari dataset "
            "(data/main_data.hdf5)"
        )
    if not path.is_file():
        raise ConfigError(f"no such file: {path}")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return npz.read(path)
    if suffix in HDF5:
        return robomimic.read(path)
    if suffix in PICKLE or _begins_as_pickle(path):
        return book.read(path)
    raise ConfigError(f"{path} is of no kind that is read: {KINDS}, a run's folder or a Minari dataset's")


def write(demos: Transitions, path: str | Path) -> None:
    """Write ``demos`` to a new file, whole or not at all; ``minari:ID`` adds a dataset to Minari's folder.

    Raises ConfigError if the file exists, cannot be written, or its name does not say a kind.
    """
    check_new(path)
    try:
        if str(path).startswith(minari_data.PREFIX):
            minari_data.write(demos, str(path))
            return
        path = Path(path)
        with replacing(path) as temporary:
            WRITERS[path.suffix.lower()](demos, temporary)
    except OSError as error:
        raise ConfigError(_one_line(f"cannot write {path}: {error.strerror or error}")) from None


def check_new(path: str | Path) -> None:
    """Raise ConfigError unless :func:`write` knows a kind for this name and would overwrite nothing: before
    hours of recording.
    """
    if str(path).startswith(minari_data.PREFIX):
        minari_data.check_new(str(path))
        return
    path = Path(path)
    if path.suffix.lower() not in WRITERS:
        raise ConfigError(f"cannot tell what kind of file {path} should be: end its name in {KINDS}")
    if path.exists():
        raise ConfigError(f"{path} exists: remove it or choose another name")
    if not path.resolve().parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent} to write {path.name} to")


def _begins_as_pickle(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2).startswith(PICKLED)


def _one_line(message: object) -> str:
    """What libraries say of a file may hold anything the file holds."""
    words = " ".join(str(message).split())
    printable = "".join(letter if letter.isprintable() else "?" for letter in words)
    return printable if len(printable) < 500 else f"{printable[:497]}..."
