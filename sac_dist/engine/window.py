"""The process of the window in which someone steers: what draws may fail, and what is recorded stays."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection

from sac_dist.acting.hand import Hand
from sac_dist.acting.reels import Reels
from sac_dist.engine.processes import Child, settle_child
from sac_dist.settings import ConfigError, EnvConfig

OPENING = 60.0  # s until it is open
OPEN = "open"  # the first message; those that follow are lines to note, and why it ends


class HandWindow:
    """``note`` gets what it has to say. Raises ConfigError where it does not open."""

    def __init__(
        self, config: EnvConfig, hand: Hand, reels: Reels, spacemouse: bool, note: Callable[[str], None]
    ) -> None:
        self._note = note
        task = config, hand, reels, spacemouse
        # by spawn: a fork server that runs already may not know this display
        self._child = Child(multiprocessing.get_context("spawn"), "window", window_main, lambda start: task)
        self._child.start()
        if not self._child.connection.poll(OPENING):
            self.close()
            raise ConfigError(f"the window does not open in {OPENING:g} s")
        self.is_open()

    def is_open(self) -> bool:
        """Raises ConfigError where it has ended otherwise than by being closed."""
        alive = self._child.process.is_alive()
        for message in self._child.receive():
            if isinstance(message, ConfigError):
                raise message
            if message != OPEN:
                self._note(message)
        if not alive and self._child.process.exitcode != 0:
            raise ConfigError(f"the {self._child.describe_death()}")
        return alive

    def close(self) -> None:
        self._child.kill()


def window_main(
    connection: Connection, config: EnvConfig, hand: Hand, reels: Reels, spacemouse: bool
) -> None:
    """Entry point of the process."""
    settle_child()
    from sac_dist.reporting.watch.window import steer

    try:
        steer(config, hand, reels, spacemouse, lambda: connection.send(OPEN), connection.send)
    except ConfigError as error:
        connection.send(error)
        raise SystemExit(1) from None
