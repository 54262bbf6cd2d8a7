"""How long a shipped policy takes from its exported file, alone, behind its server, and how even its loop is.

    python benchmarks/deploy.py

Prints the table of docs/deploy.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from websockets.sync.client import connect

from sac_dist.acting.playback import find_policy
from sac_dist.exporting.export import export
from sac_dist.runner import Loop, Policy
from sac_dist.runner.messages import request
from sac_dist.system.files import models_dir

CALLS = 5000


def main() -> None:
    model = models_dir() / "SawyerGrasp-v0.safetensors"
    print("| | median | 99 % | most |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("npz", "onnx"):
            path = Path(folder) / f"policy.{suffix}"
            export(find_policy(model, "auto")[1], path)
            policy = Policy.load(path)
            observation = policy.card.random(np.random.default_rng(0))
            row(f"an action, .{suffix}", timed(lambda policy=policy, seen=observation: policy(seen)))
            row(f"over the server, .{suffix}", round_trips(path, observation))
        for hertz in (20, 200):
            row(f"a loop's command off its time, {hertz} Hz", lateness(policy, observation, hertz))


def row(name: str, seconds: np.ndarray) -> None:
    micro = seconds * 1e6
    print(
        f"| {name} | {np.median(micro):.0f} µs | {np.percentile(micro, 99):.0f} µs | {micro.max():.0f} µs |"
    )


def timed(call: Callable[[], Any]) -> np.ndarray:
    """(CALLS,) s of each call, after some that warm up."""
    times = []
    for _ in range(CALLS + 100):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return np.array(times[100:])


def round_trips(path: Path, observation: dict[str, Any]) -> np.ndarray:
    command = [sys.executable, "-m", "sac_dist.runner", "serve", str(path), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[2].rstrip(",")
        with connect(url, compression=None) as server:
            server.recv()

            def ask() -> None:
                server.send(request(1, observation))
                assert "action" in json.loads(server.recv(timeout=10))

            return timed(ask)
    finally:
        process.terminate()
        process.wait(10)


def lateness(policy: Policy, observation: dict[str, Any], hertz: int) -> np.ndarray:
    """(5 s,) s by which each command of a loop was off its time."""
    sent: list[float] = []
    loop = Loop(
        policy,
        lambda: observation,
        lambda action: sent.append(time.monotonic()),
        period=1 / hertz,
        patience=1.0,
    )
    loop.run(5 * hertz)
    return np.abs(np.diff(sent[:-1]) - 1 / hertz)  # the last is the stop


if __name__ == "__main__":
    main()
