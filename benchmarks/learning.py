"""How many steps each task needs: trains it with every seed and prints when an evaluation of 100 unseen
episodes first passed.

    python benchmarks/learning.py                 all tasks
    python benchmarks/learning.py grasp lift      some

Writes the runs to runs/learning/ and all figures to benchmarks/results/learning.json.
"""

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path

from machine import machine

from sac_dist import AgentConfig, Config, EnvConfig, TrainConfig, train

RESULTS = Path(__file__).parent / "results" / "learning.json"


@dataclass(frozen=True)
class Task:
    """Train ``env`` for ``steps`` with each seed; ``passes`` is a success rate, or for Pendulum a mean
    return.
    """

    env: EnvConfig
    steps: int
    seeds: int
    passes: float
    agent: AgentConfig = AgentConfig()  # noqa: RUF009 (frozen)


TASKS = {
    "grasp": Task(EnvConfig("SawyerGrasp-v0"), 20_000, 5, 0.95),
    "lift": Task(EnvConfig("SawyerLift-v0"), 50_000, 3, 0.95),
    "book": Task(
        EnvConfig("SawyerGrasp-v0", {"observation": "book", "random_target": False}), 40_000, 1, 0.95
    ),
    "end_position": Task(EnvConfig("SawyerGrasp-v0", {"control": "end_position"}), 20_000, 1, 0.95),
    "pendulum": Task(EnvConfig("Pendulum-v1"), 20_000, 3, -160.0),
}


def run(name: str, task: Task, seed: int) -> dict:
    """One training run; its evaluations as [step, value, seconds]."""
    folder = Path("runs/learning") / f"{name}-seed{seed}"
    settings = TrainConfig(
        seed=seed, steps=task.steps, eval_interval=2500, eval_episodes=100, run_dir=str(folder)
    )
    outcome = train(Config(task.env, task.agent, settings), quiet=True).outcome
    with open(folder / "metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["eval_step"]]
    column = "eval_return" if name == "pendulum" else "eval_success"
    evaluations = [[int(row["eval_step"]), float(row[column]), float(row["wall_time_s"])] for row in rows]
    passed = [evaluation for evaluation in evaluations if evaluation[1] >= task.passes]
    return {
        "task": name,
        "seed": seed,
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 1),
        "first_passed_at": passed[0][0] if passed else None,
        "final": evaluations[-1][1],
        "evaluations": evaluations,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", choices=[*TASKS, []], help="default: all")
    names = parser.parse_args().tasks or list(TASKS)
    earlier = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    runs = [result for result in earlier if result["task"] not in names]
    for name in names:
        for seed in range(TASKS[name].seeds):
            result = run(name, TASKS[name], seed)
            runs.append(result)
            print(f"{name:13} seed {seed}: {TASKS[name].passes} first passed at {result['first_passed_at']} steps; "
                  f"final {result['final']:.2f} after {result['steps']} steps, {result['seconds']:.0f} s", flush=True)  # fmt: skip
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps({"machine": machine(), "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
