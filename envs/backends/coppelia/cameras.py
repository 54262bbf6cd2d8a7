"""The vision sensors that policies and people look through: a scene's own, and those put into it."""

from __future__ import annotations

import numpy as np
from pyrep.backend import sim
from pyrep.const import ObjectType, RenderMode
from pyrep.objects.object import Object
from pyrep.objects.vision_sensor import VisionSensor

from envs.backends.base import BackendError
from envs.backends.views import View, facing, room_views, wrist_view

PEOPLE_FROM, PEOPLE_AIM = np.array([1.6, 0.9, 0.6]), np.array([0.5, 0.0, 0.0])  # m from the robot's base
PEOPLE_ANGLE = 50.0  # degrees
FAR = 10.0  # m; nothing beyond it is drawn
# about the approach axis: PyRep's hands have their left pad where MuJoCo's Sawyer has its right one
HALF_TURN = np.diag([-1.0, -1.0, 1.0])
AXES = np.diag([-1.0, 1.0, -1.0])  # a sensor's x and z point the other way than those of a View


class Cameras:
    """To be made while the simulation stands still: what is made while it runs goes with its stop.

    Args:
        base: (3,) m, the robot's base in the world.
        middle: (3,) m, of the region on the table, from the base.
        size: the arm's, see Arm.
        tool: place (3,) and rotation (3, 3) of the tool in the world.
        hand: what the camera at the wrist hangs on.
    """

    def __init__(
        self,
        base: np.ndarray,
        middle: np.ndarray,
        size: float,
        tool: tuple[np.ndarray, np.ndarray],
        hand: Object,
    ) -> None:
        handles = sim.simGetObjectsInTree(sim.sim_handle_scene, ObjectType.VISION_SENSOR.value, 0)
        self._own = {sim.simGetObjectName(handle): VisionSensor(handle) for handle in handles}
        self._added = {
            name: add_sensor(view._replace(place=base + view.place))
            for name, view in room_views(middle, size).items()
        }
        place, turn = tool[0], tool[1] @ HALF_TURN
        at_wrist = wrist_view(size)
        self._added["wrist"] = add_sensor(
            View(place + turn @ at_wrist.place, turn @ at_wrist.rotation, at_wrist.angle)
        )
        self._added["wrist"].set_parent(hand)
        self._for_people = add_sensor(
            View(base + PEOPLE_FROM, facing(PEOPLE_FROM - PEOPLE_AIM), PEOPLE_ANGLE)
        )
        self._drawn: set[str] = set()  # of what has been seen not to be black

    def see(self, names: tuple[str, ...], size: int) -> dict[str, np.ndarray]:
        """(size, size, 3) uint8 of each. BackendError for one that is not there or draws only black."""
        return {name: self._draw(self._find(name), name, size, size) for name in names}

    def show(self, width: int, height: int) -> np.ndarray:
        """(height, width, 3) uint8, for people. Raises BackendError as ``see``."""
        return self._draw(self._for_people, "for people", width, height)

    def _find(self, name: str) -> VisionSensor:
        there = ", ".join({**self._own, **self._added})
        if name in self._own and name in self._added:
            raise BackendError(
                f"the scene has a vision sensor {name!r}, which is the name of a camera that is put beside "
                f"it: rename it (there are {there})"
            )
        sensor = self._own.get(name) or self._added.get(name)
        if sensor is None:
            raise BackendError(f"there is no camera {name!r}: choose from {there}")
        return sensor

    def _draw(self, sensor: VisionSensor, name: str, width: int, height: int) -> np.ndarray:
        if list(sensor.resolution) != [width, height]:
            sensor.set_resolution([width, height])
        sensor.handle_explicitly()
        picture = np.rint(255 * sensor.capture_rgb()).astype(np.uint8)
        if name not in self._drawn:
            if not picture.any():
                raise BackendError(
                    f"the camera {name} of CoppeliaSim draws only black: its vision sensors need OpenGL, so "
                    "begin the command with xvfb-run -a where there is no display, and take a CoppeliaSim "
                    "that was built with OpenGL (see docs/coppeliasim.md)"
                )
            self._drawn.add(name)
        return picture


def add_sensor(view: View) -> VisionSensor:
    """``view`` is in the world. It draws when it is asked to, by the simulator's own OpenGL renderer."""
    sensor = VisionSensor.create(
        [64, 64],
        explicit_handling=True,
        far_clipping_plane=FAR,
        view_angle=view.angle,
        render_mode=RenderMode.OPENGL,
    )
    pose = np.eye(4)
    pose[:3] = np.column_stack([view.rotation @ AXES, view.place])
    sensor.set_matrix(pose)
    return sensor
