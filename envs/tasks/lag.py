"""Actions that take effect late, observations that are old and noisy: an episode of a randomised task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class Lag:
    """Gives back what went in ``delay`` steps ago; before that ``first``."""

    def __init__(self, delay: int, first: Any) -> None:
        self.waiting = [first] * delay

    def __call__(self, now: Any) -> Any:
        self.waiting.append(now)
        return self.waiting.pop(0)


class Lags:
    """The lags of one episode by what was ``drawn`` for it; ``low`` and ``high`` bound an observation."""

    def __init__(
        self, drawn: Mapping[str, float], still: np.ndarray, first: Any, low: np.ndarray, high: np.ndarray
    ) -> None:
        self.action = Lag(int(drawn.get("action_delay", 0)), still)
        self._observation = Lag(int(drawn.get("observation_delay", 0)), first)
        self._noise = drawn.get("observation_noise", 0.0)
        self._low, self._high = low, high

    def observation(self, now: Any, random: np.random.Generator) -> Any:
        """As the policy gets it."""
        observation: Any = self._observation(now)
        if not self._noise:
            return observation
        named = isinstance(observation, dict)
        field = "observation" if named and "observation" in observation else "state"
        if named and field not in observation:
            return observation  # pictures alone
        vector = observation[field] if named else observation
        seen = vector + random.normal(0.0, self._noise, vector.shape).astype(np.float32)
        seen = np.minimum(np.maximum(seen, self._low), self._high)
        return {**observation, field: seen} if named else seen

    def get_state(self) -> dict[str, list[Any]]:
        return {"actions": list(self.action.waiting), "observations": list(self._observation.waiting)}

    def set_state(self, drawn: Mapping[str, float], state: Mapping[str, list[Any]]) -> None:
        """Go on where :meth:`get_state` was called, in an episode for which this was ``drawn``."""
        self._noise = drawn.get("observation_noise", 0.0)
        self.action.waiting = list(state["actions"])
        self._observation.waiting = list(state["observations"])
