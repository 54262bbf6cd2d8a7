"""The world in 3D, as the page draws it: shapes once, then only where the bodies are."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.viewing import Marks, Shape
from sac_dist.acting.environment import make_env
from sac_dist.acting.failures import reason
from sac_dist.acting.views import drawable, picture_of
from sac_dist.settings import EnvConfig

MOVED = 1e-4  # m and, of a quaternion's entries, 1: less is not sent
MARK = (26, 230, 51)
PHOTO = 320, 240  # pixels
DEFAULT_FPS = 30


class Stage:
    """Draws frames of ``config``'s environment, of which it has one of its own that is never stepped.

    ``obstacle``: why there is no 3D, in a line; None: there is.
    """

    def __init__(self, server: Any, config: EnvConfig) -> None:
        self._scene = server.scene
        self._camera = server.initial_camera
        self.obstacle: str | None = None
        self.fps = float(DEFAULT_FPS)
        self._view: Any = None
        self._broken = False  # nothing more is drawn
        self._world: int | None = None
        self.cameras: tuple[str, ...] = ()
        if config.kwargs.get("backend") == "coppelia":  # a second simulator would show nothing either
            self.obstacle = "CoppeliaSim does not say where its bodies are: no 3D view"
            return
        try:
            env = make_env(config)
            env.reset(seed=0)
            self.fps = float(env.metadata.get("render_fps") or DEFAULT_FPS)
            self._view = drawable(env)
        except (Exception, SystemExit) as error:  # anybody's code
            self.obstacle = reason(error)
        if self._view is None and self.obstacle is None:
            self.obstacle = f"{config.name} has no 3D view"
        self.cameras = getattr(self._view, "cameras", ())
        self._bodies: dict[int, Any] = {}
        self._poses = np.empty((0, 7), np.float32)  # as sent
        self._balls: list[Any] = []
        self._marks: Marks = ()

    def show(self, frame: bytes) -> np.ndarray | None:
        """Draw a snapshot; what is a picture is returned, (h, w, 3) uint8."""
        if self._broken:
            return None
        try:
            if self._view is None:
                return picture_of(frame)
            self._draw(frame)
        except Exception as error:  # a world that nobody has drawn yet
            self._broken, self.obstacle = True, f"nothing to see: {reason(error)}"
        return None

    def _draw(self, frame: bytes) -> None:
        snapshot = np.frombuffer(frame, np.float32)
        number, drawn = self._view.drawing_of(snapshot)
        if number != self._world:
            self._build(number, drawn)
        seen = self._view.seen(snapshot)
        self._place(seen.poses)
        self._mark(seen.marks)

    def photo(self, frame: bytes, camera: str) -> np.ndarray:
        """(h, w, 3) uint8. Raises BackendError where OpenGL does not work."""
        picture: np.ndarray = self._view.photo(np.frombuffer(frame, np.float32), camera, *PHOTO)
        return picture

    def _build(self, number: int, drawn: Any) -> None:
        shapes: tuple[Shape, ...] = drawn.shapes()
        self._scene.reset()
        self._scene.set_up_direction("+z")
        self._balls, self._marks, self._world = [], (), number
        self._bodies = {
            body: self._scene.add_frame(f"/bodies/{body}", show_axes=False)
            for body in sorted({shape.body for shape in shapes})
        }
        for index, shape in enumerate(shapes):
            red, green, blue, opacity = shape.colour
            self._scene.add_mesh_simple(
                f"/bodies/{shape.body}/shape{index}",
                shape.vertices,
                shape.faces,
                color=(red, green, blue),
                opacity=None if opacity >= 1.0 else opacity,
                side="double",
                cast_shadow=False,
                receive_shadow=False,
            )
        self._poses = np.full((1 + max(self._bodies), 7), np.inf, np.float32)
        self._camera.position, self._camera.look_at = drawn.viewpoint()

    def _place(self, poses: np.ndarray) -> None:
        moved = np.abs(poses[: len(self._poses)] - self._poses) > MOVED
        for body, handle in self._bodies.items():
            if moved[body, :3].any():
                handle.position = poses[body, :3].astype(float)
                self._poses[body, :3] = poses[body, :3]
            if moved[body, 3:].any():
                handle.wxyz = poses[body, 3:].astype(float)
                self._poses[body, 3:] = poses[body, 3:]

    def _mark(self, marks: Marks) -> None:
        if [radius for _, radius in marks] != [radius for _, radius in self._marks]:
            for ball in self._balls:
                ball.remove()
            self._balls = [
                self._scene.add_icosphere(f"/marks/{index}", radius=radius, color=MARK, opacity=0.45)
                for index, (_, radius) in enumerate(marks)
            ]
            self._marks = ()
        for index, (ball, (position, _)) in enumerate(zip(self._balls, marks, strict=True)):
            if not self._marks or np.abs(position - self._marks[index][0]).max() > MOVED:
                ball.position = np.asarray(position, float)
        self._marks = marks
