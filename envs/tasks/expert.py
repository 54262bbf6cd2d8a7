"""Scripted experts: they show that the tasks can be done, and make demonstrations. They steer the tool, so
they work with any robot and any control.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from envs.backends.base import Readings
from envs.robots.arm import YAW_RATE
from envs.tasks import terms
from envs.tasks.arm import ArmEnv
from envs.tasks.assembly import AssemblyEnv
from envs.tasks.fixtures import ButtonEnv, DrawerEnv
from envs.tasks.goals import PickAndPlaceEnv, PushEnv
from envs.tasks.grasp import GraspEnv
from envs.tasks.lift import LiftEnv
from envs.tasks.reach import ReachEnv

APPROACH_GAIN = 8.0  # 1/s from a distance to a velocity
CARRY_GAIN = 4.0  # 1/s, the same with an object in the hand
OVER_TOP = 0.03  # m of the tool above the object's top: the finger tips pass over it
ALIGNED = 0.012  # m and, alike, 0.1 rad: below it the fingers go down around the object
GRASP_DEPTH = 0.005  # m above the object's centre, where the gripper closes
EXACTLY = 2.0  # times that gain to the sides once it is above its place
LOWERING = 0.25  # of the tool's speed, down to its place
LIFT_SPEED = 0.3  # m/s
HEIGHT_OF_CARRYING = 0.05  # m of a held object above its place, for an arm of the Sawyer's size
TIPS = 0.21  # of the fingers' width that they reach below the tool
BEHIND = 0.035  # m of the tool behind what it pushes: hands of small arms are not much thinner
PUSH = 0.05  # m ahead of the tool that it is told to go to, for an arm of the Sawyer's size
OPEN, CLOSED = 1.0, 0.0

Plan = tuple[np.ndarray, float, float]  # tool velocity (3,) m/s, yaw rate rad/s, opening 0 … 1


class Expert:
    """Acts in one of the tasks from its present Readings; deterministic, keeps no memory.

    Example: ``expert = Expert(env); env.reset(seed=0); env.step(expert.act())``.

    Raises:
        ValueError: there is no script for the task.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        task = env.unwrapped
        plan = next((PLANS[kind] for kind in type(task).__mro__ if kind in PLANS), None)
        if not isinstance(task, ArmEnv) or plan is None:
            known = ", ".join(kind.__name__.removesuffix("Env") for kind in PLANS)
            raise ValueError(f"there are scripts for {known}, not for {type(task).__name__}")
        self.env, self._plan = task, plan

    def act(self) -> np.ndarray:
        """The action (A,) float32 in [-1, 1] for the environment's present instant."""
        env, readings = self.env, self.env.readings
        assert readings is not None, "reset the environment first"
        linear, yaw_rate, opening = self._plan(env, readings)
        speed = env.arm.tool_speed
        linear = np.clip(linear, -speed, speed)
        arm = env.controller.towards(linear, np.array([0.0, 0.0, yaw_rate]), readings, env.backend)
        action = np.append(arm, 2.0 * opening - 1.0) if env.gripper_action else arm
        return np.clip(action, -1.0, 1.0).astype(np.float32)


def reach(env: Any, at: Readings) -> Plan:
    return APPROACH_GAIN * (at.object_position - at.tool_position), 0.0, CLOSED


def take(env: Any, at: Readings) -> Plan:
    """Over the object, turn, down, close."""
    offset = at.object_position - at.tool_position
    yaw = terms.yaw_error(at)
    across = float(np.hypot(offset[0], offset[1]))
    misaligned = max(across, 0.12 * abs(yaw)) - ALIGNED
    over = half_height(at) + OVER_TOP
    offset[2] += GRASP_DEPTH + (min(over, 6.0 * misaligned + 0.045) if misaligned > 0 else 0.0)
    linear = np.clip(APPROACH_GAIN * offset, -env.arm.tool_speed, env.arm.tool_speed)
    closing = misaligned <= 0 and abs(offset[2]) < 0.01
    if closing:
        linear[:] = 0.0
    return linear, float(np.clip(-APPROACH_GAIN * yaw, -YAW_RATE, YAW_RATE)), CLOSED if closing else OPEN


def half_height(at: Readings) -> float:
    return float(at.object_half[2]) if at.object_half.shape == (3,) else 0.03  # CoppeliaSim's box


def lift(env: Any, at: Readings) -> Plan:
    if terms.is_held(at):
        return np.array([0.0, 0.0, LIFT_SPEED]), 0.0, CLOSED
    return take(env, at)


def place(env: Any, at: Readings) -> Plan:
    if not terms.is_held(at):
        return take(env, at)
    offset = env.goal - at.object_position
    return carry(offset, 0.03 * env.size, HEIGHT_OF_CARRYING * env.size, env.arm.tool_speed), 0.0, CLOSED


