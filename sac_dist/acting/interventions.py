"""A person acts in place of the policy, in the middle of an episode.

An environment says so in what a step returns, as gym-hil's do: ``info["is_intervention"]``, and
``info["teleop_action"]`` (older ones: ``action_intervention``), the action that was taken in place of the one
that it was given. So does :class:`TakenOver`, which lets the hand of a page into an arm task.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np

from envs.backends.base import CONTROL_TIMESTEP
from envs.tasks.steering import Steering
from sac_dist.acting.environment import ClippedRescaleAction
from sac_dist.acting.episode import EnvironmentFault, success_of
from sac_dist.acting.failures import reason
from sac_dist.acting.hand import FAILED, MOVES, SHOWN, STANDS, SUCCEEDED, Hand, Pace

IS_INTERVENTION = "is_intervention"
ACTIONS = ("teleop_action", "action_intervention")


class TakenOver(gymnasium.Wrapper):
    """An arm task in which ``hand`` may act. While a person attends to it, it goes on at the speed of the
    real robot; ``beat`` is called meanwhile.
    """

    def __init__(self, env: gymnasium.Env, hand: Hand, player: int, beat: Callable[[], None]) -> None:
        super().__init__(env)
        self.hand, self.player, self._beat = hand, player, beat
        self._steering = Steering(env)
        self._pace: Pace | None = None  # None: nobody attends

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        if self._pace is not None:
            time.sleep(SHOWN)
        first = self.env.reset(**kwargs)
        if self.hand.attends(self.player):
            self.hand.tell(STANDS, self._steering.seen())
        return first

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        hand = self.hand
        if not hand.attends(self.player):
            self._pace = None
            return self.env.step(action)
        if self._pace is None:
            self._pace = Pace(CONTROL_TIMESTEP)
        self._beat()
        self._pace.wait(hand.speed)
        command = hand.command()
        steers = command is not None and command.takes_over
        if command is not None and steers:
            action = self._steering.action(command.motion, command.opening)
        observation, reward, terminated, truncated, info = self.env.step(action)
        if steers:
            info = {**info, IS_INTERVENTION: True, ACTIONS[0]: action}
        if not info.get("unstable"):  # else there is nothing to be seen
            ended = SUCCEEDED if success_of(info) else FAILED
            hand.tell(ended if terminated or truncated else MOVES, self._steering.seen())
        return observation, reward, terminated, truncated, info


class Corrections:
    """Reads out of an environment's infos what a person did.

    Example: ``taken = corrections.taken(info)``, the action (A,) float32 in [-1, 1] that a person took in the
    step, None: the one that was given stands.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        self.size = int(np.prod(env.action_space.shape or (1,)))
        self._range: tuple[np.ndarray, np.ndarray] | None = None
        self._name = type(env.unwrapped).__name__
        layer = env
        while isinstance(layer, gymnasium.Wrapper):
            if isinstance(layer, ClippedRescaleAction):
                self._range = layer.low, layer.high
            layer = layer.env

    def taken(self, info: Mapping[str, Any]) -> np.ndarray | None:
        """Raises EnvironmentFault if there is no such action in ``info``."""
        if not info or not info.get(IS_INTERVENTION):
            return None
        given = next((info[name] for name in ACTIONS if name in info), None)
        try:
            action = np.asarray(given, np.float32).ravel()
        except (TypeError, ValueError) as error:
            raise self._fault(reason(error)) from None
        if action.shape != (self.size,) or not np.isfinite(action).all():
            raise self._fault(f"it gives {' '.join(repr(given).split())[:60]}")
        if self._range is not None:
            low, high = self._range
            action = (2.0 * (action - low) / (high - low) - 1.0).astype(np.float32)
        return np.clip(action, -1.0, 1.0)

    def _fault(self, what: str) -> EnvironmentFault:
        return EnvironmentFault(
            f"{self._name}: where info says {IS_INTERVENTION}, {ACTIONS[0]} has to be the action that was "
            f"taken, {self.size} numbers: {what}"
        )
