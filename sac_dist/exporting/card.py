"""What a file says of its policy: observations, actions, units, robot, training, success."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

import envs
import sac_dist
from envs.backends.base import CONTROL_TIMESTEP
from envs.controllers import GRIPPER
from envs.robots.card import RobotCard
from envs.tasks.arm import ArmEnv
from sac_dist.acting.observation import in_order
from sac_dist.data.schema import PICTURE, PRIVILEGED, STATE, is_picture
from sac_dist.runner.card import FORMAT, VERSION
from sac_dist.settings import ConfigError, EnvConfig
from sac_dist.settings.environment import plain
from sac_dist.storage.checkpoint import Checkpoint

Leaf = tuple[tuple[str, ...], spaces.Space]


def parts_of(env: gymnasium.Env, config: EnvConfig, policy: Checkpoint, source: str) -> dict[str, Any]:
    """Plain JSON, for ``env`` as ``make_own_env`` made it of ``config``. Raises ConfigError for a space that
    no file can name.
    """
    task = env.unwrapped
    arm = task if isinstance(task, ArmEnv) else None
    fields = [
        field_of(path, space, policy.schema.stack)
        for path, space in leaves(env.observation_space)
        if path != (PRIVILEGED,)
    ]
    names = [field["name"] for field in fields]
    if len(set(names)) < len(names):
        raise ConfigError(f"the observation has two parts of one name: {', '.join(names)}")
    if arm is not None:
        described = next((field for field in fields if field["name"] in (STATE, "observation")), None)
        if described is not None and described["shape"] == [sum(entry.size for entry in arm.entries)]:
            described["entries"] = [listed(entry) for entry in arm.entries]
    return {
        "format": FORMAT,
        "version": VERSION,
        "sac_dist": sac_dist.__version__,
        "observation": fields,
        "action": action_of(env.action_space, arm),
        "control_period": control_period(env, arm),
        "robot": None if arm is None else robot_of(arm),
        "environment": environment_of(config),
        "training": {
            "policy": source,
            "steps": policy.info.get("steps"),
            "offline_updates": policy.info.get("offline_updates", 0),
            "settings": policy.config.to_dict(),
        },
        "measured": policy.info.get("evaluation"),
    }


def leaves(space: spaces.Space) -> Iterator[Leaf]:
    """Each part of an observation that is an array, in the order in which the trainer lays them out."""
    ordered = in_order(space)
    if isinstance(ordered, spaces.Dict):
        for name, part in ordered.spaces.items():
            yield from leaves_below((str(name),), part)
    else:
        yield from leaves_below((PICTURE if is_picture(ordered) else STATE,), ordered)


def leaves_below(path: tuple[str, ...], space: spaces.Space) -> Iterator[Leaf]:
    if isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            yield from leaves_below((*path, str(name)), part)
    elif isinstance(space, spaces.Tuple):
        for number, part in enumerate(space.spaces):
            yield from leaves_below((*path, str(number)), part)
    else:
        yield path, space


def field_of(path: tuple[str, ...], space: spaces.Space, stack: int = 1) -> dict[str, Any]:
    name = "/".join(path)
    field: dict[str, Any] = {"name": name, "path": list(path)}
    if isinstance(space, spaces.Box) and space.dtype is not None:
        ends = {"low": numbers(space.low), "high": numbers(space.high)}
        shape = list(space.shape)
        if stack > 1 and len(path) == 1 and is_picture(space):
            shape, field = [stack, *shape], field | {"stack": stack}
        return field | {"shape": shape, "dtype": space.dtype.name} | ends
    if isinstance(space, spaces.MultiBinary):
        return field | {"shape": list(space.shape), "dtype": "int8", "low": 0, "high": 1}
    if isinstance(space, spaces.Discrete):
        first, counts, shape = np.array([space.start]), np.array([space.n]), []
    elif isinstance(space, spaces.MultiDiscrete):
        first, counts, shape = space.start.ravel(), space.nvec.ravel(), list(space.shape)
    else:
        raise ConfigError(f"the observation's {name} is of {space}, which an exported file does not know")
    choices = np.stack([first, counts], axis=-1).tolist()
    ends = {"low": numbers(first), "high": numbers(first + counts - 1)}
    return field | {"shape": shape, "dtype": "int64", "choices": choices} | ends


def numbers(ends: np.ndarray) -> Any:
    """A bound as JSON has it: one number where all are alike, None for none."""
    listed = [float(end) if np.isfinite(end) else None for end in ends.ravel()]
    return listed[0] if listed and all(end == listed[0] for end in listed) else listed


def action_of(space: spaces.Space, arm: ArmEnv | None) -> dict[str, Any]:
    """``stop`` for the tasks of this package: all their controllers stand still at 0, and a gripper goes on
    holding what it holds.
    """
    assert isinstance(space, spaces.Box) and space.dtype is not None
    part: dict[str, Any] = {"shape": list(space.shape), "dtype": space.dtype.name}
    part |= {"low": space.low.ravel().tolist(), "high": space.high.ravel().tolist()}
    if arm is None:
        return part | {"stop": None, "held": [], "entries": None}
    entries = (*arm.controller.entries, *((GRIPPER,) if arm.gripper_action else ()))
    stop = np.zeros(space.shape)
    if arm.gripper_action:
        stop[-1] = 1.0  # open, before anything was sent
    held = [len(stop) - 1] if arm.gripper_action else []
    named = [{"meaning": entry.meaning, "1 is": entry.unit, "size": entry.size} for entry in entries]
    return part | {"stop": stop.tolist(), "held": held, "entries": named, "control": arm.control}


def listed(entry: Any) -> dict[str, Any]:
    """An entry of a task's observations."""
    return {"meaning": entry.meaning, "unit": entry.unit, "size": entry.size}


def control_period(env: gymnasium.Env, arm: ArmEnv | None) -> float | None:
    """s from one action to the next, where the environment says it: by itself, by ``dt``, or by the pace of
    its pictures.
    """
    if arm is not None:
        return CONTROL_TIMESTEP
    fps = (env.metadata or {}).get("render_fps")
    given = getattr(env.unwrapped, "dt", None) or (
        1 / fps if isinstance(fps, int | float) and fps > 0 else None
    )
    return float(given) if isinstance(given, int | float) and given > 0 else None


def robot_of(arm: ArmEnv) -> dict[str, Any]:
    """Its card, and what an action of 1 is, in numbers."""
    card: RobotCard = arm.card
    values = {name: jsonable(value) for name, value in asdict(card).items()}
    return values | {
        "size": card.size,
        "joint_limits_rad": np.asarray(arm.arm.joint_limits).tolist(),
        "joint_speeds_rad_per_s": np.asarray(arm.arm.max_velocity).tolist(),
        "tool_speed_m_per_s": float(arm.arm.tool_speed),
    }


def jsonable(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(name): jsonable(part) for name, part in value.items()}
    return [jsonable(part) for part in value] if isinstance(value, list | tuple) else plain(value)


def environment_of(config: EnvConfig) -> dict[str, Any]:
    """As a settings file has it, with the id that "auto" means here."""
    if config.id == "auto":
        config = replace(config, id=envs.resolve("auto", dict(config.kwargs)).id)
    return config.to_dict()
