"""What the page plays: episodes that it asks for, and evaluations that it keeps."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from sac_dist.acting.reels import EVALUATED, Reels

KEPT = 6 * EVALUATED  # episodes of the newest evaluations
HOLD = 0.6  # s that the end of an episode stays


@dataclass
class Film:
    """An episode, or as much of it as there is."""

    name: str
    frames: list[bytes] = field(default_factory=list)
    ended: bool = False
    success: bool | None = None
    total_reward: float = 0.0
    clock: int = 0  # of the policy, for an evaluation

    @property
    def title(self) -> str:
        return f"{self.name} · {self.verdict}"

    @property
    def verdict(self) -> str:
        if not self.ended:
            return ""
        word = "" if self.success is None else "success · " if self.success else "failure · "
        return f"{word}return {self.total_reward:.2f}"


class Source(Protocol):
    """Where films come from."""

    def film(self, over: bool) -> Film | None:
        """The one to play; ``over``: it has been seen to its end."""


class Player:
    """The episodes of a worker, or of a test: the next one is asked for when the last was seen. ``begun``:
    what is on the reel already is shown too.
    """

    def __init__(self, reels: Reels, reel: int, name: str, begun: bool = False) -> None:
        self._reels, self._reel = reels, reel
        self.name = name  # of the next film
        self.choice = 0
        self._number = -1 if begun else reels.look(reel).number
        self._film: Film | None = None
        reels.ask(reel)

    def film(self, over: bool) -> Film | None:
        take = self._reels.look(self._reel)
        if take.number != self._number:  # asked for, or a dead worker's successor has begun anew
            self._number, self._film = take.number, Film(self.name)
            over = False
        film = self._film
        if film is None:
            return None
        if not film.ended:
            new = self._reels.frames(self._reel, take, len(film.frames))
            if new is None:
                return film
            film.frames += new
            film.ended, film.success, film.total_reward = take.ended, take.success, take.total_reward
        if over:
            self._reels.ask(self._reel, self.choice)
        return film


class Evaluations:
    """The newest evaluations' first episodes; ``collect`` is to be called often."""

    def __init__(self, reels: Reels) -> None:
        self._reels = reels
        self._seen = [0] * EVALUATED  # number of the episode that was taken from each reel
        self.films: deque[Film] = deque(maxlen=KEPT)
        self._next = 0  # of those of the newest evaluation

    def collect(self) -> bool:
        """Whether there is a new one."""
        found = False
        for index in range(EVALUATED):
            reel = self._reels.players + index
            take = self._reels.look(reel)
            if not take.ended or take.number == self._seen[index]:
                continue
            frames = self._reels.frames(reel, take)
            if frames:
                name = f"at {take.clock:,} steps · episode {index + 1}"
                self.films.append(Film(name, frames, True, take.success, take.total_reward, take.clock))
                found = True
            self._seen[index] = take.number
        return found

    def film(self, over: bool) -> Film | None:
        """Of the newest evaluation, one after the other."""
        if not self.films:
            return None
        newest = self.films[-1].clock
        those = [film for film in self.films if film.clock == newest]
        self._next = (self._next + over) % len(those)
        return those[self._next]


class Again:
    """One film, for ever."""

    def __init__(self, film: Film) -> None:
        self._film = film

    def film(self, over: bool) -> Film:
        return self._film


class Projector:
    """Says which frame of a source is due."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.current: Film | None = None
        self.position = 0.0  # frames
        self._ended_at: float | None = None

    def newest(self) -> bytes | None:
        """The frame of this moment, for who steers; None: there is nothing yet."""
        film = self.current = self.source.film(False)
        if film is None or not film.frames:
            return None
        self.position, self._ended_at = len(film.frames) - 1.0, None
        return film.frames[-1]

    def frame(self, frames_on: float) -> bytes | None:
        """The frame that is due ``frames_on`` later than the last one; None: there is nothing yet."""
        now = time.monotonic()
        at_end = self._ended_at is not None and now - self._ended_at > HOLD and frames_on > 0
        film = self.source.film(at_end)
        if film is not self.current or (at_end and not isinstance(self.source, Player)):
            self.current, self.position, self._ended_at, frames_on = film, 0.0, None, 0.0
        if film is None or not film.frames:
            return None
        self.position = min(self.position + frames_on, len(film.frames) - 1.0)
        if film.ended and self.position >= len(film.frames) - 1 and self._ended_at is None:
            self._ended_at = now
        return film.frames[int(self.position)]
