"""What becomes of episodes whose physics explodes: rarely they end, always the run does."""

from __future__ import annotations

import gymnasium

from envs.backends.base import BackendError, Unstable

IN_A_ROW = 5  # episodes, after which the physics is given up


class Explosions:
    """Counts them for the robot of a ``name``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._all = self._in_a_row = 0

    def none(self) -> None:
        """An episode ended without one."""
        self._in_a_row = 0

    def another(self, error: Unstable) -> None:
        """Warn at the 1st, 2nd, 4th, 8th, …. Raises BackendError at the fifth in a row."""
        self._all += 1
        self._in_a_row += 1
        if self._in_a_row == IN_A_ROW:
            raise BackendError(
                f"{error} in {IN_A_ROW} episodes in a row with {self.name}: see what --check-robot says, or "
                "give its card a shorter timestep"
            ) from error
        if self._all & (self._all - 1) == 0:
            gymnasium.logger.warn(
                f"{error}: the episode ends there; {self._all} so far in this process with {self.name}"
            )
