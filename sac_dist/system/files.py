"""Where the data folders lie, and how a file is written so that no reader ever meets half of it."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.settings import ConfigError


def models_dir() -> Path:
    """The folder of the trained policies: the checkout's ``models/``, else the installed copy. Raises
    ConfigError if neither is there.
    """
    return _folder("models")


def demons_dir() -> Path:
    """The folder of the recorded demonstrations: the checkout's ``demons_data/``, else the installed copy.
    Raises ConfigError.
    """
    return _folder("demons_data")


def _folder(name: str) -> Path:
    package = Path(__file__).resolve().parents[1]
    checkout, installed = (
        package.parent / name,
        package / name,
    )  # setup.py copies the checkout's folder into the installed package
    if (package.parent / "setup.py").is_file() and checkout.is_dir():
        return checkout
    if installed.is_dir():
        return installed
    raise ConfigError(f"the folder {name} is neither at {checkout} nor at {installed}: reinstall sac-dist")


def cache_folder() -> Path:
    """For compiled code: the user's own, and so not a place where another one could leave any. Made if it is
    not there; where the home cannot be written, one among the temporary files.
    """
    wanted = _wanted_cache()
    if wanted is not None and _writable(wanted):
        return wanted
    own = Path(tempfile.gettempdir()) / f"sac_dist-{os.getuid()}"
    if _writable(own) and _is_private(own) and _writable(own / "sac_dist"):
        return own / "sac_dist"
    raise ConfigError(f"no cache can be written, neither {wanted} nor {own}: set XDG_CACHE_HOME to a folder")


def cache_obstacle() -> str | None:
    """Why the cache is not where it should be, in a line; None: it is."""
    wanted, found = _wanted_cache(), cache_folder()
    if found == wanted:
        return None
    return f"{wanted or 'the home folder'} cannot be written: compiled code is kept in {found}"


def _wanted_cache() -> Path | None:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sac_dist"
    except RuntimeError:  # this user has no home
        return None


def _writable(folder: Path) -> bool:
    """Whether files can be made in it; it is made if it is not there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _is_private(folder: Path) -> bool:
    """Whether nobody else can put files there: what lies in a cache is run."""
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def read_whole(path: Path, most: int) -> bytes:
    """What a file holds. Raises OSError, and ConfigError for what may never end (a device, a pipe) or is
    larger than ``most`` bytes.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"{path} is no regular file: it may never end")
    if status.st_size > most:
        raise ConfigError(f"{path} is too large: {status.st_size:,} bytes, and at most {most:,} are read")
    return path.read_bytes()


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix) and rename it to ``path`` at the end; after an
    exception, remove it.

    The file and its name are on the disk when this returns: what is written afterwards never survives a power
        cut without it.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        _to_disk(temporary)
        os.replace(temporary, path)
        _to_disk(path.parent)
    except BaseException:
        with suppress(OSError):  # what went wrong matters more
            temporary.unlink()
        raise


def write_npy(path: Path, array: npt.NDArray[Any]) -> None:
    """As np.save of a contiguous array of numbers, but what goes wrong is an OSError in the system's words:
    np.save counts elements.
    """
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)


def read_npy(path: Path) -> npt.NDArray[Any]:
    """The array of numbers in a .npy file. Raises OSError, or ValueError if it is anything else."""
    try:
        with np.errstate(over="ignore"):
            return np.array(
                np.lib.format.open_memmap(path, mode="r")
            )  # mapped first: that refuses to take more than the file has
    except OSError:
        raise
    except Exception as error:  # whatever a damaged header makes numpy raise
        raise ValueError(" ".join(str(error).split())) from None


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
