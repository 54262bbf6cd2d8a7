"""The replay buffer on disk: each checkpoint adds one file with the transitions that are new, so its cost
does not grow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sac_dist.data.ring import Replay, ReplaySegment, shard_sizes
from sac_dist.settings import ConfigError
from sac_dist.system.files import read_npy, replacing, write_npy


class ReplayFiles:
    """Segments of the replay in ``folder``. A checkpoint lists the files it needs; others are leftovers of a
    crash.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listed: list[dict[str, Any]] = []  # name, start and stop per shard, oldest first
        self.stop: np.ndarray | None = None  # (shards,) transitions per shard that lie in files
        self.capacity = 0

    def copy_new(self, replay: Replay) -> ReplaySegment:
        """What no file holds yet. Quick: the workers stand still meanwhile."""
        return replay.snapshot(self.stop)

    def write(self, segment: ReplaySegment) -> dict[str, Any]:
        """Write a segment and return what the checkpoint has to remember; files nobody needs any more go with
        :meth:`prune`.
        """
        if self.stop is None:
            self.listed = []
        self.stop, self.capacity = segment.stop, segment.capacity
        if len(segment.rows):
            name = self._new_name()
            with replacing(self.folder / name) as temporary:
                write_npy(temporary, segment.rows)
            self.listed.append({"file": name, "start": segment.start.tolist(), "stop": segment.stop.tolist()})
        oldest = segment.stop - shard_sizes(segment.capacity, len(segment.stop))
        self.listed = [entry for entry in self.listed if (np.array(entry["stop"]) > oldest).any()]
        return {"capacity": segment.capacity, "segments": list(self.listed)}

    def prune(self) -> None:
        """Remove the files that the newest checkpoint does not list; after that is in place."""
        needed = {entry["file"] for entry in self.listed}
        for path in self.folder.glob("*.npy"):
            if path.name not in needed:
                path.unlink(missing_ok=True)

    def load(self, saved: dict[str, Any], replay: Replay) -> None:
        """Refill an empty buffer. Raise ConfigError with the file that is missing or damaged."""
        if not saved["segments"]:
            return
        segment = self.read(saved)
        try:
            exact = replay.restore(segment)
        except ValueError as error:
            raise ConfigError(f"{self.folder} does not fit its checkpoint: {error}") from None
        if exact:
            self.listed, self.stop, self.capacity = saved["segments"], segment.stop, segment.capacity
        else:  # all lies elsewhere now: it is written here, before there are workers that would have to wait
            self.write(self.copy_new(replay))

    def stored(self) -> ReplaySegment | None:
        """Everything that has been written, or None. Raises ConfigError as ``read``."""
        return self.read({"capacity": self.capacity, "segments": self.listed}) if self.listed else None

    def read(self, saved: dict[str, Any]) -> ReplaySegment:
        """Everything that the files of a checkpoint hold, at least one. Raise ConfigError with the file that
        is missing or damaged.
        """
        try:
            return self._read(saved)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                f"{self.folder} does not fit its checkpoint, or one of the two is damaged: {error!r}"
            ) from None

    def _read(self, saved: dict[str, Any]) -> ReplaySegment:
        names = [entry["file"] for entry in saved["segments"]]
        if len(set(names)) < len(names) or any(Path(name).name != name for name in names):
            raise ValueError("it lists a file twice, or outside its folder")
        if saved["capacity"] < len(saved["segments"][0]["stop"]):
            raise ValueError(f"a capacity of {saved['capacity']}")
        parts: list[list[np.ndarray]] = [
            [] for _ in saved["segments"][0]["stop"]
        ]  # rows of each shard, oldest first
        for entry in saved["segments"]:
            path = self.folder / entry["file"]
            try:
                rows = read_npy(path)
                if rows.ndim != 2 or len(rows) != sum(entry["stop"]) - sum(entry["start"]):
                    raise ValueError(f"rows of the shape {rows.shape} do not fit the checkpoint's counts")
            except (OSError, ValueError) as error:
                raise ConfigError(f"{path} is missing or damaged: {error}") from None
            counts = np.subtract(entry["stop"], entry["start"])
            for part, of_shard in zip(parts, np.split(rows, counts.cumsum()[:-1]), strict=True):
                part.append(of_shard)
        stop = np.array(saved["segments"][-1]["stop"], np.int64)
        kept = np.minimum(stop, shard_sizes(saved["capacity"], len(stop)))
        newest = [
            np.concatenate(part)[-count:] if count else part[0][:0]
            for part, count in zip(parts, kept, strict=True)
        ]
        return ReplaySegment(saved["capacity"], stop - kept, stop, np.concatenate(newest))

    def _new_name(self) -> str:
        """A name not in use: until the next checkpoint is in place, the last one needs all of its files."""
        numbers = [int(path.stem) for path in self.folder.glob("*.npy") if path.stem.isdecimal()]
        return f"{max(numbers, default=0) + 1:012d}.npy"
