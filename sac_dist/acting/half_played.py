"""An episode in its middle, taken down so that another process can go on with it, bit for bit.

Where the environment gives its state that is what is kept. ``env.unwrapped`` then has

    get_state() -> dict       everything that its next steps depend on: physics, counters, random numbers, in
                              nested dicts and lists of numpy arrays, bytes, numbers and texts; or None: it
                              cannot
    set_state(state) -> None  called after a reset, with what get_state gave (tuples as lists, bytes as uint8)

Else the episode's seed and actions are kept, and played again: exact where the environment repeats itself,
which is checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import (
    DtypeObservation,
    OrderEnforcing,
    PassiveEnvChecker,
    TimeLimit,
)

from sac_dist.acting.environment import ClippedRescaleAction, DefaultLimit, FlatAction
from sac_dist.acting.episode import EnvironmentFault, Play
from sac_dist.acting.interventions import TakenOver
from sac_dist.acting.observation import FlatObservation
from sac_dist.storage.arrays_in_json import from_json, to_json

# Wrappers without a state that counts; of TimeLimit it is kept. Any other one may hold what get_state cannot
# know.
STATELESS = (
    DtypeObservation,
    FlatObservation,
    OrderEnforcing,
    PassiveEnvChecker,
    ClippedRescaleAction,
    FlatAction,
    DefaultLimit,
    TimeLimit,
    TakenOver,
)


class NotRepeated(Exception):
    """The episode cannot be gone on with; why, in a line."""


def wrappers(env: gymnasium.Env) -> list[gymnasium.Wrapper]:
    """From the outermost in."""
    found: list[gymnasium.Wrapper] = []
    while isinstance(env, gymnasium.Wrapper):
        found.append(env)
        env = env.env
    return found


def state_of(env: gymnasium.Env) -> dict[str, Any] | None:
    """The environment's state and that of its wrappers, plain JSON; None: it does not give one. It has been
    reset.
    """
    inner, around = env.unwrapped, wrappers(env)
    if not all(type(wrapper) in STATELESS for wrapper in around):
        return None
    if not (callable(getattr(inner, "get_state", None)) and callable(getattr(inner, "set_state", None))):
        return None
    try:
        state = inner.get_state()  # type: ignore[attr-defined]
    except Exception:  # a method of this name that means something else
        return None
    if not isinstance(state, dict):  # the same, or None: it cannot
        return None
    try:
        packed: dict[str, Any] = to_json(state)
    except TypeError as error:
        raise EnvironmentFault(
            f"{type(inner).__name__}: get_state gives {error}; a checkpoint takes dicts, lists, arrays, "
            "bytes, numbers and texts"
        ) from None
    elapsed = [wrapper._elapsed_steps for wrapper in around if isinstance(wrapper, TimeLimit)]
    return {"environment": packed, "elapsed": elapsed}


def set_state(env: gymnasium.Env, state: dict[str, Any]) -> None:
    env.unwrapped.set_state(from_json(state["environment"]))  # type: ignore[attr-defined]
    limits = [wrapper for wrapper in wrappers(env) if isinstance(wrapper, TimeLimit)]
    for limit, elapsed in zip(limits, state["elapsed"], strict=True):
        limit._elapsed_steps = elapsed


class EpisodeRecord:
    """What has to be known of the running episode to take it down."""

    def __init__(self, actions: list[np.ndarray] | None) -> None:
        self._actions = actions  # None: the environment gives its state

    @classmethod
    def of(cls, env: gymnasium.Env) -> EpisodeRecord:
        """For an episode that has just begun."""
        return cls(None if state_of(env) is not None else [])

    def add(self, action: np.ndarray) -> None:
        if self._actions is not None:
            self._actions.append(action.copy())

    def state(self, play: Play) -> dict[str, Any]:
        """Plain JSON for :func:`go_on`."""
        state: dict[str, Any] = {
            "seed": play.seed,
            "length": play.length,
            "total_reward": play.total_reward,
            "success": play.success,
            "observation": to_json(play.observation),
        }
        if self._actions is None:
            now = state_of(play.env)
            return state if now is None else state | {"state": now}
        return state | {"actions": to_json(np.array(self._actions, np.float32))}


def exactness(saved: dict[str, Any] | None) -> str:
    """How exactly a run goes on with what was taken down; None: it stands between two episodes."""
    if saved is None:
        return "episode end"
    if "state" in saved:
        return "step"
    if "actions" in saved:
        return "step, if the environment repeats the episode's actions"
    return "not exact: the environment gave no state in the middle of the episode"


def go_on(
    env: gymnasium.Env, saved: dict[str, Any], beat: Callable[[], None], success: str | None = None
) -> tuple[Play, EpisodeRecord]:
    """The episode where ``EpisodeRecord.state`` took it down; ``beat`` is called at every step,
    ``success`` is EnvConfig's.

    Raises:
        NotRepeated: the environment does not come to the same observation and rewards again, or what was
        saved
            does not fit it.
    """
    try:
        return _go_on(env, saved, beat, success)
    except EnvironmentFault:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        words = " ".join(str(error).split())
        raise NotRepeated(
            f"what was saved of the episode does not fit ({type(error).__name__}: {words})"
        ) from None


def _go_on(
    env: gymnasium.Env, saved: dict[str, Any], beat: Callable[[], None], success: str | None
) -> tuple[Play, EpisodeRecord]:
    play = Play(env, int(saved["seed"]), success)
    beat()
    observation = from_json(saved["observation"])
    if observation.shape != play.observation.shape or observation.dtype != play.observation.dtype:
        raise ValueError(f"an observation of the shape {observation.shape}")
    if "state" in saved:
        set_state(env, saved["state"])
        if state_of(env) != saved["state"]:
            raise NotRepeated("its get_state gives something else after set_state than before")
        for wrapper in wrappers(env):
            if isinstance(wrapper, FlatObservation):
                wrapper.go_on_from(observation)
        play.observation, play.length = observation, int(saved["length"])
        play.total_reward, play.success = float(saved["total_reward"]), saved["success"]
        return play, EpisodeRecord(None)
    if "actions" not in saved:
        raise NotRepeated("the environment gave no state in the middle of it")
    actions = list(from_json(saved["actions"]))
    for action in actions:
        if play.over:
            break
        play.step(action)
        beat()
    same = play.observation.tobytes() == observation.tobytes() and play.total_reward == saved["total_reward"]
    same = same and play.success == saved["success"]
    if play.over or play.length != saved["length"] or not same:
        raise NotRepeated("the environment does not repeat itself for the same seed and actions")
    return play, EpisodeRecord(actions)
