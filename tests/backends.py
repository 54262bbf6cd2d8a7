"""The simulators that the environment's tests run over, and environments on them."""

from __future__ import annotations

import atexit
import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import pytest

from envs.backends.choice import coppelia_obstacle


@functools.cache
def simulator() -> Any:
    from envs.backends.coppelia.backend import CoppeliaBackend

    backend = CoppeliaBackend()
    atexit.register(backend.close)
    return backend


class Shared:
    """The one CoppeliaSim that a process can run, for environments that come and go."""

    def __getattr__(self, name: str) -> Any:
        return getattr(simulator(), name)

    def close(self) -> None: ...


def maker(backend: str, config: pytest.Config) -> Callable[..., Any]:
    """``gymnasium.make`` on a simulator, unwrapped; skips the test where there is none, or fails it with
    --require-coppeliasim.
    """
    obstacle = coppelia_obstacle() if backend == "coppelia" else None
    if obstacle is not None:
        (pytest.fail if config.getoption("--require-coppeliasim") else pytest.skip)(
            f"no CoppeliaSim: {obstacle}"
        )
    chosen: Any = Shared if backend == "coppelia" else backend
    return lambda id, **options: gymnasium.make(id, backend=chosen, **options).unwrapped


def in_a_process(code: str, *arguments: str) -> list[str]:
    """What Python code prints that has CoppeliaSim for itself, as there is one simulator to a process."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if not line.startswith("[CoppeliaSim")]
