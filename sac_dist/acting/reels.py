"""Episodes on their way from the processes that play them to a page that shows them: shared memory without
locks.

A reel holds one episode as a snapshot for each instant. It has one reader, the page's process, and one writer
at a time: a worker, the evaluator. The reader asks for an episode; a worker sees that when its next one
begins, and writes nothing that nobody asked for. The writer raises the count of frames once a frame is whole.
It begins an episode with the count at 0 and a new number, so a reader that finds the number changed after it
has copied throws its copies away.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np

from sac_dist.acting.episode import success_of
from sac_dist.acting.views import Frame, view_of
from sac_dist.system.shared import SharedArray, memory_fence

LENGTH = 1000  # frames; what is longer is shown up to there
WIDTH = 256  # numbers of a snapshot, at most
EVALUATED = 4  # episodes of each evaluation that are kept for the page

ASKED, CHOICE = range(2)  # columns that the page's process writes
TICKET, NUMBER, FRAMES, SIZE, ENDED, SUCCESS, CLOCK = range(8, 15)  # the writer's, another cache line
NOT_SAID = -1  # of SUCCESS


class Reels:
    """``players`` reels that are filled as they are asked for, and after them EVALUATED for evaluations;
    picklable to child processes. ``width``: bytes of a frame.
    """

    def __init__(self, players: int, width: int = 4 * WIDTH) -> None:
        count = players + EVALUATED
        self.players = players
        self._cells = SharedArray((count, 16), np.int64)
        self._returns = SharedArray((count,), np.float64)
        self._frames = SharedArray(
            (count, LENGTH, width), np.uint8
        )  # a page takes memory once it is written to
        self._sizes = SharedArray((count, LENGTH), np.int32)  # bytes of each frame

    # For the page

    def ask(self, reel: int, choice: int = 0) -> None:
        """For one more episode; ``choice``: by which of several policies."""
        cells = self._cells.array[reel]
        cells[CHOICE] = choice
        cells[ASKED] = cells[TICKET] + 1

    def forget(self) -> None:
        """Whatever was asked for."""
        self._cells.array[:, ASKED] = 0

    def look(self, reel: int) -> Take:
        cells = self._cells.array[reel]
        number = int(cells[NUMBER])
        memory_fence()
        frames, ended = int(cells[FRAMES]), bool(cells[ENDED])
        success = None if cells[SUCCESS] == NOT_SAID else bool(cells[SUCCESS])
        return Take(number, frames, ended, success, float(self._returns.array[reel]), int(cells[CLOCK]))

    def frames(self, reel: int, take: Take, first: int = 0) -> list[bytes] | None:
        """The frames of ``take`` from ``first`` on; None: another episode has begun meanwhile."""
        sizes = self._sizes.array[reel, first : take.frames].tolist()
        rows = self._frames.array[reel, first : take.frames]
        copied = [row[:size].tobytes() for row, size in zip(rows, sizes, strict=True)]
        memory_fence()
        return copied if self._cells.array[reel, NUMBER] == take.number else None

    # For who plays

    def asked(self, reel: int) -> bool:
        """Whether the next episode is wanted. A predecessor that died has left its one unfinished."""
        cells = self._cells.array[reel]
        asked, ticket = int(cells[ASKED]), int(cells[TICKET])
        return asked > ticket or (asked == ticket > 0 and not cells[ENDED])

    def choice(self, reel: int) -> int:
        return int(self._cells.array[reel, CHOICE])


class Take(NamedTuple):
    """What a reel holds now."""

    number: int  # of the episodes ever on it
    frames: int
    ended: bool
    success: bool | None  # None: the environment does not say
    total_reward: float
    clock: int  # of the policy, for an evaluation


class Filming:
    """The writer of one reel, in the process that steps ``env``."""

    def __init__(self, reels: Reels, reel: int, env: gymnasium.Env) -> None:
        self._frame: Frame = view_of(env)
        self._cells, self._reel, self._reels = reels._cells.array[reel], reel, reels
        self._frames, self._sizes = reels._frames.array[reel], reels._sizes.array[reel]

    def begin(self, clock: int = 0) -> None:
        """The environment has just been reset."""
        cells = self._cells
        cells[FRAMES] = 0
        memory_fence()
        cells[NUMBER] += 1
        cells[ENDED], cells[SUCCESS], cells[CLOCK] = 0, NOT_SAID, clock
        cells[TICKET] = cells[ASKED]
        memory_fence()
        self.add()

    def add(self) -> None:
        """The present instant, if there is room for it."""
        place = int(self._cells[FRAMES])
        frame = self._frame()
        if place >= len(self._frames) or frame is None or len(frame) > self._frames.shape[1]:
            return
        self._frames[place, : len(frame)] = frame
        self._sizes[place] = len(frame)
        memory_fence()
        self._cells[FRAMES] = place + 1

    def end(self, total_reward: float, success: bool | None) -> None:
        self._reels._returns.array[self._reel] = total_reward
        self._cells[SUCCESS] = NOT_SAID if success is None else success
        memory_fence()
        self._cells[ENDED] = 1


class Filmed(gymnasium.Wrapper):
    """Films the first EVALUATED episodes after each :meth:`evaluation`, whoever looks."""

    def __init__(self, env: gymnasium.Env, reels: Reels) -> None:
        super().__init__(env)
        self._films = [Filming(reels, reels.players + index, env) for index in range(EVALUATED)]
        self._film: Filming | None = None
        self._left: list[Filming] = []
        self._clock = 0

    def evaluation(self, clock: int) -> None:
        self._left, self._clock = list(self._films), clock

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        first = self.env.reset(**kwargs)
        self._total = 0.0
        self._success: bool | None = None
        self._film = self._left.pop(0) if self._left else None
        if self._film is not None:
            self._film.begin(self._clock)
        return first

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._film is not None:
            self._film.add()
            self._take(reward, info)
            if terminated or truncated:
                self._film.end(self._total, self._success)
        return observation, reward, terminated, truncated, info

    def _take(self, reward: Any, info: Any) -> None:
        """What is no number or no word about success is met by who plays the episode."""
        try:
            self._total += float(reward)
            success = success_of(info)
        except (TypeError, ValueError, AttributeError):
            return
        if success is not None:
            self._success = success or bool(self._success)
