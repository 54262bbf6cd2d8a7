"""Pictures of the replay, each stored once: a ring of uint8 frames beside the rows of a shard.

Transition i of a shard's episode number e has its picture in slot i + e, and that of its next observation in
the slot after it: which is the next transition's, or at an episode's end one more. So slots follow from
what the ring knows of episodes, and nothing is stored for them. The frames before one, which a stack shows,
are in the slots before it, down to the episode's first, which stands in for those before that.

The ring has about as many slots as a shard has rows. Episodes take one more each, so where they are many it
holds some transitions less: those from ``oldest`` on, which the writer raises before it writes a frame over
the first that they need. A reader looks at it after it has copied, as at the count of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sac_dist.data.schema import Schema
from sac_dist.system.shared import SharedArray, memory_fence

Counts = npt.NDArray[np.int64]
Frames = npt.NDArray[np.uint8]  # (…, frame_size)


@dataclass(frozen=True)
class Seen:
    """What n observations and their next ones show, each (n, stack, frame_size), oldest first."""

    now: Frames
    following: Frames

    @classmethod
    def empty(cls, n: int, schema: Schema) -> Seen | None:
        """None: the schema has no pictures."""
        if not schema.pictures:
            return None
        shape = (n, schema.stack, schema.frame_size)
        return cls(np.empty(shape, np.uint8), np.empty(shape, np.uint8))

    def part(self, where: slice) -> Seen:
        """Views of some of them."""
        return Seen(self.now[where], self.following[where])

    def put(self, where: Counts, other: Seen) -> None:
        self.now[where], self.following[where] = other.now, other.following


def slots_of_stack(slot: Counts, first: Counts, stack: int) -> Counts:
    """(n, stack) what is seen at slots (n,) of episodes whose first slots are ``first`` (n,)."""
    back = np.arange(stack - 1, -1, -1)
    seen: Counts = np.maximum(slot[:, None] - back, first[:, None])
    return seen


def slots_for(size: int, stack: int) -> int:
    """Slots of a shard of ``size`` rows."""
    return size + size // 128 + stack + 4


class PictureRing:
    """The frames of all shards, in shared memory; one writer a shard.

    Args:
        sizes: (shards,) rows that each shard holds.
    """

    def __init__(self, sizes: Counts, schema: Schema) -> None:
        slots = [slots_for(size, schema.stack) for size in sizes.tolist()]
        frames = SharedArray((sum(slots), schema.frame_size), np.uint8)
        self._open(frames, SharedArray((len(sizes),), np.int64), sizes, schema)

    def _open(self, frames: SharedArray, oldest: SharedArray, sizes: Counts, schema: Schema) -> None:
        self.memory = frames, oldest
        self.stack, self.sizes = schema.stack, sizes
        self.frames: Frames = frames.array
        self.oldest: Counts = oldest.array  # (shards,) the first transition whose pictures are whole
        self.slots: Counts = np.array([slots_for(size, self.stack) for size in sizes.tolist()])
        self.first: Counts = np.cumsum(self.slots) - self.slots
        self._numbers: dict[int, int] = {}  # by shard, the episode of its oldest

    @classmethod
    def opened(cls, memory: tuple[SharedArray, SharedArray], sizes: Counts, schema: Schema) -> PictureRing:
        ring = cls.__new__(cls)
        ring._open(*memory, sizes, schema)
        return ring

    def put(
        self,
        shard: int,
        transition: int,
        starts: Counts,
        episodes: int,
        now: Frames,
        following: Frames,
    ) -> None:
        """Store the pictures of the transition that is being written, which is of the newest of ``episodes``.

        Args:
            starts: the shard's table of where they begin.
        """
        slot = transition + episodes - 1
        self._make_room(shard, transition, slot + 1, starts, episodes)
        first, ring = self.first.item(shard), self.slots.item(shard)
        if starts[(episodes - 1) % len(starts)] == transition:
            self.frames[first + slot % ring] = now
        self.frames[first + (slot + 1) % ring] = following

    def _make_room(
        self,
        shard: int,
        written: int,
        slot: int,
        starts: Counts,
        episodes: int,
    ) -> None:
        """Raise ``oldest`` beyond what needs a frame that ``slot`` overwrites."""
        oldest = max(self.oldest.item(shard), written - self.sizes.item(shard))
        number = self._numbers.get(shard)
        if number is None:
            number = episodes - 1
            while starts[number % len(starts)] > oldest:
                number -= 1
        least = slot - self.slots.item(shard) + self.stack
        while oldest < written:
            while number + 1 < episodes and starts[(number + 1) % len(starts)] <= oldest:
                number += 1
            if oldest + number >= least:
                break
            oldest += 1
        self._numbers[shard] = number
        self.oldest[shard] = oldest
        memory_fence()

    def take(self, shard: Counts, slots: Counts, out: Frames | None = None) -> Frames:
        """Copy frames of ``slots`` (n, stack) of ``shard`` (n,): (n, stack, frame_size)."""
        row = self.first.take(shard)[:, None] + slots % self.slots.take(shard)[:, None]
        return self.frames.take(row, axis=0, out=out, mode="clip")

    def copy(self, shard: int, begin: int, end: int) -> Frames:
        """Of slots begin … end - 1."""
        row = self.first.item(shard) + np.arange(begin, end) % self.slots.item(shard)
        return self.frames[row]

    def restore(self, shard: int, begin: int, frames: Frames, oldest: int) -> None:
        """Put back what ``copy`` gave, before anyone else reads or writes."""
        row = self.first.item(shard) + np.arange(begin, begin + len(frames)) % self.slots.item(shard)
        self.frames[row] = frames
        self.oldest[shard] = oldest
        self._numbers.pop(shard, None)

    @property
    def nbytes(self) -> int:
        return self.frames.nbytes + self.oldest.nbytes
