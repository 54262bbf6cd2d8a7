"""What a robot does with its card in a simulation: it moves, opens and closes, holds a box and lifts it."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from envs.backends.base import CONTROL_TIMESTEP, BackendError
from envs.robots.card import RobotCard
from envs.robots.drive import ArmDrive, GripperDrive, pads
from envs.robots.reach import Kinematics
from envs.robots.spec import robot_spec, set_physics

BOX = 0.28  # half of the box's sides, in widths of the gripper; it is 1.5 times as high
BOX_MASS = 0.1  # kg
SETTLE = 10  # control steps
PRESSES = 0.5  # N
LIFT, LIFT_SPEED = 0.1, 0.3  # m and m/s, for an arm of size 1
FINER = 5  # times the steps to compare with
SAME_WAY = 0.1  # of the opening, by which the two may differ
HELD = 0.7  # share of the lift that the box must make
FOLLOWS = 0.6  # share of a commanded velocity that a joint must reach
DAMPING = 1e-4
TILTED, BESIDE = 30.0, 0.1  # ° and m, for an arm of size 1, by which home may be off
FAR = 10.0  # m, where the box waits


class Trial:
    """The robot above its table, with a box."""

    def __init__(self, card: RobotCard) -> None:
        self.card = card
        spec = robot_spec(card, looks=False)
        set_physics(spec, card.timestep)
        (left, right), (near, far) = card.region
        centre = [(left + right) / 2, (near + far) / 2, card.table_height - 0.02]
        size = [(right - left) / 2 + 0.1 * card.size, (far - near) / 2 + 0.1 * card.size, 0.02]
        box = mujoco.mjtGeom.mjGEOM_BOX
        spec.worldbody.add_geom(name="table", type=box, pos=centre, size=size, contype=1, conaffinity=0)
        spec.worldbody.add_geom(
            type=box, pos=[FAR, 0, card.table_height - 0.02], size=[0.1, 0.1, 0.02], contype=1
        )
        self.side = BOX * (card.gripper.width if card.gripper is not None else 0.07)
        half = [self.side, self.side, 1.5 * self.side]
        body = spec.worldbody.add_body(name="object", pos=[FAR, 0, card.table_height + half[2]])
        body.add_freejoint(name="object")
        body.add_geom(name="box", type=box, size=half, mass=BOX_MASS, contype=2, conaffinity=1)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.arm = ArmDrive(self.model, card)
        self.gripper = None if card.gripper is None else GripperDrive(self.model, card.gripper)
        self.kinematics = Kinematics(self.model, card.arm_joints)
        self.substeps = round(CONTROL_TIMESTEP / card.timestep)
        self._pads = pads(self.model)
        self._box = self.model.joint("object").qposadr[0]

    def reset(self, joint_positions: np.ndarray) -> None:
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[self.arm.positions] = joint_positions
        if self.gripper is not None:
            self.gripper.reset(self.data)
        mujoco.mj_forward(self.model, self.data)
        self.arm.reset(self.data)

    def step(self, velocities: np.ndarray | None = None, steps: int = 1) -> None:
        """Control steps. Raises BackendError when the state is no longer finite."""
        for _ in range(steps):
            self.arm.command(self.data, np.zeros(len(self.card.home)) if velocities is None else velocities)
            mujoco.mj_step(self.model, self.data, self.substeps)
            if not np.isfinite(self.data.qpos).all() or np.abs(self.data.qvel).max() > 1e4:
                raise BackendError(
                    f"{self.card.model}: the physics is not finite with time steps of "
                    f"{self.card.timestep * 1000:g} ms: see the model's inertias and gains, or give the "
                    "card a shorter timestep"
                )

    def joints_follow(self) -> list[str]:
        troubles = []
        for index, name in enumerate(self.card.arm_joints):
            self.reset(np.array(self.card.home))
            command = np.zeros(len(self.card.home))
            middle = (self.kinematics.lowest + self.kinematics.highest)[index] / 2
            command[index] = 0.5 * self.card.speed[index] * (1.0 if self.card.home[index] < middle else -1.0)
            self.step(command, SETTLE // 2)
            start = self.data.qpos[self.arm.positions[index]]
            self.step(command)
            share = (self.data.qpos[self.arm.positions[index]] - start) / (command[index] * CONTROL_TIMESTEP)
            if share < FOLLOWS:
                troubles.append(
                    f"{name} reaches {share:.0%} of its commanded velocity: see its servo's forces"
                )
        return troubles

    def opens_and_closes(self) -> list[str]:
        """Wholly, and as with finer time steps: a linkage that is too stiff for its steps jams."""
        if self.gripper is None:
            return []
        coarse = self._closing()
        if coarse[0] < 0.8 or coarse[-1] > 0.2:
            return [
                f"the gripper opens to {coarse[0]:.0%} and closes to {coarse[-1]:.0%}: see its servos and "
                "drives"
            ]
        timestep, substeps = self.card.timestep, self.substeps
        self.model.opt.timestep, self.substeps = timestep / FINER, substeps * FINER
        fine = self._closing()
        self.model.opt.timestep, self.substeps = timestep, substeps
        if np.abs(coarse - fine).max() > SAME_WAY:
            return [
                f"the gripper closes otherwise with finer time steps than {timestep * 1000:g} ms: give the "
                "card a shorter timestep"
            ]
        return []

    def _closing(self) -> np.ndarray:
        """Openings: at rest, and after each control step of closing."""
        assert self.gripper is not None
        self.reset(np.array(self.card.home))
        self.gripper.command(self.data, 1.0)
        self.step(steps=2 * SETTLE)
        seen = [self.gripper.opening(self.data.qpos)]
        self.gripper.command(self.data, 0.0)
        for _ in range(2 * SETTLE):
            self.step()
            seen.append(self.gripper.opening(self.data.qpos))
        return np.array(seen)

    def holds(self) -> list[str]:
        """Close on the box where it stands in the region's middle, and lift it."""
        if self.gripper is None:
            return []
        (left, right), (near, far) = self.card.region
        place = np.array([(left + right) / 2, (near + far) / 2, self.card.table_height + 1.7 * self.side])
        over = self.kinematics.solve(place, np.array(self.card.home))
        if over is None:
            return ["the tool does not reach a box in the region's middle from home"]
        self.reset(over)
        self.step(steps=SETTLE)
        height = self.card.table_height + 1.5 * self.side
        self.data.qpos[self._box : self._box + 3] = [*self.data.site("tool").xpos[:2], height]
        yaw = np.arctan2(*self.data.site("tool").xmat.reshape(3, 3)[[0, 1], 1] * [-1, 1])
        self.data.qpos[self._box + 3 : self._box + 7] = np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)
        self.data.joint("object").qvel[:] = 0.0
        self.gripper.command(self.data, 0.0)
        self.step(steps=SETTLE)
        before = float(self.data.qpos[self._box + 2])
        way = min(LIFT, 0.25 * self.card.size)
        speed = LIFT_SPEED * self.card.size
        for _ in range(round(way / speed / CONTROL_TIMESTEP)):
            self.step(self._upward(speed))
        self.step(steps=SETTLE)
        risen = float(self.data.qpos[self._box + 2]) - before
        presses = self.presses()
        if min(presses) < PRESSES or risen < HELD * way:
            return [
                f"a box of {2000 * self.side:.0f} mm is not held: it rose {risen * 1000:.0f} of "
                f"{way * 1000:.0f} mm, the fingers press with {presses[0]:.1f} and {presses[1]:.1f} N"
            ]
        return []

    def _upward(self, speed: float) -> np.ndarray:
        """(J,) rad/s, up and upright."""
        model, data = self.model, self.data
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        jacobian = np.zeros((6, model.nv))
        mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], model.site("tool").id)
        jacobian = jacobian[:5, self.arm.velocities]
        approach = data.site("tool").xmat.reshape(3, 3)[:, 2]
        twist = np.array([0, 0, speed, -4 * approach[1], 4 * approach[0]])
        gram = jacobian @ jacobian.T + DAMPING * np.eye(5)
        velocities: np.ndarray = jacobian.T @ np.linalg.solve(gram, twist)
        return velocities / max(1.0, np.max(np.abs(velocities) / self.card.speed))

    def presses(self) -> tuple[float, float]:
        """N, of the left and of the right finger on the box."""
        box, forces = self.model.geom("box").id, [0.0, 0.0]
        for contact in self.data.contact:
            pair = {int(contact.geom1), int(contact.geom2)}
            if box in pair and contact.efc_address >= 0:
                for side in (0, 1):
                    if pair & self._pads[side]:
                        forces[side] += float(self.data.efc_force[contact.efc_address])
        return forces[0], forces[1]

    def touches_table(self) -> list[str]:
        """At home."""
        self.reset(np.array(self.card.home))
        table = self.model.geom("table").id
        for contact in self.data.contact:
            if table in (contact.geom1, contact.geom2):
                other = int(contact.geom1 if contact.geom2 == table else contact.geom2)
                name = self.model.body(self.model.geom_bodyid[other]).name
                return [f"{name} touches the table at home: see table_height and home"]
        return []

    def stands_over_region(self) -> list[str]:
        """At home, with the tool down."""
        self.kinematics.place(np.array(self.card.home))
        tilt = float(np.degrees(np.arccos(np.clip(-self.kinematics.tool_rotation[2, 2], -1.0, 1.0))))
        beside = np.abs(self.kinematics.tool_position[:2] - np.mean(self.card.region, axis=1))
        room = np.diff(self.card.region)[:, 0] / 2 + BESIDE * self.card.size
        if tilt > TILTED or (beside > room).any():
            return [
                f"at home the tool is tilted by {tilt:.0f}° and {1000 * np.hypot(*beside):.0f} mm beside "
                "the region's middle: home is where it points straight down over the region"
            ]
        return []

    def reaches_region(self) -> list[str]:
        """Its corners, from home, with the tool straight down."""
        missed = []
        for x in self.card.region[0]:
            for y in self.card.region[1]:
                if (
                    self.kinematics.solve(np.array([x, y, self.card.table_height]), np.array(self.card.home))
                    is None
                ):
                    missed.append(f"({x:g}, {y:g})")
        return (
            [f"the tool, straight down, does not reach {', '.join(missed)} of the region"] if missed else []
        )

    def troubles(self) -> list[str]:
        """Everything that does not work, one line each."""
        found: list[str] = []
        tests: list[Any] = [
            self.touches_table, self.stands_over_region, self.reaches_region, self.joints_follow,
            self.opens_and_closes, self.holds,
        ]  # fmt: skip
        for test in tests:
            try:
                found += test()
            except BackendError as error:
                found.append(str(error))
        return found
