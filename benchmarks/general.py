"""The search behind the preset ``general``: what settings are worth over tasks of several suites that nobody
tuned them for.

    python benchmarks/general.py                                             every candidate, task and seed
    python benchmarks/general.py now n_step=3 lr=1e-4,discount=0.98 --tasks pendulum reacher --seeds 0 1
    python benchmarks/general.py --table                                     only what there is

A candidate is NAME=VALUE over ``general``, or several with commas; ``lr`` is all three step sizes. ``now`` is
``general`` itself, ``plain`` what is taken where that cannot be, ``defaults`` the fields' defaults (the
Sawyer's), the name of another preset is that. ``sbx`` is SBX's SAC as it comes, run by --peer-python, or this
Python if it has SBX; its seconds are without its evaluations, ours are a whole run's.

Each run is an ordinary one of two workers, scored by its final policy's mean return on 100 unseen episodes,
and by the mean over all its evaluations (``area``). Suites that want another mujoco are run by the Python of
their environment (docs/suites.md); tasks whose package this Python lacks are skipped, and said.

Each run is added to benchmarks/results/general.json when it has ended, so a search that was interrupted goes
on where it was: give the same command. The table has (score - random) / (best - random) for each task, where
random is what uniform actions get, and best the best candidate's mean so far, or where a task has a top,
that. A second table has the seconds after which a run was as good as SBX's in the end.
"""

import argparse
import csv
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from measuring import record, recorded, table

from sac_dist import Config, EnvConfig, make_env, train
from sac_dist.acting.evaluation import evaluate
from sac_dist.settings.by_environment import OF_UNKNOWN
from sac_dist.settings.presets import PRESETS
from sac_dist.settings.values import kinds, of_kind

HERE = Path(__file__).resolve().parent
RATES = ("actor_lr", "critic_lr", "alpha_lr")
CANDIDATES = (
    *("now", "plain", "sbx", "lr=3e-4", "n_step=3", "discount=0.99", "hidden_width=128", "batch_size=512"),
    *(
        "update_ratio=2",
        "initial_alpha=0.1",
        "policy_every=1",
        "noise_repeat=4",
        "critics=5,target_critics=2",
    ),
)
RESULTS, RANDOM_EPISODES, EVALUATIONS = "general", 20, 10


@dataclass(frozen=True)
class Task:
    suite: str  # by which results are kept apart: each has its own versions
    env: str
    steps: int
    kwargs: dict[str, Any] = field(default_factory=dict)
    top: float | None = None  # what can be reached, about


TASKS = {
    "pendulum": Task("classic", "Pendulum-v1", 10_000, top=-150.0),
    "mountain": Task("classic", "MountainCarContinuous-v0", 20_000, top=94.0),
    "reacher": Task("mujoco", "Reacher-v5", 30_000, top=-4.0),
    "halfcheetah": Task("mujoco", "HalfCheetah-v5", 30_000),
    "hopper": Task("mujoco", "Hopper-v5", 30_000),
    "walker": Task("mujoco", "Walker2d-v5", 30_000),
    "inverted": Task("mujoco", "InvertedPendulum-v5", 10_000, top=1000.0),
    "fetchreach": Task("robotics", "gymnasium_robotics:FetchReachDense-v4", 10_000),
    "fetchpush": Task("robotics", "gymnasium_robotics:FetchPushDense-v4", 30_000),
    "cartpole": Task("dm_control", "shimmy:dm_control/cartpole-swingup-v0", 30_000),
    "finger": Task("dm_control", "shimmy:dm_control/finger-spin-v0", 30_000),
    "reach": Task("metaworld", "metaworld:Meta-World/MT1", 20_000, {"env_name": "reach-v3"}),
    "button": Task("metaworld", "metaworld:Meta-World/MT1", 30_000, {"env_name": "button-press-v3"}),
}


def settings_of(candidate: str) -> tuple[dict[str, Any], frozenset[str]]:
    """What is given to each run, and Config's ``if_unknown``."""
    if candidate == "plain":
        return {"layer_norm": True}, OF_UNKNOWN - {"layer_norm"}  # which general has not
    fixed = {"defaults": {}, "sbx": {}} | PRESETS
    if candidate in fixed:
        return dict(fixed[candidate]), frozenset()
    known, given = kinds(), {}
    for part in candidate.split(",") if candidate != "now" else ():
        name, equals, value = part.partition("=")
        for one in RATES if name == "lr" else (name,):
            if one not in known or not equals:
                raise SystemExit(f"{part}: a candidate is a preset, or NAME=VALUE with a setting's name")
            plain = value in ("yes", "true", "1") if known[one] is bool else value
            given[one] = of_kind(plain, known[one])
    return given, OF_UNKNOWN - given.keys()


