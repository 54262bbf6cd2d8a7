"""A window of MuJoCo's in which someone steers an arm by keys or a SpaceMouse."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from envs.backends.base import BackendError
from envs.backends.mujoco.window import Window, Words
from sac_dist.acting.environment import make_env
from sac_dist.acting.failures import reason
from sac_dist.acting.hand import FAILED, MOVES, NOBODY, STANDS, SUCCEEDED, Hand, Told
from sac_dist.acting.reels import Reels
from sac_dist.acting.views import drawable
from sac_dist.reporting.watch.films import Player, Projector
from sac_dist.reporting.watch.keys import Input, turned
from sac_dist.reporting.watch.spacemouse import SpaceMouse
from sac_dist.reporting.watch.steering import Steerer, gripper, offset
from sac_dist.settings import ConfigError, EnvConfig

POLL = 0.005  # s between looks at the keys
LOOK = 0.01  # s between looks for something new to draw
STATES = {
    NOBODY: "waiting",
    STANDS: "move to begin",
    MOVES: "recording",
    SUCCEEDED: "kept",
    FAILED: "not kept",
}
FLASHES = {SUCCEEDED: (0.2, 0.9, 0.3), FAILED: (0.9, 0.3, 0.2)}  # red, green, blue
HELP = (
    ("W A S D", "forward, left, back, right"),
    ("R F", "up, down"),
    ("Q E", "turn"),
    ("arrows", "tilt"),
    ("Space", "close, open the gripper"),
    ("Shift", "slowly"),
    ("Enter", "done: keep it"),
    ("Backspace", "discard it"),
    ("Z", "the same start again"),
    ("mouse", "look from elsewhere"),
)
BUTTONS = ("SpaceMouse", "left button the gripper, right one done")


def steer(
    config: EnvConfig,
    hand: Hand,
    reels: Reels,
    spacemouse: bool,
    opened: Callable[[], None],
    note: Callable[[str], None],
) -> None:
    """Until the window is closed; ``opened`` is called once it is open.

    Raises ConfigError: it does not open, nothing draws in it, or there is no SpaceMouse where one is wanted.
    """
    mouse = SpaceMouse(note) if spacemouse else None
    env = make_env(config)
    env.reset(seed=0)
    try:
        window = Window("sac_dist", "--hand page needs none")
    except BackendError as error:
        raise ConfigError(f"--hand window: {error}") from None
    picture = Picture(window, drawable(env), hand, reels, mouse is not None)
    picture.start()
    person, title = Steerer(hand), ""
    try:
        picture.begun.wait()
        if picture.failure is None:
            opened()
        while picture.is_alive() and not window.closed:
            window.wait(POLL)
            axes, buttons = ((), ()) if mouse is None else mouse.read()
            now = Input(window.keys(), axes, buttons, standard=mouse is None)
            person.take(now)
            person.hold(turned(now.motion(), window.direction))
            told = person.look()
            wanted = f"sac_dist: {STATES[told.state]}, {told.kept} of {told.wanted} kept"
            if wanted != title:
                title = wanted
                window.entitle(title)
    finally:
        hand.let_go()
        picture.finish()
        window.close()


class Picture(threading.Thread):
    """Draws what the one who plays films."""

    def __init__(self, window: Window, view: Any, hand: Hand, reels: Reels, spacemouse: bool) -> None:
        super().__init__(name="picture", daemon=True)
        self._window, self._view, self._hand = window, view, hand
        self._projector = Projector(Player(reels, 0, "you", begun=True))
        help = (*HELP, BUTTONS) if spacemouse else HELP
        self._help = Words("\n".join(key for key, _ in help), "\n".join(does for _, does in help))
        self.begun, self._ends = threading.Event(), threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            self._draw()
        except Exception as error:  # a world that nobody has drawn yet
            self.failure = error
        finally:
            self.begun.set()
            self._window.leave()

    def finish(self) -> None:
        """Raises ConfigError for what kept it from drawing."""
        self._ends.set()
        self.join(5.0)
        if self.failure is not None:
            raise ConfigError(f"--hand window: nothing to see: {reason(self.failure)}")

    def _draw(self) -> None:
        world, drawing = self._view.drawing_of(self._view.snapshot())
        self._window.enter(drawing)  # takes seconds, and holds up all threads
        self.begun.set()
        shown: Any = None
        while not self._ends.wait(LOOK):
            frame, told = self._projector.newest(), self._hand.told()
            now = frame, told.state, told.kept, gripper(self._hand)
            if frame is None or (now == shown and not self._window.moved):
                continue
            snapshot = np.frombuffer(frame, np.float32)
            number, drawing = self._view.drawing_of(snapshot)
            if number != world:
                world = number
                self._window.enter(drawing)
            marks = self._view.seen(snapshot).marks
            self._window.draw(marks, self._words(told), self._help, FLASHES.get(told.state))
            shown = now

    def _words(self, told: Told) -> Words:
        forward, left, up = 100.0 * offset(told, self._window.direction)
        held = ", held" if told.seen[4] else ""
        lines = (
            (STATES[told.state], f"{told.kept} of {told.wanted} kept"),
            ("to the object, cm", f"{forward:.1f} forward, {left:.1f} left, {up:.1f} up"),
            ("turn, degrees", str(round(-math.degrees(told.seen[3])))),
            ("gripper", gripper(self._hand) + held),
        )
        return Words("\n".join(about for about, _ in lines), "\n".join(said for _, said in lines))
