"""A window that knows which keys are held down: MuJoCo's own viewer tells of presses alone, and has a meaning
of its own for most keys.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from typing import Any, NamedTuple

import mujoco
import numpy as np

from envs.backends.base import BackendError, Marks
from envs.backends.mujoco.picture import add_marks, start_glfw

SIZE = 1000, 750  # pixels
SAMPLES = 4  # of each pixel, against jagged edges
GEOMS = 10_000  # that are drawn at most
FLASH = 0.35  # opacity
NAMES = {
    **{"SPACE": "Space", "ENTER": "Enter", "KP_ENTER": "Enter", "BACKSPACE": "Backspace"},
    **{"UP": "ArrowUp", "DOWN": "ArrowDown", "LEFT": "ArrowLeft", "RIGHT": "ArrowRight"},
    **{"LEFT_SHIFT": "ShiftLeft", "RIGHT_SHIFT": "ShiftRight"},
    **{letter: f"Key{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
}


class Words(NamedTuple):
    """Text over the picture, line by line: what it is about, and what there is to say of it."""

    about: str
    said: str


class Window:
    """Events are taken in the thread that made the window, by ``wait``; drawing, which may be slow, belongs to
    another one, so that no key waits for it.

    Raises BackendError: no display, or nothing draws on it; with what to do ``otherwise``.
    """

    def __init__(self, title: str, otherwise: str) -> None:
        self._glfw = glfw = start_glfw(otherwise)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for samples in (SAMPLES, 0):
                glfw.window_hint(glfw.SAMPLES, samples)
                self._window = glfw.create_window(*SIZE, title, None, None)
                if self._window:
                    break
        if not self._window:
            raise BackendError(f"the window does not open (this display has no OpenGL): {otherwise}")
        self._names = {getattr(glfw, f"KEY_{name}"): code for name, code in NAMES.items()}
        self._down: set[str] = set()
        self._tapped: set[str] = set()  # since they were last asked for
        self._moves: deque[tuple[Any, float, float]] = deque()  # of the camera
        self._pointer = 0.0, 0.0
        self._size = glfw.get_framebuffer_size(self._window)
        self._camera: Any = None
        self._world: tuple[Any, Any, Any, Any] | None = None  # model, data, scene, context
        glfw.set_key_callback(self._window, self._on_key)
        glfw.set_cursor_pos_callback(self._window, self._on_pointer)
        glfw.set_scroll_callback(self._window, self._on_scroll)
        glfw.set_framebuffer_size_callback(self._window, self._on_size)

    # In the thread that made it

    def wait(self, seconds: float) -> None:
        """For something to happen, so long at most."""
        self._glfw.wait_events_timeout(seconds)

    @property
    def closed(self) -> bool:
        """Whether the person has closed it."""
        return bool(self._glfw.window_should_close(self._window))

    def keys(self) -> frozenset[str]:
        """Those that are down, or were since this was last asked, by the names that browsers give them
        (KeyboardEvent.code). None where another window is in front.
        """
        keys = frozenset(self._down | self._tapped)
        self._tapped.clear()
        return keys

    def entitle(self, title: str) -> None:
        self._glfw.set_window_title(self._window, title)

    def close(self) -> None:
        """Once nobody draws any more."""
        self._glfw.terminate()

    # In the thread that draws

    def enter(self, drawing: Any) -> None:
        """Show a world, an envs.backends.mujoco.drawing.Drawing; the first one says from where. Raises
        BackendError.
        """
        if self._world is None:
            self._glfw.make_context_current(self._window)
            self._glfw.swap_interval(1)
            self._camera = camera_of(*drawing.viewpoint())
        else:
            self._world[3].free()
        try:
            context = mujoco.MjrContext(drawing.model, mujoco.mjtFontScale.mjFONTSCALE_100)
        except mujoco.FatalError as error:
            raise BackendError(f"the window's OpenGL does not work: {error}") from None
        self._world = drawing.model, drawing.data, mujoco.MjvScene(drawing.model, GEOMS), context

    def draw(
        self, marks: Marks, left: Words, right: Words, flash: tuple[float, float, float] | None = None
    ) -> None:
        """The instant of the world's data, of which the bodies' places are known; ``flash``: in this light."""
        assert self._world is not None, "enter a world first"
        model, data, scene, context = self._world
        while self._moves:
            mujoco.mjv_moveCamera(model, *self._moves.popleft(), scene, self._camera)
        mujoco.mj_comPos(model, data)
        mujoco.mj_camlight(model, data)
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(model, data, mujoco.MjvOption(), None, self._camera, everything, scene)
        add_marks(scene, marks)
        whole = mujoco.MjrRect(0, 0, *self._size)
        mujoco.mjr_render(whole, scene, context)
        if flash is not None:
            mujoco.mjr_rectangle(whole, *flash, FLASH)
        for corner, words in (
            (mujoco.mjtGridPos.mjGRID_TOPLEFT, left),
            (mujoco.mjtGridPos.mjGRID_TOPRIGHT, right),
        ):
            mujoco.mjr_overlay(mujoco.mjtFont.mjFONT_NORMAL, corner, whole, *words, context)
        self._glfw.swap_buffers(self._window)

    def leave(self) -> None:
        """Nothing more will be drawn."""
        if self._world is not None:
            self._world[3].free()
            self._glfw.make_context_current(None)

    @property
    def moved(self) -> bool:
        """Whether the camera is to be, when it is next drawn."""
        return bool(self._moves)

    @property
    def direction(self) -> float:
        """In which the viewer looks, in rad about the vertical; 0 along the x axis."""
        return 0.0 if self._camera is None else math.radians(self._camera.azimuth)

    # What the display tells

    def _on_key(self, _: Any, key: int, __: int, action: int, ___: int) -> None:
        name = self._names.get(key)
        if name is None or action == self._glfw.REPEAT:
            return
        if action == self._glfw.PRESS:
            self._down.add(name)
            self._tapped.add(name)
        else:
            self._down.discard(name)

    def _on_pointer(self, _: Any, x: float, y: float) -> None:
        glfw, (before_x, before_y) = self._glfw, self._pointer
        self._pointer = x, y
        height = max(glfw.get_window_size(self._window)[1], 1)
        for button, move in (
            (glfw.MOUSE_BUTTON_LEFT, mujoco.mjtMouse.mjMOUSE_ROTATE_V),
            (glfw.MOUSE_BUTTON_RIGHT, mujoco.mjtMouse.mjMOUSE_MOVE_V),
        ):
            if glfw.get_mouse_button(self._window, button) == glfw.PRESS:
                self._moves.append((move, (x - before_x) / height, (y - before_y) / height))

    def _on_scroll(self, _: Any, __: float, y: float) -> None:
        self._moves.append((mujoco.mjtMouse.mjMOUSE_ZOOM, 0.0, -0.05 * y))

    def _on_size(self, _: Any, width: int, height: int) -> None:
        self._size = width, height
        self._moves.append((mujoco.mjtMouse.mjMOUSE_ROTATE_V, 0.0, 0.0))  # draw it again


def camera_of(eye: np.ndarray, at: np.ndarray) -> mujoco.MjvCamera:
    """That looks from (3,) to (3,) m, and turns about the latter."""
    camera = mujoco.MjvCamera()
    forward, left, up = ahead = at - eye
    camera.lookat[:], camera.distance = at, np.linalg.norm(ahead)
    camera.azimuth = math.degrees(math.atan2(left, forward))
    camera.elevation = math.degrees(math.asin(up / camera.distance))
    return camera
