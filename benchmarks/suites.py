"""Tasks of other people's suites: what each takes here, beside SBX's and Stable-Baselines3's SAC.

    python benchmarks/suites.py HalfCheetah Hopper Walker2d Ant --seeds 0 1 2
    python benchmarks/suites.py HalfCheetah --sides ours sbx sb3 --python PEERS/bin/python
    ROBOTICS/bin/python benchmarks/suites.py FetchPush --sides ours sb3 --python ROBOTICS/bin/python
    METAWORLD/bin/python benchmarks/suites.py MetaWorld-reach MetaWorld-pick-place --seeds 0 1
    python benchmarks/suites.py --table

Each run is an ordinary ``python -m sac_dist --train`` with the flags that TASKS has for the task, or
peers/suite_task.py in the peers' Python, one after the other. Every so many steps unseen episodes are
played by the mean policy: here beside the training and on the same cores, there while the clock stands
still. The clocks begin with the training, so imports are on no side, and what SBX compiles as it goes is in
its time. A run ends after the task's steps, at its success rate, or after --budget seconds.

Adds to benchmarks/results/suites.json after each run; one that is there is not run again.
"""

import argparse
import csv
import json
import math
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from cameras import run, told
from measuring import record, recorded, table

HERE = Path(__file__).resolve().parent
SIDES = "ours", "sbx", "sb3"


@dataclass(frozen=True)
class Task:
    suite: str  # by which results are kept apart: each has its own versions
    env: str
    steps: int
    every: int
    flags: tuple[str, ...] = ()  # ours
    target: float = 2.0  # success rate that ends the run
    her: bool = False  # SB3 has to be told
    episodes: int = 10  # of an evaluation; one at the target is confirmed with 100


def fetch(name: str, steps: int, every: int, target: float) -> Task:
    flags = ("--workers", "2")
    return Task("robotics", f"gymnasium_robotics:{name}-v4", steps, every, flags, target, True, episodes=50)


def metaworld(name: str) -> Task:
    kwargs = json.dumps({"env_name": f"{name}-v3"})
    flags = ("--workers", "2", "--env-kwargs", kwargs, "--preset", "plain", "--discount", "0.975")
    flags += "--horizon", "200", "--noise-repeat", "16", "--n-step", "3"
    return Task("metaworld", "metaworld:Meta-World/MT1", 500_000, 25_000, flags, 0.95, episodes=20)


TASKS = {
    **{
        name: Task("mujoco", f"{name}-v5", 100_000, 10_000, ("--workers", "1"))
        for name in ("HalfCheetah", "Hopper", "Walker2d", "Ant")
    },
    "FetchReach": fetch("FetchReach", 20_000, 500, 1.0),
    "FetchPush": fetch("FetchPush", 500_000, 10_000, 0.95),
    "FetchPickAndPlace": fetch("FetchPickAndPlace", 1_000_000, 20_000, 0.95),
    "FetchSlide": fetch("FetchSlide", 1_000_000, 20_000, 0.6),
    **{
        f"MetaWorld-{name}": metaworld(name)
        for name in ("reach", "push", "pick-place", "door-open", "bin-picking")
    },
}


def trained(name: str, side: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """One run and its evaluations: [steps, s, mean return, success rate]."""
    task = TASKS[name]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        common = [f"--seed={seed}", f"--steps={task.steps}", "--env", task.env]
        if side == "ours":
            line = [sys.executable, "-m", "sac_dist", "--train", *task.flags, *common, "--no-video"]
            line += ["--run-dir=run", f"--eval-interval={task.every}", f"--eval-episodes={task.episodes}"]
            line += [f"--time={given.budget}"]
            line += [f"--success-target={task.target}"] if task.target <= 1.0 else []
            run(line, folder)
            found = evaluations(folder / "run")
        else:
            line = [given.python, str(HERE / "peers" / "suite_task.py"), "--side", side, *common]
            if "--env-kwargs" in task.flags:
                at = task.flags.index("--env-kwargs")
                line += task.flags[at : at + 2]
            line += [f"--every={task.every}", f"--episodes={task.episodes}", f"--budget={given.budget}"]
            line += [f"--target={task.target}", f"--threads={given.threads}", "--out=found.json"]
            line += ["--her"] if task.her else []
            run(line, folder)
            found = json.loads((folder / "found.json").read_text())
    return {"task": name, "side": side, "seed": seed, "evaluations": found, "command": told(line)}


def evaluations(folder: Path) -> list[list[float]]:
    with (folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["eval_step"]]
    return [
        [
            int(row["eval_step"]),
            float(row["wall_time_s"]),
            float(row["eval_return"]),
            float(row["eval_success"] or 0),
        ]
        for row in rows
    ]


def report() -> str:
    """A row for each run: where it ended, and when it had what each peer ended with."""
    results = [one for section in recorded("suites").values() for one in section["results"]]
    value = {name: 2 if task.target > 1.0 else 3 for name, task in TASKS.items()}
    ends: dict[tuple[str, str], list[float]] = {}  # of the peers, over their seeds
    for one in results:
        ends.setdefault((one["task"], one["side"]), []).append(one["evaluations"][-1][value[one["task"]]])
    rows = []
    for one in sorted(results, key=lambda one: (list(TASKS).index(one["task"]), one["side"], one["seed"])):
        column, seen = value[one["task"]], one["evaluations"]
        reached = []
        for peer in SIDES[1:]:
            goal = mean(ends.get((one["task"], peer), [math.inf]))
            reached.append(next((each[1] for each in seen if each[column] >= goal), None))
        rows.append(
            (one["task"], one["side"], one["seed"], seen[-1][0], seen[-1][column], seen[-1][1], *reached)
        )
    heads = (
        "task",
        "side",
        "seed",
        "steps",
        "return or success",
        "seconds",
        "to SBX's last",
        "to SB3's last",
    )
    return table(heads, rows)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and so end the run
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", choices=[*TASKS, []])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=["ours"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--python", help="of the peers")
    parser.add_argument("--budget", type=float, default=3600.0, help="seconds of training, at most")
    parser.add_argument("--threads", type=int, default=2, help="of torch, for SB3")
    parser.add_argument("--table", action="store_true", help="no run, only the table")
    given = parser.parse_args()
    if given.python is None and set(given.sides) != {"ours"}:
        parser.error("--sides sbx and sb3 need --python, of an environment that has them")
    same = ("task", "side", "seed")
    for seed in given.seeds if not given.table else ():
        for name in given.tasks:
            for side in given.sides:
                suite = TASKS[name].suite
                done = recorded("suites").get(suite, {}).get("results", [])
                if (name, side, seed) not in {tuple(one[key] for key in same) for one in done}:
                    record("suites", suite, [trained(name, side, seed, given)], same)
    print(report())


if __name__ == "__main__":
    main()