def carry(offset: np.ndarray, near: float, above: float, speed: float) -> np.ndarray:
    """(3,) m/s for a held object with ``offset`` (3,) m to its place: first up, then over it, then down."""
    up = -offset[2]
    if float(np.hypot(offset[0], offset[1])) > (near if up > 0.9 * above else 2.0 * near):
        step = np.add(offset, (0.0, 0.0, above))
        if step[2] > 0.4 * above:
            step[:2] *= 0.2
        elif up > 0.9 * above:
            step[:2] *= EXACTLY
        return CARRY_GAIN * step
    step = CARRY_GAIN * offset * [EXACTLY, EXACTLY, 1.0]
    step[2] = max(step[2], -LOWERING * speed)  # a quick arm drifts to the side
    return step


def assemble(env: Any, at: Readings) -> Plan:
    """Take, carry above its place, lower, let go, and up."""
    there = env.there(at)
    touched = at.left_contact or at.right_contact
    if there and (touched or at.opening < 0.9):
        return np.zeros(3), 0.0, OPEN
    if there:
        return np.array([0.0, 0.0, LIFT_SPEED]), 0.0, OPEN
    if not (touched and at.proximity and at.opening < 0.9):
        return take(env, at)
    offset = env.place(at) - at.object_position
    return carry(offset, env.exact * env.size, env.carry, env.arm.tool_speed), 0.0, CLOSED


def push(env: Any, at: Readings) -> Plan:
    """Behind the object, down, and on towards the goal, with the fingers' line across the way."""
    way = (env.goal - at.object_position)[:2]
    left = float(np.linalg.norm(way))
    ahead = way / max(left, 1e-6)
    behind = float(at.object_half[:2].max()) + min(BEHIND, 0.5 * env.fitting_width)
    offset = at.object_position[:2] - at.tool_position[:2]
    along, aside = float(offset @ ahead), float(abs(offset[0] * ahead[1] - offset[1] * ahead[0]))
    fingers, across_way = (
        np.arctan2(at.tool_rotation[1, 1], at.tool_rotation[0, 1]),
        np.arctan2(ahead[0], -ahead[1]),
    )
    turn = np.pi / 2 - (np.pi / 2 - (across_way - fingers)) % np.pi
    yaw_rate = float(np.clip(APPROACH_GAIN * turn, -YAW_RATE, YAW_RATE))
    low = at.table_height + TIPS * env.fitting_width + 0.25 * half_height(at)
    is_low = at.tool_position[2] < low + 0.7 * half_height(at)
    if along > 0.4 * behind and aside < (0.03 if is_low else 0.012) * env.size and is_low:
        down = low - at.tool_position[2]
        if at.left_contact or at.right_contact or along < behind - 0.01:
            down = min(down + 0.25 * half_height(at), 0.0)  # what is pressed down does not slide
        step = np.append(ahead * min(left + 0.02 * env.size, PUSH * env.size), down)
        step[:2] += offset - along * ahead  # back into the line
        return APPROACH_GAIN * step, yaw_rate, CLOSED
    target = np.append(at.object_position[:2] - behind * ahead, low)
    if float(np.linalg.norm((target - at.tool_position)[:2])) > 0.01 * env.size:
        target[2] = at.table_height + 2.0 * half_height(at) + OVER_TOP
    return APPROACH_GAIN * (target - at.tool_position), yaw_rate, CLOSED


def open_drawer(env: Any, at: Readings) -> Plan:
    """Down between bar and front, and back."""
    out = at.object_rotation[:, 1]  # the way that it opens
    offset = at.object_position - at.tool_position
    along = float(offset @ out)  # of the bar before the tool
    aside = float(abs(offset[0] * out[1] - offset[1] * out[0]))
    hooked = along > 0.005 * env.size and aside < 0.05 * env.size and offset[2] > -0.012 * env.size
    if hooked:
        return APPROACH_GAIN * (0.03 * env.size * out + [0.0, 0.0, offset[2] - 0.005 * env.size]), 0.0, CLOSED
    target = at.object_position - 0.5 * env.gap * env.size * out
    if float(np.linalg.norm((target - at.tool_position)[:2])) > 0.006 * env.size:
        target[2] += 0.09 * env.size  # over the chest
    return APPROACH_GAIN * (target - at.tool_position), 0.0, CLOSED


def press(env: Any, at: Readings) -> Plan:
    offset = at.object_position - at.tool_position
    if float(np.hypot(offset[0], offset[1])) > 0.015 * env.size:
        offset[2] += 0.04 * env.size
    else:
        offset[2] -= 0.03 * env.size
    return APPROACH_GAIN * offset, 0.0, CLOSED


PLANS: dict[type, Callable[[Any, Readings], Plan]] = {
    ReachEnv: reach,
    GraspEnv: lift,
    LiftEnv: lift,
    PushEnv: push,
    PickAndPlaceEnv: place,
    AssemblyEnv: assemble,
    DrawerEnv: open_drawer,
    ButtonEnv: press,
}
