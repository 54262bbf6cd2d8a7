"""This commit beside an older one, in turn: steps/s of the default grasp training, and what a step is made of.

    python benchmarks/old_and_new.py --old-python OLD/venv/bin/python --rounds 4

OLD is a checkout of the older commit, installed with `pip install -e .` in a virtual environment of its own.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

# Runs on both sides: version 0.1.0 knew sizes where there is a Schema now.
OPERATIONS = """
import json, time
import numpy as np, torch
import sac_dist
torch.set_num_threads(1)
O, A = 31, 7
try:
    from sac_dist import Schema
    layout = (Schema.vector(O, A),)
except ImportError:
    layout = (O, A)
buffer, agent = sac_dist.ReplayBuffer(1_000_000, *layout), sac_dist.SACAgent(*layout, sac_dist.AgentConfig())
rng = np.random.default_rng(0)
here, there = rng.normal(size=(2, O)).astype(np.float32)
action = rng.uniform(-1, 1, A).astype(np.float32)
def best(function, count):
    times = []
    for _ in range(7):
        start = time.perf_counter()
        for index in range(count):
            function(index)
        times.append((time.perf_counter() - start) / count * 1e6)
    return min(times)
result = {"insert": best(lambda i: buffer.push(here, action, 0.5, there, False, i % 30 == 29), 150_000)}
result["sample of 128"] = best(lambda i: buffer.sample(128, rng), 5000)
result["act, exploring"] = best(lambda i: agent.act(here), 5000)
result["act, deterministic"] = best(lambda i: agent.act(here, True), 5000)
print(json.dumps(result))
"""
FLAGS = "--train --steps 40000 --eval-interval 0 --run-dir run"


def training(python: str, seed: int, *more: str) -> float:
    """Median steps/s over the rows of metrics.csv after the first five; ``more`` flags go over FLAGS."""
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-m", "sac_dist", *FLAGS.split(), "--seed", str(seed), *more]
        environment = {"MUJOCO_GL": "disable", "PATH": "/usr/bin:/bin", "HOME": str(Path.home())}  # no film
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, timeout=300)
        rows = list(csv.DictReader((Path(folder) / "run/metrics.csv").open()))
    return statistics.median(float(row["steps_per_s"]) for row in rows[5:40])


def operations(python: str) -> dict[str, float]:
    """Microseconds."""
    done = subprocess.run([python, "-c", OPERATIONS], check=True, capture_output=True, text=True, timeout=300)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--old-python", required=True)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    sides = {"old": arguments.old_python, "new": sys.executable}
    for python in sides.values():
        training(python, 0, "--compile", "on", "--steps", "8000")  # both caches hold the compiled update then
    found: dict[str, dict[str, list[float]]] = {}
    for round_ in range(arguments.rounds):
        for side, python in sides.items():
            figures = {"steps/s": training(python, round_ + 1), **operations(python)}
            for name, value in figures.items():
                found.setdefault(name, {"old": [], "new": []})[side].append(value)
    print(f"| medians of {arguments.rounds} rounds | old | new | new / old |\n|---|---|---|---|")
    for name, values in found.items():
        old, new = (statistics.median(values[side]) for side in sides)
        ratio = statistics.median(b / a for a, b in zip(values["old"], values["new"], strict=True))
        print(f"| {name}{'' if name == 'steps/s' else ', µs'} | {old:,.4g} | {new:,.4g} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
