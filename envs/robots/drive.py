"""From joint velocities and an opening to the commands of a compiled world. Positions are those of MjData."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from envs.backends.base import CONTROL_TIMESTEP
from envs.robots.card import Gripper, RobotCard


class ArmDrive:
    """Holds joint velocities by the actuators of :func:`envs.robots.spec.robot_spec`.

    A position servo's target is a state of the simulation (``data.act``): it moves by itself at the commanded
    velocity, and never further from its joint than the servo needs to be as fast or as strong as it can.
    """

    def __init__(self, model: Any, card: RobotCard) -> None:
        joints = [model.joint(name).id for name in card.arm_joints]
        self.actuators = np.array([model.actuator(name).id for name in card.arm_joints])  # (J,)
        self._commands = run(self.actuators.tolist())
        self.positions = model.jnt_qposadr[joints]  # (J,) addresses in qpos
        self.velocities = model.jnt_dofadr[joints]  # (J,) addresses in qvel
        first = model.actuator_actadr[self.actuators]
        self._servos = first >= 0  # (J,) which have a target
        self._targets = first[self._servos]  # addresses in act
        self._followers = self.positions[self._servos]
        chosen, dofs = self.actuators[self._servos], self.velocities[self._servos]
        self._stiffness = -model.actuator_biasprm[chosen, 1]
        damping = model.dof_damping[dofs] - model.actuator_biasprm[chosen, 2]
        speed = np.array(card.speed)[self._servos]
        strength = model.actuator_forcerange[chosen, 1]
        self._lead = (strength + damping * speed) / self._stiffness + speed * CONTROL_TIMESTEP
        self._strength = strength
        self._loads = dofs
        self.has_targets = bool(self._servos.any())

    def reset(self, data: Any) -> None:
        """Let the arm stand where ``data.qpos`` has it; after mj_forward."""
        data.ctrl[self.actuators] = 0.0
        if self.has_targets:
            load = (data.qfrc_bias - data.qfrc_passive)[self._loads]
            held = np.clip(load, -self._strength, self._strength) / self._stiffness
            data.act[self._targets] = data.qpos[self._followers] + held

    def command(self, data: Any, velocities: np.ndarray) -> None:
        """(J,) rad/s, from now on."""
        data.ctrl[self._commands] = velocities
        if self.has_targets:
            joints = data.qpos[self._followers]
            targets = np.minimum(
                np.maximum(data.act[self._targets], joints - self._lead), joints + self._lead
            )
            data.act[self._targets] = targets


class GripperDrive:
    """Opens and closes, 0 closed … 1 open."""

    def __init__(self, model: Any, gripper: Gripper) -> None:
        self._commands = run([model.actuator(name).id for name in gripper.drives])
        self._closed, opened = np.array(list(gripper.drives.values())).T  # (D,) each
        self._range = opened - self._closed
        # (address, sign of opening, closed) of each joint that tells how far it is open
        self._joints = [
            (int(model.joint(name).qposadr[0]), math.copysign(1.0, opened - closed), closed)
            for name, (closed, opened) in gripper.joints.items()
        ]
        self._ends = tuple(gripper.joints.values())
        self._way = sum(abs(opened - closed) for closed, opened in self._ends)

    def reset(self, data: Any, opening: float = 1.0) -> None:
        """Put the joints that the card names, and the commands, there."""
        for (address, _, closed), (_, opened) in zip(self._joints, self._ends, strict=True):
            data.qpos[address] = closed + (opened - closed) * opening
        self.command(data, opening)

    def command(self, data: Any, opening: float) -> None:
        data.ctrl[self._commands] = self._closed + self._range * min(max(opening, 0.0), 1.0)

    def opening(self, qpos: np.ndarray) -> float:
        """``qpos``: MjData's."""
        way = sum([sign * (qpos[address] - closed) for address, sign, closed in self._joints])
        return float(min(max(way / self._way, 0.0), 1.0))


def pads(model: Any) -> tuple[frozenset[int], frozenset[int]]:
    """The geoms of the left and of the right finger that touch objects."""
    names = [model.geom(index).name for index in range(model.ngeom)]
    left, right = (
        frozenset(i for i, name in enumerate(names) if name.startswith(f"{side}_pad"))
        for side in ("left", "right")
    )
    return left, right


def run(places: list[int]) -> slice | list[int]:
    """As a slice where they follow each other, which is quicker."""
    if places and places == list(range(places[0], places[0] + len(places))):
        return slice(places[0], places[-1] + 1)
    return places
