"""The search behind the defaults: seconds and steps until a policy grasps in 95 of 100 unseen episodes, with one setting changed at a time.

    python benchmarks/defaults.py --seeds 0 1 2                  every variation
    python benchmarks/defaults.py batch_size=64 update_ratio=1   some

Measured as time_to_success.py does: --steps environment steps without an evaluation, a policy kept every 1000; the first one that passes
counts, with the time since the first step. Updates are compiled before it (--compile on). The variations run in turn within each seed.
Adds to benchmarks/results/defaults.json after each run, where a run of the same variation and seed is replaced.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from machine import machine
from time_to_success import HERE, SIDES, result, train

from sac_dist import EnvConfig, make_env

RESULTS = HERE / "results" / "defaults.json"
DEFAULTS = "defaults"
VARIATIONS = (
    DEFAULTS,
    *("update_ratio=0.2", "update_ratio=0.5", "update_ratio=1", "batch_size=64", "batch_size=256", "hidden_width=128", "hidden_depth=3"),
    *("lr=0.0007", "lr=0.001", "lr=0.002", "discount=0.9", "discount=0.98", "tau=0.005", "tau=0.02", "target_entropy=-7"),
    *(
        "warmup_steps=200",
        "warmup_steps=1000",
        "critics=4",
        "no_layer_norm",
        "workers=1",
        "workers=3",
        "learner=central",
        "learner=central,workers=1",
    ),
)
RATES = ("actor_lr", "critic_lr", "alpha_lr")


def flags(variation: str) -> list[str]:
    """Of python -m sac_dist."""
    found = ["--compile=on"]
    for part in variation.split(",") if variation != DEFAULTS else ():
        name, _, value = part.partition("=")
        for one in RATES if name == "lr" else (name,):
            found.append(f"--{one.replace('_', '-')}" + (f"={value}" if value else ""))
    return found


def table(results: list[dict[str, Any]]) -> str:
    """The quickest first; a run that has not passed counts as endless."""

    def middle(runs: list[dict[str, Any]], name: str) -> float:
        return median(float("inf") if run[name] is None else run[name] for run in runs)

    by_variation: dict[str, list[dict[str, Any]]] = {}
    for run in results:
        by_variation.setdefault(run["variation"], []).append(run)
    lines = ["| variation | s to 95 %, median (each) | steps to 95 %, median | steps/s |", "|---|---|---|---|"]
    for variation, runs in sorted(by_variation.items(), key=lambda pair: middle(pair[1], "training_s")):
        each = ", ".join("not within" if run["training_s"] is None else f"{run['training_s']:.1f}" for run in runs)
        seconds, steps = middle(runs, "training_s"), middle(runs, "passed_at_step")
        rate = median(run["steps_per_s"] for run in runs)
        lines.append(f"| {variation} | {seconds:.1f} ({each}) | {steps:,.0f} | {rate:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "variations", nargs="*", default=VARIATIONS, help="SETTING=VALUE, or a switch, or several with commas; lr: all three step sizes"
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.peers, arguments.cleanrl, arguments.limit = {}, None, 600.0
    results = json.loads(arguments.results.read_text())["results"] if arguments.results.exists() else []
    env = make_env(EnvConfig("SawyerGrasp-v0", backend="mujoco"))
    for seed in arguments.seeds:
        for variation in arguments.variations:
            side = replace(SIDES["sac_dist"], flags=tuple(flags(variation)))
            with tempfile.TemporaryDirectory() as folder:
                started, end = train(side, "defaults", arguments, arguments.steps, seed, Path(folder), Path(folder))
                run = {"variation": variation, "seed": seed, "steps": arguments.steps, "end": end} | result(Path(folder), started, env)
            results = [one for one in results if (one["variation"], one["seed"]) != (variation, seed)] + [run]
            print(json.dumps(run), flush=True)
            arguments.results.parent.mkdir(exist_ok=True)
            arguments.results.write_text(json.dumps({"machine": machine(), "results": results}, indent=1))
    env.close()
    print(table(results))


if __name__ == "__main__":
    main()
