"""How long tasks take to learn with any robot: trains each pair with every seed, until an evaluation of unseen
episodes passes.

    python benchmarks/worlds.py --tasks Grasp-v0 --robots sawyer so101.xml panda.xml --steps 20000 -- --objects box

What follows ``--`` goes to each training run. Prints a row a run, and adds it to benchmarks/results/worlds.json;
runs lie in runs/worlds/. Two workers on two cores, unless the flags say otherwise.
"""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

from machine import machine

RESULTS = Path(__file__).parent / "results" / "worlds.json"


def run(task: str, robot: str, seed: int, steps: int, passes: float, flags: list[str]) -> dict:
    """One training run: when an evaluation first passed, and the last one."""
    folder = Path("runs/worlds") / f"{task}-{Path(robot).stem}-seed{seed}"
    number = 1
    while folder.exists():
        number += 1
        folder = folder.with_name(f"{task}-{Path(robot).stem}-seed{seed}-{number}")
    command = [
        *(sys.executable, "-m", "sac_dist", "--train", "--workers", "2", "--env", task, "--robot", robot),
        *("--seed", str(seed), "--steps", str(steps), "--success-target", str(passes), "--no-video"),
        *("--run-dir", str(folder), *flags),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=7200)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr or done.stdout}")
    with open(folder / "metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["eval_step"]]
    evaluations = [
        (int(row["eval_step"]), float(row["eval_success"]), float(row["wall_time_s"])) for row in rows
    ]
    passed = next((each for each in evaluations if each[1] >= passes), None)
    result = {
        "task": task,
        "robot": Path(robot).stem,
        "seed": seed,
        "flags": flags,
        "passed_at_step": passed and passed[0],
        "passed_after_s": passed and passed[2],
        "last": evaluations[-1][1],
        "best": max(each[1] for each in evaluations),
        "command": " ".join(["python", *command[1:]]).replace(robot, Path(robot).name),
        "machine": machine(),
    }
    print(
        f"| {task} | {result['robot']} | {seed} | {result['passed_at_step']} | {result['passed_after_s']} | "
        f"{result['last']:.2f} | {result['best']:.2f} |",
        flush=True,
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--robots", nargs="+", default=["sawyer"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--passes", type=float, default=0.95, help="success rate that ends a run")
    own = sys.argv[1:]
    cut = own.index("--") if "--" in own else len(own)
    given, flags = parser.parse_args(own[:cut]), own[cut + 1 :]
    print("| task | robot | seed | passed at step | after s | last | best |")
    for task in given.tasks:
        for robot in given.robots:
            for seed in given.seeds:
                result = run(task, robot, seed, given.steps, given.passes, flags)
                earlier = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
                RESULTS.write_text(json.dumps([*earlier, result], indent=1) + "\n")


if __name__ == "__main__":
    main()
