"""The offline learners beside d3rlpy's, on the same data with the same sizes: quality on unseen episodes, and time
per update.

    for kind in grasp replay human; do python benchmarks/make_offline_data.py $kind grasp-$kind.npz; done
    python benchmarks/offline_learners.py grasp-grasp.npz grasp-replay.npz grasp-human.npz --env SawyerGrasp-v0 \
        --peer-python PEER/bin/python --seeds 0 1 2 3 4

Each is offline_cql.py with another algorithm and data set; d3rlpy_offline.py says what is the same and what
differs. ``--timed-updates`` of each learner are timed apart, on the first data set. Adds to
benchmarks/results/offline_learners.json; a result of the same data, settings and updates is replaced.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import offline_ours as ours
from machine import machine
from offline_common import ALGORITHMS, Settings, load
from offline_cql import quality, times

RESULTS = Path(__file__).parent / "results" / "offline_learners.json"
# Of both sides: the preset offline's, with d3rlpy's tau, and without layer normalisation but for ReBRAC.
COMMON = Settings(
    hidden_width=128, batch_size=128, actor_lr=1e-3, critic_lr=1e-3, discount=0.95, initial_alpha=0.1
)
LEARNERS = {
    "cql": replace(COMMON, actor_lr=1e-4, critic_lr=3e-4, cql_weight=5.0, cql_samples=5),
    "iql": COMMON,
    "awac": COMMON,
    "td3bc": replace(COMMON, td3bc_alpha=0.5),
    "rebrac": replace(
        COMMON,
        hidden_depth=3,
        layer_norm=True,
        batch_size=256,
        rebrac_actor_bc=0.3,
        rebrac_critic_bc=0.05,
    ),
}


def result_of(arguments: argparse.Namespace, algo: str, data: Path) -> dict[str, Any]:
    """One learner on one data set, of both sides."""
    settings, arrays = replace(LEARNERS[algo], algo=algo), load(data)
    one = argparse.Namespace(**vars(arguments) | {"data": data})
    print(f"{algo} on {data.name}", flush=True)
    timed = arguments.rounds and data == arguments.datasets[0]
    return {
        "machine": machine(),
        "algo": algo,
        "data": data.name,
        "transitions": len(arrays["reward"]),
        "env": arguments.env,
        "updates": arguments.updates,
        "settings": settings.values() | {"target_entropy": ours.target_entropy(arrays)},
        "seeds": arguments.seeds,
        "times": times(one, arrays, settings) if timed else {},
        "quality": quality(one, arrays, settings),
    }


def score(result: dict[str, Any], side: str) -> str:
    """Mean and standard error over the seeds of what ``side`` reached."""
    reached = [one["evaluation"] for one in result["quality"] if one["side"] == side]
    if not reached:
        return ""
    key, factor = ("success_rate", 100.0) if "success_rate" in reached[0] else ("mean_return", 1.0)
    values = factor * np.array([one[key] for one in reached])
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{values.mean():.1f} ± {error:.1f}"


def rate(run: dict[str, Any], updates: int) -> float:
    """Updates per second: of sac_dist as its run logged them, of d3rlpy from the seconds of all."""
    return float(run.get("updates_per_s") or updates / run["seconds"])


def table(results: list[dict[str, Any]]) -> str:
    """What each side reached (success in %, or return), then updates per second of the middle run."""
    sides = list(dict.fromkeys(one["side"] for result in results for one in result["quality"]))
    lines = [f"| data | learner | {' | '.join(sides)} |", "|---|---|" + "---|" * len(sides)]
    for result in results:
        cells = []
        for side in sides:
            rates = [rate(one["run"], result["updates"]) for one in result["quality"] if one["side"] == side]
            cells.append(f"{score(result, side)} ({np.median(rates):.0f}/s)" if rates else "")
        lines.append(f"| {result['data']} | {result['algo']} | {' | '.join(cells)} |")
    for result in results:
        for side, rounds in result["times"].items():
            lines.append(
                f"{result['algo']}, {side}: {np.median([one['median_ms'] for one in rounds]):.2f} ms"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("datasets", type=Path, nargs="+", help="npz as make_offline_data.py writes it")
    parser.add_argument("--env", required=True)
    parser.add_argument("--algos", nargs="+", choices=ALGORITHMS, default=list(ALGORITHMS))
    parser.add_argument("--peer-python", help="a Python with d3rlpy; left out, only sac_dist is measured")
    parser.add_argument("--updates", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--workers", type=int, nargs="*", default=[2], help="none: only the peer")
    parser.add_argument("--episodes", type=int, default=100, help="unseen episodes per evaluation")
    parser.add_argument("--rounds", type=int, default=3, help="of the times; 0: none")
    parser.add_argument("--timed-updates", type=int, default=200)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    results: list[dict[str, Any]] = []
    for data in arguments.datasets:
        for algo in arguments.algos:
            results.append(result_of(arguments, algo, data))
            keep(arguments.results, results[-1])
    print(table(results))


def keep(path: Path, result: dict[str, Any]) -> None:
    """Write it beside the earlier ones, in place of one of the same."""
    same = ("algo", "data", "env", "updates", "settings")
    earlier = json.loads(path.read_text())["results"] if path.exists() else []
    kept = [one for one in earlier if any(one[key] != result[key] for key in same)]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"results": [*kept, result]}, indent=1))


if __name__ == "__main__":
    main()
