"""A scripted person who lifts things: sees what the page for who steers is sent, and answers with keys, late,
inexactly, and sometimes with a wrong one.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from typing import Any

import numpy as np
from websockets.sync.client import connect

from sac_dist.acting.hand import MOVES, NOBODY, STANDS, Command, Hand
from sac_dist.reporting.watch.keys import GRIPPER, Grip, Input

DELAY = 3  # instants, 0.15 s, from what is seen to what is done
BLUR = 0.002  # m, of what is seen
SLIP = 0.02  # share of wrong keys
FAR, NEAR = 0.07, 0.009  # m: from there on by taps, and there
ABOVE = 0.07  # m over the object until the tool is over it
GRASP = 0.006  # m over its centre, where the gripper closes
TURNED = 0.09  # rad
REST = 4  # instants after a tap, until its outcome is seen
PATIENCE = 25  # instants in which a closing gripper holds the thing, or not
WRONG = ("KeyW", "KeyA", "KeyS", "KeyD", "KeyR", "ShiftLeft")


class Person:
    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self.begin()

    def begin(self) -> None:
        """Another episode."""
        self._seen: deque[dict[str, Any]] = deque(maxlen=DELAY)
        self._rests = self._waits = 0

    def keys(self, seen: dict[str, Any]) -> set[str]:
        """Those to be held down until the next instant."""
        self._seen.append(seen)
        if self._rng.random() < SLIP:
            return {str(self._rng.choice(WRONG))}
        return self._wanted(self._seen[0])

    def _wanted(self, seen: dict[str, Any]) -> set[str]:
        forward, left, up = np.array(seen["offset"]) + self._rng.normal(0.0, BLUR, 3)
        if seen["held"]:
            self._waits = 0
            return {"KeyR"} if seen["gripper"] == "closed" else set()
        if seen["gripper"] == "closed":
            self._waits += 1
            if self._waits < PATIENCE:
                return set()
            self._waits = 0
            return {GRIPPER}
        across = float(np.hypot(forward, left))
        if across > FAR or (abs(up + ABOVE) > FAR and across > 2 * NEAR):
            return self._towards(forward, left, up + ABOVE, FAR / 3) | self._turn(seen)
        if self._rests:
            self._rests -= 1
            return set()
        aside, turn = self._towards(forward, left, 0.0, NEAR), self._turn(seen)
        if aside or turn:
            self._rests = REST
            return aside | turn | ({"KeyR"} if -up < ABOVE / 2 else set()) | {"ShiftLeft"}
        if abs(up + GRASP) > 0.008:
            return self._towards(0.0, 0.0, up + GRASP, 0.0) | ({"ShiftLeft"} if abs(up) < 0.05 else set())
        return {GRIPPER}

    def _towards(self, forward: float, left: float, up: float, near: float) -> set[str]:
        pairs = ((forward, "KeyW", "KeyS"), (left, "KeyA", "KeyD"), (up, "KeyR", "KeyF"))
        return {more if part > 0 else less for part, more, less in pairs if abs(part) > near}

    def _turn(self, seen: dict[str, Any]) -> set[str]:
        if abs(seen["yaw"]) < TURNED:
            return set()
        return {"KeyE"} if seen["yaw"] > 0 else {"KeyQ"}


class PersonsHand(Hand):
    """A person who is asked at each instant, without a page: nobody waits."""

    def __init__(self, person: Person) -> None:
        super().__init__()
        self.person, self.grip, self._state = person, Grip(), NOBODY
        self._keys: set[str] = set()

    def tell(self, state: int, seen: np.ndarray, kept: int = 0, wanted: int = 0) -> None:
        super().tell(state, seen, kept, wanted)
        if state == STANDS != self._state:
            self.grip.opening = 1.0
            self.person.begin()
        self._state = state
        if state in (STANDS, MOVES):
            self._keys = self.person.keys(words(seen, self.grip.opening))
            self.grip.take(Input(frozenset(self._keys)))

    def command(self) -> Command | None:
        return Command(Input(frozenset(self._keys)).motion(), self.grip.opening, True)


def words(seen: np.ndarray, opening: float) -> dict[str, Any]:
    """What the page is sent of ``seen``."""
    gripper = "open" if opening else "closed"
    return {"offset": seen[:3], "yaw": seen[3], "held": bool(seen[4]), "gripper": gripper}


def at_the_hand(url: str, **options: Any) -> Any:
    """A websocket of the page for who steers; what is not read does not hold it up."""
    url = url.replace("http", "ws", 1) + "hand/socket"
    return connect(url, open_timeout=20, close_timeout=1, max_queue=None, proxy=None, **options)


class AtThePage(threading.Thread):
    """A person at the websocket of the page for who steers, until ``leave``; ``press`` gets the keys instead
    of the websocket where it is given, as those of a browser.
    """

    def __init__(self, url: str, person: Person, press: Any = None, takes_over: bool = False) -> None:
        super().__init__(daemon=True)
        self.socket = at_the_hand(url)
        self.person, self._press, self._takes_over = person, press, takes_over
        self.last: dict[str, Any] = {}
        self.states: list[str] = []  # in their order
        self.error: BaseException | None = None
        self._leaves = False

    def run(self) -> None:
        try:
            while not self._leaves:
                self.look()
        except BaseException as error:
            self.error = error

    def look(self) -> None:
        """At one instant, and act."""
        before, raw = self.last, self.socket.recv(timeout=20)
        with contextlib.suppress(TimeoutError):
            while True:  # what is newest
                raw = self.socket.recv(timeout=0)
        now = self.last = json.loads(raw)
        if not before or now["state"] != before["state"]:
            self.states.append(now["state"])
            if now["state"] == "ready":
                self.person.begin()
        if before and now["tick"] == before["tick"]:
            return
        keys = self.person.keys(now) if now["state"] in ("ready", "moving") else set()
        if self._takes_over and not now["takes over"] and now["state"] == "moving":
            keys = {"KeyT"}
        if self._press is not None:
            self._press(keys)
        else:
            self.socket.send(json.dumps({"keys": sorted(keys)}))

    def leave(self) -> None:
        self._leaves = True
        self.join(20)
        self.socket.close()
        if self.error is not None:
            raise self.error
