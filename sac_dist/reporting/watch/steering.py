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
        grip, now, state = Grip(), Input(), NOBODY
        heard = sent = second = time.monotonic()
        count = tick = 0
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                now = Input.of(await asyncio.wait_for(connection.recv(), POLL))
                heard, count = time.monotonic(), count + 1
                if self._steers(connection):
                    before = grip.takes_over()
                    self._press(grip.take(now))
                    if grip.takes_over() and not before:
                        seen = self.hand.told().seen
                        grip.match(bool(seen[4]), seen[5])
            time_now = time.monotonic()
            if time_now - second > 1.0:
                second, count = time_now, 0
            if count > QUICKEST:
                raise ValueError("too much input")
            await asyncio.sleep(0)  # a page that sends without end must not keep the others waiting
            if self._steers(connection):
                still = time_now - heard > STALE / 2
                motion = np.zeros(6) if still else turned(now.motion(), self.direction)
                self.hand.hold(motion, grip.opening, grip.takes_over() and not still)
            told = self.hand.told()
            if told.state == STANDS != state:  # another episode
                grip.opening = 1.0
            state = told.state
            if told.tick != tick or time_now - sent > SENT_AT_LEAST:
                tick, sent = told.tick, time_now
                await connection.send(json.dumps(self._words(connection, told)))

    def _steers(self, connection: Any) -> bool:
        return connection is self._people[0]

    def _press(self, fresh: frozenset[str]) -> None:
        for key, button in PRESSED.items():
            if key in fresh:
                self.hand.press(button)

    def _words(self, connection: Any, told: Told) -> dict[str, Any]:
        command = self.hand.command()  # of who steers
        offset = turned(np.append(told.seen[:3], [0.0, 0.0, 0.0]), -self.direction)[:3]
        return {
            "steers": self._steers(connection),
            "trains": self.trains,
            "state": STATES[told.state],
            "kept": told.kept,
            "wanted": told.wanted,
            "tick": told.tick,
            "offset": [round(float(part), 4) for part in offset],  # m to the object: forward, left, up
            "yaw": round(float(told.seen[3]), 4),  # rad
            "held": bool(told.seen[4]),
            "opening": round(float(told.seen[5]), 3),
            "gripper": "open" if command is None or command.opening else "closed",
            "takes over": command is not None and command.takes_over,
        }
