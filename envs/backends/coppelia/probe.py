"""Whether CoppeliaSim simulates on this machine, seen in a process of its own. Imports no simulator."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from typing import NamedTuple

VERSION = "4.1"  # of CoppeliaSim, that PyRep is made for
PATIENCE = 60  # s
REFUSED = 3  # exit status
CODE = f"""
from envs.backends.base import BackendError
try:
    from envs.backends.coppelia.backend import CoppeliaBackend
    backend = CoppeliaBackend()
except BackendError as error:
    print(error)
    raise SystemExit({REFUSED})
print(backend.version)
backend.close()
"""


class Found(NamedTuple):
    obstacle: str | None  # why it does not simulate; None: an object fell
    version: str  # of the simulator, where it was heard


@functools.cache
def probe() -> Found:
    """Build the workplace in a simulator and see the object fall; takes a second, once in a process."""
    search = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-W", "ignore", "-c", CODE]
    try:
        done = subprocess.run(
            command, env=search, capture_output=True, text=True, errors="replace", timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return Found(f"the simulator does not start within {PATIENCE} s", "")
    said = [line for line in done.stdout.splitlines() if line and not line.startswith("[CoppeliaSim")]
    if done.returncode == 0:
        return Found(None, said[-1])
    if done.returncode == REFUSED:
        return Found(said[-1], "")
    if done.returncode < 0:
        return Found(f"the simulator is killed by {signal.Signals(-done.returncode).name} at its start", "")
    words = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
    return Found(f"the simulator does not start: {words[-1]}", "")


def strange(version: str) -> str:
    """What there is to say of a version that PyRep is not made for; nothing of the right one."""
    return (
        "" if version.startswith(f"{VERSION}.") else f"CoppeliaSim is {version}, PyRep is made for {VERSION}"
    )
