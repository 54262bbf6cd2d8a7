"""Pictures of a world, off screen or in a window, from a second model that has looks but does no
physics.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np

from envs.backends.base import BackendError, Marks
from envs.backends.choice import has_display
from envs.backends.mujoco.room import MAX_HEIGHT, MAX_WIDTH, wood
from envs.backends.mujoco.world import world_spec
from envs.objects.scene import Scene
from envs.robots.card import RobotCard
from envs.robots.spec import robot_spec
from envs.robots.workplace import table_of

MARK = np.array([0.1, 0.9, 0.2, 0.45], np.float32)  # green, to be looked through


class Picture:
    """Draws a given state; made when the first picture is wanted, as the meshes and OpenGL take their time."""

    def __init__(self, scene: Scene, model: mujoco.MjModel) -> None:
        self.scene, self.model = scene, model
        self.data = mujoco.MjData(self.model)
        head = self.model.vis.headlight.diffuse.copy()
        self._usual = (self.model.cam_pos.copy(), self.model.light_diffuse.copy(), head)
        self._renderer: Any = None
        self._viewer: Any = None
        self._viewer_threads: set[threading.Thread] = set()

    @classmethod
    def of(cls, card: RobotCard, scene: Scene) -> Picture:
        """With looks, for people."""
        spec = world_spec(robot_spec(card, looks=True), card, table_of(card), scene, looks=True)
        picture = cls(scene, spec.compile())
        texture = picture.model.texture("room/wood")
        pixels = wood(int(texture.width[0])).ravel()
        start = int(texture.adr[0])
        picture.model.tex_data[start : start + pixels.size] = pixels
        return picture

    def render(
        self,
        state: mujoco.MjData,
        camera: str,
        width: int,
        height: int,
        look: Mapping[str, float],
        marks: Marks = (),
    ) -> np.ndarray:
        """(height, width, 3) uint8, with ``marks`` as balls of light.

        Raises:
            BackendError: OpenGL does not work here, or there is no such camera or size.
        """
        names = [self.model.camera(i).name for i in range(self.model.ncam)]
        cameras = {name.removeprefix("room/"): name for name in names}
        if camera not in cameras:
            raise BackendError(f"there is no camera {camera!r}: choose one of {', '.join(cameras)}")
        if not (0 < width <= MAX_WIDTH and 0 < height <= MAX_HEIGHT):
            raise BackendError(f"no picture of {width}x{height} pixels: at most {MAX_WIDTH}x{MAX_HEIGHT}")
        if self._renderer is None or (self._renderer.width, self._renderer.height) != (width, height):
            self._close_renderer()
            self._keep(open_renderer(self.model, width, height))
        self._change(look)
        self._pose(state)
        self._renderer.update_scene(self.data, cameras[camera])
        add_marks(self._renderer.scene, marks)
        picture: np.ndarray = self._renderer.render()
        return picture.copy()

    def show(self, state: mujoco.MjData, marks: Marks = ()) -> None:
        """Draw in the window, which is opened if it is not open, with ``marks`` as balls of light.

        Raises:
            BackendError: no display.
        """
        if self._viewer is None or not self._viewer.is_running():
            before = set(threading.enumerate())
            self._viewer = open_viewer(self.model, self.data)
            self._viewer_threads = set(threading.enumerate()) - before
        with self._viewer.lock():
            self._pose(state)
            self._viewer.user_scn.ngeom = 0
            add_marks(self._viewer.user_scn, marks)
        self._viewer.sync()

    def close(self) -> None:
        self._close_renderer()
        if self._viewer is not None:
            self._viewer.close()
            self._viewer = None
            for thread in self._viewer_threads:
                thread.join(5.0)  # the interpreter must not end while the window's thread still draws

    def _pose(self, state: mujoco.MjData) -> None:
        self.data.qpos[:] = state.qpos
        self.data.mocap_pos[:], self.data.mocap_quat[:] = state.mocap_pos, state.mocap_quat
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def _change(self, look: Mapping[str, float]) -> None:
        """Move the cameras and dim the lights as an episode's randomization says."""
        cameras, lights, head = self._usual
        self.model.cam_pos[:] = cameras + look.get("camera", 0.0)
        self.model.light_diffuse[:] = lights * look.get("light", 1.0)
        self.model.vis.headlight.diffuse[:] = head * look.get("light", 1.0)

    def _keep(self, renderer: Any) -> None:
        """OpenGL must be let go before the interpreter ends."""
        self._renderer = renderer
        self._release = weakref.finalize(self, renderer.close)

    def _close_renderer(self) -> None:
        if self._renderer is not None:
            self._release()
            self._renderer = None


def add_marks(scene: Any, marks: Marks) -> None:
    """Draw balls that are no part of the world into a scene."""
    for position, radius in marks[: scene.maxgeom - scene.ngeom]:
        mujoco.mjv_initGeom(
            scene.geoms[scene.ngeom],
            mujoco.mjtGeom.mjGEOM_SPHERE,
            np.full(3, radius),
            np.asarray(position, np.float64),
            np.eye(3).ravel(),
            MARK,
        )
        scene.ngeom += 1


def open_renderer(model: Any, width: int, height: int) -> Any:
    try:
        return mujoco.Renderer(model, height, width)
    except Exception as error:  # each GL platform has errors of its own
        raise BackendError(
            f"OpenGL does not work off screen ({error}): "
            "apt-get install libegl1 libgl1-mesa-dri (or libosmesa6), set MUJOCO_GL=egl (or osmesa)"
        ) from error


def open_viewer(model: Any, data: Any) -> Any:
    start_glfw("use render_mode rgb_array, or xvfb-run")  # launch_passive waits for ever where this fails
    import mujoco.viewer

    return mujoco.viewer.launch_passive(model, data, show_left_ui=False, show_right_ui=False)


def start_glfw(otherwise: str) -> Any:
    """The library of windows. Raises BackendError where none can be opened, with what to do ``otherwise``."""
    if not has_display():
        raise BackendError(f"no display for the window (DISPLAY is not set): {otherwise}")
    try:
        import glfw
    except ImportError as error:
        raise BackendError(f"the window does not open ({error}): pip install glfw") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        works = glfw.init()
    if not works:
        raise BackendError(f"the window does not open (is DISPLAY right?): {otherwise}")
    return glfw
