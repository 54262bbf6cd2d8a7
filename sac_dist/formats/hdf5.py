"""Opens HDF5 files that others made: nothing outside the file is read, and nothing is unpacked that memory
would not hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.formats.check import check_size
from sac_dist.settings import ConfigError

SUFFIXES = ".hdf5", ".h5"
DEFLATE, SHUFFLE, CHECKSUM, LZF = 1, 2, 3, 32000
DEFLATES_TO = (
    1032  # deflate's largest expansion; HDF5 unpacks a chunk whole, whatever size the chunk should have
)


def library(path: object) -> ModuleType:
    """h5py, which the package does without until a file needs it. Raises ConfigError."""
    try:
        import h5py
    except ImportError:
        raise ConfigError(f"{path} needs h5py: pip install 'sac-dist[data]'") from None
    module: ModuleType = h5py
    return module


class Reader:
    """A checked file and what of it has been read. ``root`` is its root group."""

    def __init__(self, name: str, root: Any, file_size: int) -> None:
        self.name, self.root, self._file_size = name, root, file_size
        self._left = check_size(name, 0, file_size)  # bytes that may still be read

    def array(self, group: Any, key: str, kinds: str = "biuf") -> npt.NDArray[Any]:
        """The numbers of a dataset, or texts of fixed length (``kinds`` "S"). Raises ConfigError if there is
        none, or it is not what a file of this size can hold.
        """
        dataset = group.get(key)
        place = f"{self.name}: {group.name}/{key}"
        if dataset is None or not hasattr(dataset, "chunks"):
            raise ConfigError(f"{place} is missing")
        if dataset.dtype.kind not in kinds or dataset.dtype.subdtype or dataset.shape is None:
            wanted = "texts of fixed length" if kinds == "S" else "numbers"
            raise ConfigError(f"{place} is of the type {str(dataset.dtype)[:60]}, not {wanted}")
        if dataset.is_virtual or dataset.external:
            raise ConfigError(f"{place} lies in another file: only what is in the file itself is read")
        size = math.prod(dataset.shape) * dataset.dtype.itemsize
        self._left -= size
        if self._left < 0:
            raise ConfigError(
                f"{place} claims {size:,} bytes: with what is read before that is too much for this "
                "file or this machine"
            )
        if dataset.chunks:
            self._check_chunks(place, dataset)
        values: npt.NDArray[Any] = dataset[()]
        return np.asarray(values)

    def _check_chunks(self, place: str, dataset: Any) -> None:
        chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize
        check_size(place, chunk, self._file_size)
        settings = dataset.id.get_create_plist()
        filters = [settings.get_filter(index)[0] for index in range(settings.get_nfilters())]
        if len(set(filters)) < len(filters) or not set(filters) <= {DEFLATE, SHUFFLE, CHECKSUM, LZF}:
            raise ConfigError(
                f"{place} is packed in a way that is not read: only gzip, lzf, shuffle and fletcher32 "
                "are, each once"
            )
        if DEFLATE in filters or LZF in filters:
            stored = max(
                (dataset.id.get_chunk_info(index).size for index in range(dataset.id.get_num_chunks())),
                default=0,
            )
            if stored > 2 * chunk + 4096:
                raise ConfigError(f"{place} is damaged: {stored} packed bytes for a chunk of {chunk}")
            check_size(place, stored * DEFLATES_TO, max(self._file_size, 2**28))

    def number(self, group: Any, key: str) -> int | None:
        """A whole number or bool among the attributes, or None."""
        if key not in group.attrs:
            return None
        attribute = group.attrs.get_id(key)
        return int(group.attrs[key]) if attribute.shape == () and attribute.dtype.kind in "biu" else None

    def text(self, group: Any, key: str) -> str | None:
        """A text attribute of fixed length, or None.

        HDF5 keeps text of variable length in a heap, and its library loops for ever over one of some damaged
        files.
        """
        if key not in group.attrs:
            return None
        attribute = group.attrs.get_id(key)
        if attribute.shape != () or attribute.dtype.kind != "S":
            return None
        value: bytes = group.attrs[key]
        return value.decode("utf-8", "replace")


@contextmanager
def opened(path: Path) -> Iterator[Reader]:
    """A file all of whose links stay inside it. Raises ConfigError."""
    h5py = library(path)
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise ConfigError(f"{path} is no HDF5 file, or damaged: {error}") from None
    with file:
        seen, groups = set(), [file["/"].id]
        while groups:
            group = groups.pop()
            for key in group:
                if group.links.get_info(key).type != h5py.h5l.TYPE_HARD:
                    raise ConfigError(
                        f"{path}: {key.decode('utf-8', 'replace')} is a link to somewhere else: only "
                        "what the file holds is read"
                    )
                info = h5py.h5o.get_info(group, key)
                if (
                    info.type == h5py.h5o.TYPE_GROUP and info.addr not in seen
                ):  # hard links can run in circles
                    seen.add(info.addr)
                    groups.append(h5py.h5g.open(group, key))
        yield Reader(str(path), file["/"], path.stat().st_size)
