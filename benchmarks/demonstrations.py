"""What demonstrations are worth: sparse rewards, the lift, learning from data alone, and going on from there.

    python benchmarks/demonstrations.py                       all experiments
    python benchmarks/demonstrations.py sparse lift_demos     some

Each trains with seeds 0, 1, 2 and evaluates 100 unseen episodes every 2,500 steps (environment steps and
offline updates), few_cql_then_online 400 every 1,000. Records its data, writes its runs in
runs/demonstrations/ over earlier ones, and all figures to benchmarks/results/demonstrations.json.
"""

import argparse
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import machine

from sac_dist import AgentConfig, Config, DataConfig, EnvConfig, TrainConfig, train
from sac_dist.acting.recording import record
from sac_dist.formats import files
from sac_dist.reporting.metrics import read_metrics
from sac_dist.settings.algorithms import routed
from sac_dist.settings.presets import offline

RESULTS = Path(__file__).parent / "results" / "demonstrations.json"
RUNS = Path("runs/demonstrations")
GRASP, LIFT, SPARSE = (
    EnvConfig("SawyerGrasp-v0"),
    EnvConfig("SawyerLift-v0"),
    EnvConfig("SawyerGrasp-v0", {"reward": "sparse"}),
)
OF_AGENT = offline("cql")
CQL = routed(OF_AGENT)
FROM_DATA = AgentConfig(**OF_AGENT)
EXPERT = (("expert", 50),)
FEW = (("expert", 50), ("random", 200))
THEN_ONLINE = {"offline_steps": 10_000, "online_algo": "cql", "demo_mode": "prefill"}
MIXED = (("expert", 600), ("random", 320))  # half of the transitions each


@dataclass(frozen=True)
class Experiment:
    """Train on ``env`` with data from ``recorded`` (policy, episodes), used as ``data`` says; ``steps`` None:
    offline alone.
    """

    env: EnvConfig
    steps: int | None
    agent: AgentConfig = AgentConfig()  # noqa: RUF009 (frozen)
    recorded: tuple[tuple[str, int], ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    eval_interval: int = 2500
    eval_episodes: int = 100
    update_ratio: float = TrainConfig.update_ratio

    def config(self, seed: int, run_dir: Path) -> Config:
        intervals = {
            "steps": self.steps,
            "eval_interval": self.eval_interval,
            "update_ratio": self.update_ratio,
        }
        settings = TrainConfig(seed=seed, eval_episodes=self.eval_episodes, run_dir=str(run_dir), **intervals)
        paths = tuple(str(self.recording(policy, episodes)) for policy, episodes in self.recorded)
        use = {"demos": paths} if self.steps else {"offline": paths}
        return Config(self.env, self.agent, settings, DataConfig(**use, **self.data), algorithms=CQL)

    def recording(self, policy: str, episodes: int) -> Path:
        path = RUNS / f"{self.env.id}-{self.env.kwargs.get('reward', 'augmented')}-{policy}-{episodes}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            files.write(record(self.env, policy, episodes), path)
        return path


EXPERIMENTS = {
    "sparse": Experiment(SPARSE, 20_000),
    "sparse_demos": Experiment(SPARSE, 20_000, AgentConfig(), EXPERT),
    "lift_demos": Experiment(LIFT, 40_000, AgentConfig(), EXPERT),
    "few_cql_then_online": Experiment(
        GRASP, 15_000, FROM_DATA, FEW, THEN_ONLINE, eval_interval=1000, eval_episodes=400, update_ratio=1.0
    ),
    "mixed_cql": Experiment(GRASP, None, FROM_DATA, MIXED),
    "mixed_sac": Experiment(GRASP, None, FROM_DATA, MIXED, {"algo": "sac"}),
    "mixed_bc": Experiment(GRASP, None, FROM_DATA, MIXED, {"algo": "bc"}),
}


def run(name: str, seed: int) -> dict[str, Any]:
    """One run; its evaluations as [step, success, return, q_mean]."""
    folder = RUNS / f"{name}-seed{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    outcome = train(EXPERIMENTS[name].config(seed, folder), quiet=True).outcome
    rows = [row for row in read_metrics(folder / "metrics.csv") if row["eval_step"]]
    columns = ("eval_success", "eval_return", "q_mean")
    evaluations = [
        [int(row["eval_step"]), *(float(row.get(column) or "nan") for column in columns)] for row in rows
    ]
    passed = [evaluation[0] for evaluation in evaluations if evaluation[1] >= 0.95]
    return {
        "experiment": name,
        "seed": seed,
        "steps": outcome.steps,
        "updates": outcome.updates,
        "seconds": round(outcome.seconds, 1),
        "first_95_percent": passed[0] if passed else None,
        "final": evaluations[-1][1],
        "evaluations": evaluations,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", choices=[*EXPERIMENTS, []], help="default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    names = arguments.experiments or list(EXPERIMENTS)
    runs = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    for name in names:
        for seed in arguments.seeds:
            result = run(name, seed)
            runs = [
                earlier for earlier in runs if (earlier["experiment"], earlier["seed"]) != (name, seed)
            ] + [result]
            success = " ".join(f"{evaluation[1]:.0%}" for evaluation in result["evaluations"])
            print(
                f"{name:20} seed {seed}: {success}; {result['updates']} updates, {result['seconds']:.0f} s",
                flush=True,
            )
            RESULTS.parent.mkdir(exist_ok=True)
            text = json.dumps({"machine": machine(), "runs": runs}, indent=1).replace("NaN", "null")
            RESULTS.write_text(text)


if __name__ == "__main__":
    main()
