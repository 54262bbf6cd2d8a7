"""Who steers from the page: one person's keys and gamepad go into the hand, over a websocket of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any

import numpy as np

from sac_dist.acting.hand import DISCARD, DONE, NOBODY, REDO, STALE, STANDS, Hand, Told
from sac_dist.reporting.watch import keys
from sac_dist.reporting.watch.keys import Grip, Input, turned

MOST = 8  # people
POLL, SENT_AT_LEAST = 0.005, 0.05  # s between looks at the hand, and between messages to a page
QUICKEST = 1000  # messages of a page in a second
STATES = ("nobody", "ready", "moving", "success", "failure")  # by acting/hand.py's numbers
PRESSED = {keys.DONE: DONE, keys.DISCARD: DISCARD, keys.REDO: REDO}


class Steerer:
    """One person, whose keys and devices go into the hand."""

    def __init__(self, hand: Hand) -> None:
        self.hand, self._grip, self._state = hand, Grip(), NOBODY

    def take(self, now: Input) -> None:
        """What has become pressed or has been let go."""
        before = self._grip.takes_over()
        fresh = self._grip.take(now)
        for key, button in PRESSED.items():
            if key in fresh:
                self.hand.press(button)
        if self._grip.takes_over() and not before:
            seen = self.hand.told().seen
            self._grip.match(bool(seen[4]), seen[5])

    def hold(self, motion: np.ndarray) -> None:
        """Along the base's axes."""
        self.hand.hold(motion, self._grip.opening, self._grip.takes_over())

    def rest(self) -> None:
        """Nothing is known of the keys."""
        self.hand.hold(np.zeros(6), self._grip.opening, False)

    def look(self) -> Told:
        told = self.hand.told()
        if told.state == STANDS != self._state:  # another episode
            self._grip.opening = 1.0
        self._state = told.state
        return told


def offset(told: Told, direction: float) -> np.ndarray:
    """(3,) m from the tool to the object: forward, left, up, for who looks in that direction."""
    return turned(np.append(told.seen[:3], [0.0, 0.0, 0.0]), -direction)[:3]


def gripper(hand: Hand) -> str:
    """What is wanted of it."""
    command = hand.command()
    return "open" if command is None or command.opening else "closed"


class Steerers:
    """The first who comes steers; the others look on until they leave."""

    def __init__(self, hand: Hand, trains: bool) -> None:
        self.hand, self.trains = hand, trains
        self.direction = 0.0  # in which the person who steers looks, in rad about the vertical
        self._people: list[Any] = []  # connections, in the order in which they came

    @property
    def present(self) -> bool:
        return bool(self._people)

    async def serve(self, connection: Any) -> None:
        """One page, until it closes or sends what no page sends."""
        if len(self._people) >= MOST:
            await connection.close(1013, "too many people")
            return
        self._people.append(connection)
        try:
            await self._serve(connection)
        except (ValueError, TypeError, RecursionError, OverflowError):
            await connection.close(1008, "no input")
        finally:
            if connection is self._people[0]:
                self.hand.let_go()
            self._people.remove(connection)

    async def _serve(self, connection: Any) -> None:
        person, now = Steerer(self.hand), Input()
        heard = sent = second = time.monotonic()
        count = tick = 0
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                now = Input.of(await asyncio.wait_for(connection.recv(), POLL))
                heard, count = time.monotonic(), count + 1
                if self._steers(connection):
                    person.take(now)
            time_now = time.monotonic()
            if time_now - second > 1.0:
                second, count = time_now, 0
            if count > QUICKEST:
                raise ValueError("too much input")
            await asyncio.sleep(0)  # a page that sends without end must not keep the others waiting
            if self._steers(connection):
                if time_now - heard > STALE / 2:
                    person.rest()
                else:
                    person.hold(turned(now.motion(), self.direction))
            told = person.look()
            if told.tick != tick or time_now - sent > SENT_AT_LEAST:
                tick, sent = told.tick, time_now
                await connection.send(json.dumps(self._words(connection, told)))

    def _steers(self, connection: Any) -> bool:
        return connection is self._people[0]

    def _words(self, connection: Any, told: Told) -> dict[str, Any]:
        command = self.hand.command()  # of who steers
        return {
            "steers": self._steers(connection),
            "trains": self.trains,
            "state": STATES[told.state],
            "kept": told.kept,
            "wanted": told.wanted,
            "tick": told.tick,
            "offset": [round(float(part), 4) for part in offset(told, self.direction)],
            "yaw": round(float(told.seen[3]), 4),  # rad
            "held": bool(told.seen[4]),
            "opening": round(float(told.seen[5]), 3),
            "gripper": gripper(self.hand),
            "takes over": command is not None and command.takes_over,
        }
