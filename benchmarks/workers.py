"""Steps per second over the number of workers at one update per step, start-up not counted, and the success after as many steps.

python benchmarks/workers.py [workers …]      default: 1 2 6
"""

import argparse
import csv
import json
import tempfile
from pathlib import Path

from machine import machine

from sac_dist import AgentConfig, Config, EnvConfig, TrainConfig, train

RESULTS = Path(__file__).parent / "results" / "workers.json"
STEPS = 12_000
FROM = 3_000  # steps before which the processes are still warming up


def measure(workers: int) -> tuple[float, float, float]:
    """Environment steps and updates per second after the first FROM steps; success of the last 100 training episodes."""
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainConfig(workers=workers, steps=STEPS, eval_interval=0, checkpoint_interval=10**9, run_dir=f"{folder}/run")
        train(Config(EnvConfig("SawyerGrasp-v0"), AgentConfig(), settings), quiet=True)
        with open(f"{folder}/run/metrics.csv") as file:
            columns = ("step", "updates", "wall_time_s", "train_success")
            rows = [{name: float(row[name]) for name in columns if row[name]} for row in csv.DictReader(file)]
    success = rows[-1].get("train_success", rows[-2].get("train_success", 0.0))
    rows = [row for row in rows if FROM <= row["step"] <= STEPS]
    seconds = rows[-1]["wall_time_s"] - rows[0]["wall_time_s"]
    return (rows[-1]["step"] - rows[0]["step"]) / seconds, (rows[-1]["updates"] - rows[0]["updates"]) / seconds, success


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workers", nargs="*", type=int, default=[1, 2, 6])
    results = []
    for workers in parser.parse_args().workers:
        steps, updates, success = measure(workers)
        results.append({"workers": workers, "steps_per_s": round(steps), "updates_per_s": round(updates), "success": success})
        ratio = steps / results[0]["steps_per_s"]
        print(
            f"{workers} workers: {steps:.0f} steps/s, {updates:.0f} updates/s, {ratio:.2f} × {results[0]['workers']} worker, "
            f"training success {success:.0%} after {STEPS} steps",
            flush=True,
        )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine(), "results": results}, indent=1))


if __name__ == "__main__":
    main()
