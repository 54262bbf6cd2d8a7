"""Offline CQL beside d3rlpy's on the same data with the same settings: quality on unseen episodes, and time
per update.

    python benchmarks/make_offline_data.py grasp grasp-mixed.npz
    python benchmarks/offline_cql.py grasp-mixed.npz --env SawyerGrasp-v0 --peer-python PEER/bin/python
    --updates 20000 --seeds 0 1 2

Each seed trains the peer with one thread and sac_dist with each number of --workers, and plays the same
unseen episodes with each policy's mean. The time per update (sampling included) is measured apart, --rounds
times in turn so that a busy moment meets all of them: the peer with one thread and with as many as there are
cores, sac_dist eagerly and compiled with one thread. d3rlpy_offline.py says what is the same and what differs.
Adds to benchmarks/results/offline_cql.json; a result of the same data, settings and updates is replaced.
"""

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import offline_ours as ours
from machine import machine
from measuring import environment
from offline_common import Settings, load

from sac_dist import EnvConfig, evaluate, make_env
from sac_dist.storage.checkpoint import read

RESULTS = Path(__file__).parent / "results" / "offline_cql.json"
WARM_UP = 50  # updates


def peer(
    python: str, data: Path, settings: Settings, updates: int, seed: int, threads: int, out: Path
) -> dict[str, Any]:
    """One run of d3rlpy_offline.py; its measurements."""
    flags = [
        *settings.flags(),
        "--updates",
        str(updates),
        "--warm-up",
        str(WARM_UP),
        "--seed",
        str(seed),
        "--threads",
        str(threads),
    ]
    script = Path(__file__).with_name("d3rlpy_offline.py")
    command = [python, str(script), str(data), *flags, "--out", str(out)]
    result = subprocess.run(command, env=environment(threads), capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{script.name} failed:\n{result.stderr[-3000:]}")
    return json.loads(result.stdout)


def peer_policy(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The deterministic policy in d3rlpy_offline.py's file."""
    with np.load(path) as file:
        layers = [
            (file[f"weight{i}"], file[f"bias{i}"])
            for i in range(sum(name.startswith("weight") for name in file.files))
        ]

    def act(observation: np.ndarray) -> np.ndarray:
        x = observation
        for weight, bias in layers[:-1]:
            x = np.maximum(x @ weight + bias, 0)
        return np.tanh(x @ layers[-1][0] + layers[-1][1])

    return act


def our_policy(run: Path) -> Callable[[np.ndarray], np.ndarray]:
    agent = read(run / "checkpoints" / "last.safetensors").build_agent()
    return lambda observation: agent.act(observation, deterministic=True)


def quality(
    arguments: argparse.Namespace, arrays: dict[str, np.ndarray], settings: Settings
) -> list[dict[str, Any]]:
    """For each seed and side: what the policy reaches after the updates."""
    env, found = make_env(EnvConfig(arguments.env)), []

    def add(side: str, seed: int, run: dict[str, Any], act: Callable[[np.ndarray], np.ndarray]) -> None:
        evaluation = evaluate(env, act, arguments.episodes)
        found.append({"side": side, "seed": seed, "run": run, "evaluation": evaluation.summary()})
        print(f"{side}, seed {seed}: {evaluation}; {run['seconds']:.0f} s", flush=True)

    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as folder:
            if arguments.peer_python:
                out = Path(folder) / "policy.npz"
                run = peer(arguments.peer_python, arguments.data, settings, arguments.updates, seed, 1, out)
                add("d3rlpy, 1 thread", seed, run, peer_policy(out))
            for workers in arguments.workers:
                path = Path(folder) / f"workers{workers}"
                run = ours.train(
                    arguments.data, arguments.env, arrays, settings, arguments.updates, workers, seed, path
                )
                add(f"sac_dist, {workers} worker{'s' if workers > 1 else ''}", seed, run, our_policy(path))
    env.close()
    return found


def times(
    arguments: argparse.Namespace, arrays: dict[str, np.ndarray], settings: Settings
) -> dict[str, list[dict[str, float]]]:
    """Milliseconds per update of each side, once per round."""
    found: dict[str, list[dict[str, float]]] = {}
    updates = arguments.timed_updates + WARM_UP
    for seed in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for threads in sorted({1, os.cpu_count() or 1}) if arguments.peer_python else ():
                run = peer(
                    arguments.peer_python,
                    arguments.data,
                    settings,
                    updates,
                    seed,
                    threads,
                    Path(folder) / "policy.npz",
                )
                found.setdefault(f"d3rlpy, {threads} thread{'s' if threads > 1 else ''}", []).append(
                    run["per_update"]
                )
        for name, fused in (
            (("sac_dist eager, 1 thread", False), ("sac_dist compiled, 1 thread", True))
            if arguments.workers
            else ()
        ):
            found.setdefault(name, []).append(
                ours.time_updates(arrays, settings, updates, WARM_UP, seed, fused)
            )
    return found


def table(result: dict[str, Any]) -> str:
    """Time per update against d3rlpy's with one thread, then quality by seed."""
    lines = []
    milliseconds = {side: [one["median_ms"] for one in rounds] for side, rounds in result["times"].items()}
    for one in result["quality"]:
        if one["run"].get("updates_per_s"):
            milliseconds.setdefault(f"{one['side']}, whole run", []).append(1e3 / one["run"]["updates_per_s"])
    base = milliseconds.get("d3rlpy, 1 thread")
    if milliseconds:
        lines += [
            "| side | ms per update, median (range) | d3rlpy's with one thread, against it |",
            "|---|---|---|",
        ]
    for side, values in milliseconds.items():
        ratio = f"{median(base) / median(values):.2f} ×" if base else ""
        lines.append(f"| {side} | {median(values):.2f} ({min(values):.2f}-{max(values):.2f}) | {ratio} |")
    sides = dict.fromkeys(one["side"] for one in result["quality"])
    if sides:
        lines += ["", f"| side | {result['updates']} updates, seeds {result['seeds']} |", "|---|---|"]
    for side in sides:
        summaries = [one["evaluation"] for one in result["quality"] if one["side"] == side]
        values = [
            f"{s['success_rate']:.0%}" if "success_rate" in s else f"{s['mean_return']:.1f}"
            for s in summaries
        ]
        lines.append(f"| {side} | {', '.join(values)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="npz as make_offline_data.py or sac_dist --convert writes it")
    parser.add_argument("--env", required=True)
    parser.add_argument("--peer-python", help="a Python with d3rlpy; left out, only sac_dist is measured")
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="none: only the times")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="none: only the peer")
    parser.add_argument("--episodes", type=int, default=100, help="unseen episodes per evaluation")
    parser.add_argument("--rounds", type=int, default=3, help="of the times; 0: none")
    parser.add_argument("--timed-updates", type=int, default=200)
    parser.add_argument("--results", type=Path, default=RESULTS)
    Settings.add_to(parser)
    arguments = parser.parse_args()
    arrays, settings = load(arguments.data), Settings.of(arguments)
    result = {
        "machine": machine(),
        "data": arguments.data.name,
        "transitions": len(arrays["reward"]),
        "env": arguments.env,
        "updates": arguments.updates,
        "settings": settings.values() | {"target_entropy": ours.target_entropy(arrays)},
        "seeds": arguments.seeds,
        "times": times(arguments, arrays, settings),
        "quality": quality(arguments, arrays, settings),
    }
    earlier = json.loads(arguments.results.read_text())["results"] if arguments.results.exists() else []
    kept = [
        one
        for one in earlier
        if any(one[key] != result[key] for key in ("data", "env", "updates", "settings"))
    ]
    arguments.results.parent.mkdir(exist_ok=True)
    arguments.results.write_text(json.dumps({"results": [*kept, result]}, indent=1))
    print(table(result))


if __name__ == "__main__":
    main()