def run(candidate: str, name: str, seed: int, steps: int, workers: int) -> dict[str, Any]:
    """One training run, from its beginning: what an interrupted one has left is removed."""
    task = TASKS[name]
    given, beneath = settings_of(candidate)
    folder = Path("runs/general") / f"{name}-{candidate.replace('=', '')}-{steps}-seed{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    settings = {"seed": seed, "steps": steps, "workers": workers, "video": False, "run_dir": str(folder)}
    flat = given | settings | {"eval_interval": max(1, steps // EVALUATIONS)}
    env = EnvConfig(task.env, task.kwargs)
    config = Config.of_settings(flat)
    outcome = train(
        Config(env, config.agent, config.train, config.data, if_unknown=beneath), quiet=True
    ).outcome
    if outcome.evaluation is None:
        raise SystemExit(f"{folder} ended by {outcome.reason}: give the same command to go on")
    with open(folder / "metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["eval_step"]]
    curve = [(round(float(row["wall_time_s"]), 1), float(row["eval_return"])) for row in rows]
    return {
        **{"candidate": candidate, "task": name, "seed": seed, "steps": steps},
        **{"score": outcome.evaluation.mean_return, "area": mean(value for _, value in curve)},
        **{"success": outcome.evaluation.success_rate, "seconds": round(outcome.seconds, 1), "curve": curve},
    }


def peer(name: str, seed: int, steps: int, python: str) -> dict[str, Any]:
    """As ``run``, of SBX."""
    task = TASKS[name]
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        line = [python, str(HERE / "peers" / "suite_task.py"), "--side=sbx", "--env", task.env]
        line += ["--env-kwargs", json.dumps(task.kwargs), f"--seed={seed}", f"--steps={steps}"]
        line += [f"--every={steps // EVALUATIONS}", "--episodes=10", "--last-episodes=100", "--budget=1e9"]
        line += ["--target=2", "--threads=1", f"--out={found}"]
        subprocess.run(line, check=True)
        evaluations = json.loads(found.read_text())
    _, seconds, score, success = evaluations[-1]
    return {
        **{"candidate": "sbx", "task": name, "seed": seed, "steps": steps},
        **{"score": score, "area": mean(each[2] for each in evaluations)},
        **{"success": success, "seconds": seconds},
    }


def random_score(name: str) -> float:
    """The mean return of uniform actions."""
    env = make_env(EnvConfig(TASKS[name].env, TASKS[name].kwargs))
    env.action_space.seed(0)
    try:
        return evaluate(env, lambda _: env.action_space.sample(), RANDOM_EPISODES).mean_return
    finally:
        env.close()


def results() -> dict[str, list[dict[str, Any]]]:
    """By task."""
    found: dict[str, list[dict[str, Any]]] = {}
    for section in recorded(RESULTS).values():
        for result in section["results"]:
            found.setdefault(result["task"], []).append(result)
    return found


def report(steps: int | None) -> str:
    """Normalised scores, a row for each candidate."""
    shown: dict[str, dict[str, float]] = {}
    for name, runs in results().items():
        budget = steps or TASKS[name].steps
        low = [each["score"] for each in runs if each["candidate"] == "random"]
        means = {
            candidate: mean(
                each["score"] for each in runs if (each["candidate"], each["steps"]) == (candidate, budget)
            )
            for candidate in dict.fromkeys(r["candidate"] for r in runs if r["steps"] == budget)
        }
        best = max([*means.values(), *filter(None, [TASKS[name].top])], default=0.0)
        if not low or not means:
            continue
        if best <= low[0]:
            print(f"{name} is not in the table: nothing is better than random actions there")
            continue
        for candidate, value in means.items():
            share = (value - low[0]) / (best - low[0])
            shown.setdefault(candidate, {})[f"{name} {budget // 1000}k"] = share
    tasks = list(dict.fromkeys(task for shares in shown.values() for task in shares))
    rows = [
        (candidate, mean(shares.values()), min(shares.values()), *(shares.get(task) for task in tasks))
        for candidate, shares in shown.items()
    ]
    rows.sort(key=lambda row: -row[1])
    rounded = [(row[0], *(None if share is None else f"{share:.2f}" for share in row[1:])) for row in rows]
    return table(("candidate", "mean", "worst", *tasks), rounded)


def races(steps: int | None) -> str:
    """When an evaluation of each run was first as good as SBX's final policy of the same seed, beside the
    seconds of all of SBX's run.
    """
    rows = []
    for name, runs in results().items():
        runs = [each for each in runs if each["steps"] == (steps or TASKS[name].steps)]
        peers = {each["seed"]: each for each in runs if each["candidate"] == "sbx"}
        for one in runs:
            if "curve" in one and (peer := peers.get(one["seed"])):
                passed = next((second for second, value in one["curve"] if value >= peer["score"]), None)
                rows.append((name, one["seed"], one["candidate"], peer["score"], passed, peer["seconds"]))
    return table(("task", "seed", "candidate", "SBX's score", "reached after s", "SBX's s"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("candidates", nargs="*", default=CANDIDATES)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, help="of each run; default: the task's")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--table", action="store_true", help="no run, only the table")
    arguments = parser.parse_args()
    for candidate in arguments.candidates:
        settings_of(candidate)
    same = ("candidate", "task", "seed", "steps")
    for seed in arguments.seeds if not arguments.table else ():
        for name in arguments.tasks:
            task, package = TASKS[name], TASKS[name].env.partition(":")[0]
            if ":" in task.env and importlib.util.find_spec(package) is None:
                print(f"{name} is skipped: this Python has no {package}", flush=True)
                continue
            steps = arguments.steps or task.steps
            done = {tuple(one[key] for key in same) for one in results().get(name, [])}
            if ("random", name, 0, 0) not in done:
                about = {"candidate": "random", "task": name, "seed": 0, "steps": 0}
                record(RESULTS, task.suite, [about | {"score": random_score(name)}], same)
            for candidate in arguments.candidates:
                if (candidate, name, seed, steps) in done:
                    continue
                if candidate == "sbx":
                    result = peer(name, seed, steps, arguments.peer_python)
                else:
                    result = run(candidate, name, seed, steps, arguments.workers)
                record(RESULTS, task.suite, [result], same)
                print(*(value for key, value in result.items() if key != "curve"), flush=True)
    print(report(arguments.steps))
    print(races(arguments.steps))


if __name__ == "__main__":
    main()
