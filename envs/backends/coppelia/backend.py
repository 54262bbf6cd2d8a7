"""An arm in CoppeliaSim, through PyRep: one simulator in the process that makes a CoppeliaBackend."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from envs.backends.base import CONTROL_TIMESTEP, BackendError, Marks, Readings

try:
    from pyrep.backend import sim
    from pyrep.const import JointType
    from pyrep.robots.end_effectors.gripper import Gripper

    from envs.backends.coppelia.cameras import Cameras
    from envs.backends.coppelia.card import Card, read_card
    from envs.backends.coppelia.launch import end, launch, own_encoding, version
    from envs.backends.coppelia.probe import strange
    from envs.backends.coppelia.scene import (
        Parts,
        arm_of,
        bounds,
        build,
        falls,
        find_parts,
        fitting_sides,
        idle_cameras,
        physics_timestep,
        take_control,
        workplace,
    )
except ImportError as error:
    raise BackendError(f"PyRep does not import: {error} (see docs/coppeliasim.md)") from error

PRESSED = 0.5  # N; a pad that presses less does not count as in contact
# cosine between a pad's contact and the fingers' line; a pad that stands on the object does not hold it
FACING = 0.7
FINGER_SPEED = 0.2  # m/s; faster fingers knock the object away
FINGER_TURN = 2.0  # rad/s, of fingers that turn
MAX_SPEED = 1e3  # rad/s; a joint faster than this is an explosion
NOTHING_FALLS = (
    "the simulator starts, but nothing falls in {}: it lacks its main script and default scene (in system), "
    "or the plugin of the scene's physics engine; install CoppeliaSim from its binary release"
)


class CoppeliaBackend:
    """A scene of CoppeliaSim, stepped; see :class:`envs.Backend` for what each method promises.

    Every reset stops and starts the simulation, which puts back whatever an episode has bent or broken: an
    episode is the same to the last bit whatever ran before it, and costs 12 ms more.

    Args:
        scene: a .ttt file, with a card (see card.py) unless its objects have the names of the book's; None
            builds the workplace that MuJoCo has.
        window: show the simulator's own window.
        reinit_every: also end and launch the simulator after so many episodes; None: only when its state is
            not finite.

    Raises:
        BackendError: the scene or a model file is missing, the scene lacks an object, its card is wrong,
            nothing is simulated, a simulator already runs in this process.
    """

    def __init__(
        self, scene: str | None = None, window: bool = False, reinit_every: int | None = None
    ) -> None:
        if scene is not None and not Path(scene).is_file():
            raise BackendError(f"there is no scene {scene}: --scene names a .ttt file of CoppeliaSim")
        self._scene = None if scene is None else str(Path(scene).resolve())
        if self._scene is not None and not self._scene.isascii():
            raise BackendError(f"PyRep takes paths of ASCII letters alone: give {self._scene} another name")
        self._card = Card() if self._scene is None else read_card(self._scene)
        self._window, self._reinit_every = window, reinit_every
        self._simulator: Any = None
        self._launch(first=True)

    def _launch(self, first: bool = False) -> None:
        self._episodes, self._broken = 0, False
        self._simulator = simulator = launch(self._scene, self._window)
        try:
            self.version = version()
            if not math.isclose(simulator.get_simulation_timestep(), CONTROL_TIMESTEP, rel_tol=1e-3):
                simulator.set_simulation_timestep(CONTROL_TIMESTEP)
            if self._scene is None:
                build(simulator)
            idle_cameras()
            name = self._scene or "the built scene"
            parts = find_parts(name, self._card)
            if first and not falls(simulator, parts.target):
                raise BackendError(NOTHING_FALLS.format(name))
            self._measure(parts)
            own_encoding()
        except BaseException as error:
            self.close()
            if isinstance(error, BackendError) and strange(self.version):
                raise BackendError(f"{error} ({strange(self.version)})") from error
            raise

    def _measure(self, parts: Parts) -> None:
        """What does not change while the simulator runs; the arm's motors hold the velocity they are told."""
        for joint in parts.arm.joints:
            take_control(joint)
            joint.set_motor_locked_at_zero_velocity(True)
        for finger in parts.gripper.joints:
            take_control(finger)
        self._physics_steps = round(CONTROL_TIMESTEP / physics_timestep())
        self._hand = parts.gripper
        self._joints = [joint.get_handle() for joint in parts.arm.joints]
        self._fingers = [finger.get_handle() for finger in parts.gripper.joints]
        self._object, self._table, self._gripper = (
            part.get_handle() for part in (parts.target, parts.table, parts.gripper)
        )
        self._left, self._right = (pad.get_handle() for pad in parts.pads)
        self._sensor = parts.sensor.get_handle()
        self.arm = arm_of(self._card, parts.arm.joints)
        self._still = np.zeros(self.arm.joints)
        self._base = np.array(parts.arm.joints[0].get_position()) - (0.0, 0.0, self.arm.first_joint)
        self._table_top = bounds(parts.table)[2, 1]
        target = np.array(parts.target.get_position())
        self._object_rest = self._table_top + target[2] - bounds(parts.target)[2, 0]
        self._object_sides = fitting_sides(parts.target)
        self._measure_gripper(parts)
        self.workplace = workplace(self._scene, self._card, parts.table, target, self._base)
        middle = np.append(self.workplace.target_region.mean(axis=1), self._table_top - self._base[2])
        self._cameras = Cameras(self._base, middle, self.arm.size, self._tool(), parts.gripper)

    def _measure_gripper(self, parts: Parts) -> None:
        fingers = parts.gripper.joints
        ranges = np.array(
            [finger.get_joint_interval()[1] for finger in fingers]
        )  # lowest, and how far from there
        self._finger_low, self._finger_range = ranges[:, 0], ranges[:, 1]
        slides = [finger.get_joint_type() == JointType.PRISMATIC for finger in fingers]
        self._finger_speed = np.where(slides, FINGER_SPEED, FINGER_TURN)
        # PyRep's classes of grippers with closed chains of links measure their opening at other joints than
        # the motors', and do not let the motors be set.
        self._linked_fingers = type(parts.gripper).get_open_amount is not Gripper.get_open_amount
        left, right = (np.array(pad.get_position(parts.gripper)) for pad in parts.pads)
        across = (left - right) / np.linalg.norm(left - right)
        approach = np.array(parts.sensor.get_matrix(parts.gripper))[:3, 2]
        self._tool_offset = (left + right) / 2
        self._tool_turn = np.column_stack([np.cross(across, approach), across, approach])

    def reset(self, joint_positions: np.ndarray, object_xy: np.ndarray, object_yaw: float) -> Readings:
        self._relaunch_if_due()
        self._simulator.stop()
        for joint, position in zip(self._joints, joint_positions, strict=True):
            sim.simSetJointPosition(joint, float(position))
            sim.simSetJointTargetVelocity(joint, 0.0)
        if not self._linked_fingers:
            for finger, low, length in zip(self._fingers, self._finger_low, self._finger_range, strict=True):
                sim.simSetJointPosition(finger, float(low + length))
        self._place_object(object_xy, object_yaw)
        self._simulator.start()
        readings = self.step(self._still, 1.0)
        own_encoding()
        return readings

    def _relaunch_if_due(self) -> None:
        self._episodes += 1
        if self._broken or (self._reinit_every is not None and self._episodes > self._reinit_every):
            self.close()
            self._launch()
            self._episodes = 1

    def _place_object(self, xy: np.ndarray, yaw: float) -> None:
        sim.simSetObjectOrientation(self._object, -1, [0.0, 0.0, float(yaw)])
        x, y = xy + self._base[:2]
        sim.simSetObjectPosition(self._object, -1, [float(x), float(y), float(self._object_rest)])

    def step(self, joint_velocities: np.ndarray, opening: float | None) -> Readings:
        for joint, velocity in zip(self._joints, joint_velocities, strict=True):
            sim.simSetJointTargetVelocity(joint, float(velocity))
        if opening is not None:
            self._opening = min(max(opening, 0.0), 1.0)
        goals = self._finger_low + self._opening * self._finger_range
        speeds = (goals - self._finger_positions()) / CONTROL_TIMESTEP
        if self._opening == 0.0:
            speeds[:] = -np.inf  # goes on pressing
        speeds = np.clip(speeds, -self._finger_speed, self._finger_speed)
        for finger, speed in zip(self._fingers, speeds, strict=True):
            sim.simSetJointTargetVelocity(finger, float(speed))
        self._simulator.step()
        return self._read()

    def jacobian(self) -> np.ndarray:
        tool, _ = self._tool()
        jacobian = np.empty((6, len(self._joints)))
        for column, joint in enumerate(self._joints):
            frame = np.array(sim.simGetObjectMatrix(joint, -1)).reshape(3, 4)
            axis = frame[:, 2]
            jacobian[:3, column] = np.cross(axis, tool - frame[:, 3])
            jacobian[3:, column] = axis
        return jacobian

    def render(self, camera: str, width: int, height: int, marks: Marks = ()) -> np.ndarray:
        return self._cameras.show(width, height)

    def see(self, cameras: tuple[str, ...], size: int) -> dict[str, np.ndarray]:
        return self._cameras.see(cameras, size)

    def show(self, marks: Marks = ()) -> None:
        if not self._window:
            raise BackendError("CoppeliaSim was started without its window")

    def close(self) -> None:
        if self._simulator is not None:
            end(self._simulator)
            self._simulator = None

    def _finger_positions(self) -> np.ndarray:
        return np.array([sim.simGetJointPosition(finger) for finger in self._fingers])

    def _open_share(self) -> float:
        if self._linked_fingers:
            return float(np.mean(self._hand.get_open_amount()))
        shares = (self._finger_positions() - self._finger_low) / self._finger_range
        return float(min(max(shares.mean(), 0.0), 1.0))

    def _tool(self) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) and rotation (3, 3) of the tool-centre point in the world."""
        frame = np.array(sim.simGetObjectMatrix(self._gripper, -1)).reshape(3, 4)
        return frame[:, :3] @ self._tool_offset + frame[:, 3], frame[:, :3] @ self._tool_turn

    def _read(self) -> Readings:
        positions = np.array([sim.simGetJointPosition(joint) for joint in self._joints])
        velocities = np.array(
            [
                sim.simGetObjectFloatParameter(joint, sim.sim_jointfloatparam_velocity)
                for joint in self._joints
            ]
        )
        tool, rotation = self._tool()
        thing = np.array(sim.simGetObjectMatrix(self._object, -1)).reshape(3, 4)
        if not (
            np.abs(velocities).max() < MAX_SPEED and np.isfinite(positions.sum() + tool.sum() + thing.sum())
        ):
            self._broken = True
            raise BackendError(
                "the state of CoppeliaSim is no longer finite, as when the gripper breaks: the next "
                "reset launches it anew"
            )
        left, right, table = self._contacts(rotation[:, 1])
        return Readings(
            joint_positions=positions,
            joint_velocities=velocities,
            tool_position=tool - self._base,
            tool_rotation=rotation,
            object_position=thing[:, 3] - self._base,
            object_rotation=thing[:, :3].copy(),
            opening=self._open_share(),
            left_contact=left,
            right_contact=right,
            table_contact=table,
            proximity=sim.simCheckProximitySensor(self._sensor, self._object)[0] == 1,
            table_height=float(self._table_top - self._base[2]),
            base_position=self._base,
            object_sides=self._object_sides,
        )

    def _contacts(self, across: np.ndarray) -> tuple[bool, bool, bool]:
        """Whether the left pad presses on the object along the fingers' line (``across``), the right pad
        does, the robot touches the table.

        The simulator lists the contacts of every physics step in the control step, so the forces are a mean.
        """
        left = right = 0.0
        for contact in sim.simGetContactInfo(self._object, True):
            handles = contact["contact_handles"]
            if self._left in handles or self._right in handles:
                numbers = np.array(contact["contact"])  # place, force, normal
                if abs(numbers[6:] @ across) > FACING:
                    force = abs(numbers[3:6] @ across) / self._physics_steps
                    left, right = (left + force, right) if self._left in handles else (left, right + force)
        table = any(
            self._object not in contact["contact_handles"]
            for contact in sim.simGetContactInfo(self._table, False)
        )
        return left > PRESSED, right > PRESSED, table
