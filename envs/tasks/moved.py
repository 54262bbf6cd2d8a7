"""Demonstrations for other places of the object, from a few that were given: the tool's path is kept as the
object saw it.

MimicGen's idea (Mandlekar et al. 2023, arXiv 2310.17596) for one object: a source episode's path of the tool,
relative to the object, is moved to where the object lies now, and followed with a closed loop on the tool.
The way up to it is bent so that it begins where the tool is now; with a goal, the way after the grasp is bent
so that it ends there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np

from envs.backends.base import Readings
from envs.robots.arm import YAW_RATE
from envs.tasks.arm import ArmEnv
from envs.tasks.goals import PickAndPlaceEnv
from envs.tasks.grasp import GraspEnv
from envs.tasks.lift import ClutterEnv, LiftEnv

TASKS = (GraspEnv, LiftEnv, PickAndPlaceEnv)
GAIN = 12.0  # 1/s from a distance to a velocity
NEAR = 0.02  # m of the tool from the path, for an arm of the Sawyer's size: farther behind, the path waits
EXACT, STRAIGHT = 0.006, 0.05  # m, the same, and rad: before the gripper closes
PATIENCE = 12  # control steps that the path waits at most for one of its points
FARTHER = 5  # steps that a lift goes on as it ended
BENT = 0.7  # of the way to the object, in which the path comes to lie as the object saw it
GOAL = "the goal, in the base frame"  # meaning of an entry of observations


class Path(NamedTuple):
    """Of a source episode of T steps; lengths in m."""

    tool: np.ndarray  # (T + 1, 3)
    turn: np.ndarray  # (T + 1,) rad, of the fingers from the nearest side of the object that they fit
    command: np.ndarray  # (T,) of the gripper, in [-1, 1]; empty: it has none
    thing: np.ndarray  # (3,) where the object lay
    goal: np.ndarray | None  # (3,)
    grasp: int  # the step at which the gripper begins to close on the object
    held: int  # and that at which both fingers press


def path_of(env: gymnasium.Env[Any, Any], observations: np.ndarray, actions: np.ndarray) -> Path:
    """The path in observations (T + 1, O) and actions (T, A) of a source episode of ``env``.

    Raises ValueError, in one line, for a task that this is not for, or where nothing is grasped.
    """
    task = task_of(env)
    size, sides = task.size, max(task.scenes[0].objects[0].sides, 1)
    observed = observations[:, -len(task._high) :].astype(np.float64)  # goals lie before it
    first = 2 * task.arm.joints
    sine, cosine = observed[:, first + 12], observed[:, first + 13]
    command = actions[:, -1].astype(np.float64) if task.gripper_action else np.empty(0)
    return Path(
        observed[:, first + 3 : first + 6] * size,
        np.unwrap(np.arctan2(sine, cosine)) / sides,
        command,
        observed[0, first : first + 3] * size,
        _goal(task, observed, size),
        *_grasp(observed[:, first + 15 : first + 17], command),
    )


def task_of(env: gymnasium.Env[Any, Any]) -> ArmEnv:
    """Raises ValueError unless its episodes can be moved."""
    task = env.unwrapped
    if not isinstance(task, TASKS) or isinstance(task, ClutterEnv):
        raise ValueError(f"it is for Grasp, Lift and PickAndPlace, not for {type(task).__name__}")
    if task.observation_mode != "relative":
        raise ValueError("observations of the book do not tell where the tool is")
    if len({scene.objects[0].sides for scene in task.scenes}) > 1:
        raise ValueError(
            "fingers take its objects from different numbers of sides: give one kind of --objects"
        )
    return task


def _goal(task: ArmEnv, observed: np.ndarray, size: float) -> np.ndarray | None:
    before = 0
    for entry in task.entries:
        if entry.meaning == GOAL:
            goal: np.ndarray = observed[0, before : before + 3] * size
            return goal
        before += entry.size
    return None


def _grasp(pressed: np.ndarray, command: np.ndarray) -> tuple[int, int]:
    """Where the gripper begins to close before both fingers press, and where they do; of a hand that closes
    by itself: the end.
    """
    if not len(command):
        return len(pressed) - 1, len(pressed) - 1
    held = np.flatnonzero((pressed > 0.5).all(axis=1))
    if not len(held):
        raise ValueError("nothing is grasped in it")
    opened = np.flatnonzero(command[: held[0]] >= 0.0)
    return int(opened[-1]) + 1 if len(opened) else 0, int(held[0])


class Moved:
    """Acts in the episode that ``env`` has just begun, as in the source but where the object lies now."""

    def __init__(self, env: gymnasium.Env[Any, Any], path: Path) -> None:
        self.env, self.path = task_of(env), path
        at = self.env.readings
        assert at is not None, "reset the environment first"
        self._turns = self._turned(at)
        self._points = self._moved(at, self._turns[0] - _fingers(at))
        if isinstance(self.env, LiftEnv):  # a quick source ends in the middle of its way up
            onwards = np.arange(1, FARTHER + 1)[:, None] * (self._points[-1] - self._points[-2])
            self._points = np.concatenate([self._points, self._points[-1] + onwards])
        self._place, self._waited = 0, 0

    def act(self) -> np.ndarray:
        """The action (A,) float32 in [-1, 1] for the environment's present instant."""
        env, at = self.env, self.env.readings
        assert at is not None
        self._advance(at)
        here = self._place
        speed = env.arm.tool_speed
        linear = np.clip(GAIN * (self._points[here] - at.tool_position), -speed, speed)
        yaw_rate = float(
            np.clip(
                GAIN * _wrapped(self._turns[min(here, len(self._turns) - 1)] - _fingers(at)),
                -YAW_RATE,
                YAW_RATE,
            )
        )
        action = env.controller.towards(linear, np.array([0.0, 0.0, yaw_rate]), at, env.backend)
        if env.gripper_action:
            action = np.append(action, self.path.command[min(here, len(self.path.command) - 1)])
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def _turned(self, at: Readings) -> np.ndarray:
        """(T + 1,) rad, the fingers' angle: that of the object's side now and theirs from it then, on the
        side which is nearest to them.
        """
        period = 2.0 * np.pi / max(at.object_sides, 1)
        side = np.arctan2(at.object_rotation[1, 0], at.object_rotation[0, 0])
        turns = side + self.path.turn
        turns += period * np.round((_fingers(at) - turns[0]) / period)
        turns[self.path.held :] = turns[self.path.held]  # from there on the object turns with them
        return turns if at.object_sides else np.full(len(turns), _fingers(at))

    def _moved(self, at: Readings, turn: float) -> np.ndarray:
        """(T + 1, 3) m, the tool's way; ``turn``: of the object, in rad."""
        path, grasp = self.path, self.path.grasp
        cosine, sine = np.cos(turn), np.sin(turn)
        rotation = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
        points = at.object_position + (path.tool - path.thing) @ rotation.T
        done = np.clip(_way(path.tool[: grasp + 1]) / BENT, 0.0, 1.0)[:, None]
        points[: grasp + 1] += (1.0 - done) * (at.tool_position - points[0])
        if path.goal is not None and isinstance(self.env, PickAndPlaceEnv):
            held = path.held
            in_hand = points[held] - at.object_position  # of the tool from the object, now and then
            in_hand_then = path.tool[held] - path.thing
            end = self.env.goal + in_hand - (path.goal + in_hand_then)
            begin = points[held] - path.tool[held]
            share = _way(path.tool[held:])[:, None]
            points[held:] = path.tool[held:] + (1.0 - share) * begin + share * end
        return points

    def _advance(self, at: Readings) -> None:
        """To the path's next point, unless the tool is too far from this one."""
        path, size, here = self.path, self.env.size, self._place
        away = float(np.linalg.norm(self._points[here] - at.tool_position))
        if here == path.held and len(path.command):
            is_near = at.left_contact and at.right_contact
        elif path.grasp - 1 <= here < path.held and len(path.command):
            aside = abs(_wrapped(self._turns[here] - _fingers(at)))
            is_near = away < EXACT * size and aside < STRAIGHT
        else:
            is_near = away < NEAR * size
        self._waited = 0 if is_near else self._waited + 1
        if is_near or self._waited > PATIENCE:
            self._place, self._waited = min(here + 1, len(self._points) - 1), 0


def _fingers(at: Readings) -> float:
    """rad, the fingers' line from above."""
    return float(np.arctan2(at.tool_rotation[1, 1], at.tool_rotation[0, 1]))


def _wrapped(angle: float) -> float:
    return float((angle + np.pi) % (2.0 * np.pi) - np.pi)


def _way(points: np.ndarray) -> np.ndarray:
    """(n,) how much of the way through ``points`` (n, 3) is done at each, from 0 to 1."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    done = np.append(0.0, np.cumsum(steps))
    return done / done[-1] if done[-1] > 0.0 else np.ones(len(points))
