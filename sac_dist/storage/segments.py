"""The replay buffer on disk: each checkpoint adds the transitions that are new, and where their episodes
begin, so its cost does not grow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sac_dist.data.schema import Rows, Schema
from sac_dist.data.segment import (
    Counts,
    Replay,
    ReplaySegment,
    SegmentFrames,
    check_episodes,
    check_segment,
    shard_sizes,
)
from sac_dist.data.transitions import begins_of
from sac_dist.settings import ConfigError
from sac_dist.system.files import read_npy, replacing, write_npy

BESIDE = ("episodes", "frames")


class ReplayFiles:
    """Segments of the replay in ``folder``: rows in ``NUMBER.npy``, and shard after shard where their
    episodes begin in ``NUMBER.episodes.npy``, and pictures in ``NUMBER.frames.npy``. A checkpoint lists the
    segments that it needs; others are leftovers of a crash.

    A segment that sac_dist 0.1 wrote has rows alone: there its episodes follow from the rows.
    """

    def __init__(self, folder: Path, schema: Schema) -> None:
        self.folder, self.schema = folder, schema
        # file, and of each shard start, stop and number of episodes; oldest first
        self.listed: list[dict[str, Any]] = []
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
            arrays: dict[str, Any] = {
                name: segment.rows,
                self._beside(name, "episodes"): np.concatenate(segment.episodes),
            }
            if segment.frames is not None:
                arrays[self._beside(name, "frames")] = segment.frames.frames
            for file, array in arrays.items():
                with replacing(self.folder / file) as temporary:
                    write_npy(temporary, array)
            entry: dict[str, Any] = {
                "file": name,
                "start": segment.start.tolist(),
                "stop": segment.stop.tolist(),
                "episodes": [len(begun) for begun in segment.episodes],
            }
            if segment.frames is not None:
                entry["frames"] = {
                    part: getattr(segment.frames, part).tolist() for part in SegmentFrames._fields[1:]
                }
            self.listed.append(entry)
        oldest = segment.stop - shard_sizes(segment.capacity, len(segment.stop))
        if segment.frames is not None:  # what is before the oldest transition may still be seen with it
            oldest = segment.frames.oldest - self.schema.stack
        self.listed = [entry for entry in self.listed if (np.array(entry["stop"]) > oldest).any()]
        return {"capacity": segment.capacity, "segments": list(self.listed)}

    def prune(self) -> None:
        """Remove the files that the newest checkpoint does not list; after that is in place."""
        needed = {entry["file"] for entry in self.listed}
        needed |= {self._beside(entry["file"], part) for entry in self.listed for part in BESIDE}
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
        shards: list[list[tuple[Rows, Counts | None]]] = [[] for _ in saved["segments"][0]["stop"]]
        for entry in saved["segments"]:
            for shard, part in zip(shards, self._read_entry(entry), strict=True):
                shard.append(part)
        last = saved["segments"][-1]
        stop = np.array(last["stop"], np.int64)
        kept = np.minimum(stop, shard_sizes(saved["capacity"], len(stop)))
        if self.schema.pictures:
            kept = stop - np.array(last["frames"]["oldest"], np.int64)
        newest = [
            self._newest(shard, end, count)
            for shard, end, count in zip(shards, stop.tolist(), kept.tolist(), strict=True)
        ]
        rows, episodes = np.concatenate([rows for rows, _ in newest]), tuple(begun for _, begun in newest)
        segment = ReplaySegment(saved["capacity"], stop - kept, stop, rows, episodes)
        if self.schema.pictures:
            segment = segment._replace(frames=self._frames(saved["segments"], segment))
        check_segment(segment, self.schema)
        return segment

    def _read_entry(self, entry: dict[str, Any]) -> list[tuple[Rows, Counts | None]]:
        """A segment's rows of each shard, and where their episodes begin; None: the segment does not say."""
        path, counts = self.folder / entry["file"], np.subtract(entry["stop"], entry["start"])
        try:
            rows = read_npy(path)
            if rows.ndim != 2 or rows.shape[1] != self.schema.row_width or len(rows) != counts.sum():
                raise ValueError(f"rows of the shape {rows.shape} do not fit the checkpoint's counts")
            parts = np.split(rows, counts.cumsum()[:-1])
            if "episodes" not in entry:
                return [(part, None) for part in parts]
            path = self.folder / self._beside(entry["file"], "episodes")
            begun_counts = np.array(entry["episodes"], np.int64)
            begun = read_npy(path)
            if begun.shape != (begun_counts.sum(),) or begun.dtype != np.int64:
                raise ValueError(
                    f"{begun.dtype} of the shape {begun.shape} does not fit the checkpoint's counts"
                )
            episodes = np.split(begun, begun_counts.cumsum()[:-1])
            check_episodes(np.array(entry["start"]), np.array(entry["stop"]), episodes)
            return list(zip(parts, episodes, strict=True))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} is missing or damaged: {error}") from None

    def _frames(self, entries: list[dict[str, Any]], segment: ReplaySegment) -> SegmentFrames:
        """Those of all observations of ``segment``, from the files of a checkpoint's ``entries``."""
        shards, numbers = [], []
        kept = [self._frames_of(entry) for entry in entries]
        for shard, (start, stop, begun) in enumerate(
            zip(segment.start.tolist(), segment.stop.tolist(), segment.episodes, strict=True)
        ):
            parts = [part for part in (frames.of_shard(shard) for frames in kept) if len(part[1])]
            number = 0
            if start < stop:
                number = next(
                    int(frames.numbers[shard]) + starts.index(begun[0])
                    for frames, starts in zip(kept, self._starts_of(entries, shard), strict=True)
                    if begun[0] in starts
                )
            first = max(start + number - self.schema.stack + 1, int(begun[0]) + number) if start < stop else 0
            end = stop + number + len(begun) if start < stop else 0
            frames = np.zeros((end - first, self.schema.frame_size), np.uint8)
            for slot, part, _ in parts:
                low, high = max(slot, first), min(slot + len(part), end)
                if low < high:
                    frames[low - first : high - first] = part[low - slot : high - slot]
            shards.append((first, frames))
            numbers.append(number)
        return SegmentFrames.of(shards, numbers, segment.start)

    def _starts_of(self, entries: list[dict[str, Any]], shard: int) -> list[list[int]]:
        """Where the episodes of each file's rows of a shard begin."""
        found = []
        for entry in entries:
            counts = np.array(entry["episodes"], np.int64)
            begun = read_npy(self.folder / self._beside(entry["file"], "episodes"))
            found.append(np.split(begun, counts.cumsum()[:-1])[shard].tolist())
        return found

    def _frames_of(self, entry: dict[str, Any]) -> SegmentFrames:
        path = self.folder / self._beside(entry["file"], "frames")
        try:
            counts = (np.array(entry["frames"][part], np.int64) for part in SegmentFrames._fields[1:])
            frames = SegmentFrames(read_npy(path), *counts)
            count = int((frames.stop - frames.first).sum())
            if frames.frames.shape != (count, self.schema.frame_size) or frames.frames.dtype != np.uint8:
                raise ValueError(f"pictures of {frames.frames.dtype} {frames.frames.shape}")
        except (OSError, LookupError, TypeError, ValueError) as error:
            raise ConfigError(f"{path} is missing or damaged: {error}") from None
        return frames

    def _newest(self, parts: list[tuple[Rows, Counts | None]], stop: int, count: int) -> tuple[Rows, Counts]:
        """The last ``count`` rows of a shard's segments, and where their episodes begin; ``stop`` is one past
        the last row's number.
        """
        rows = np.concatenate([part for part, _ in parts])
        untold = [part for part, begun in parts if begun is None]  # 0.1 wrote them, before all others
        begun = [begun for _, begun in parts if begun is not None]
        if untold:
            begun.append(stop - len(rows) + begins_of(self.schema, np.concatenate(untold)))
        starts = np.unique(np.concatenate(begun))
        oldest = max(int(starts.searchsorted(stop - count, side="right")) - 1, 0)
        return rows[len(rows) - count :], starts[oldest:] if count else starts[:0]

    @staticmethod
    def _beside(name: str, part: str) -> str:
        return str(Path(name).with_suffix(f".{part}.npy"))

    def _new_name(self) -> str:
        """A name not in use: until the next checkpoint is in place, the last one needs all of its files."""
        numbers = [int(path.stem) for path in self.folder.glob("*.npy") if path.stem.isdecimal()]
        return f"{max(numbers, default=0) + 1:012d}.npy"
