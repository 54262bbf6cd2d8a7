"""Offline reinforcement learning on Pendulum-v1 as chapter 18 of "Hands-on Reinforcement Learning" does it,
in one command:

    python examples/offline_pendulum.py --seeds 0 1 2 3 4

For each seed SAC trains for 100 episodes and its whole replay is kept; CQL then learns from that alone, 100
epochs of 500 updates, and is evaluated after each. Networks, step sizes and rewards are the chapter's: one
hidden layer of 128 in the policy and two in the critics, rewards as (r + 8) / 8. The chapter's β of 5 stands
against squared TD errors, cql_weight against half of them: 2.5 here. Writes a run folder for each,
pendulum.npz (the data), offline.png and offline.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sac_dist import AgentConfig, Config, DataConfig, EnvConfig, TrainConfig, train
from sac_dist.formats import files
from sac_dist.reporting.metrics import read_metrics, read_returns
from sac_dist.settings import CQLSettings

EPISODES, EPOCHS, UPDATES = 100, 100, 500
# episodes: of ten, most start so that a policy which does not always swing up looks as good as one that does
EVALUATION = 100
AGENT = AgentConfig(
    hidden_width=128,
    hidden_depth=1,
    critic_depth=2,
    actor_lr=3e-4,
    critic_lr=3e-3,
    alpha_lr=3e-4,
    discount=0.99,
    tau=0.005,
    initial_alpha=0.01,
    target_entropy=-1.0,
    reward_scale=1 / 8,
    reward_bias=1.0,
    layer_norm=False,
)
CQL = CQLSettings(cql_weight=2.5, cql_samples=5)
TRAIN = TrainConfig(batch_size=64, warmup_steps=1000, update_ratio=1.0, eval_interval=0)


def experiment(seed: int, workers: int, out: Path) -> dict[str, Any]:
    """Both trainings with one seed: what the figure shows."""
    out.mkdir(parents=True)
    run_config = replace(TRAIN, seed=seed, workers=workers)
    online = Config(
        EnvConfig("Pendulum-v1"),
        AGENT,
        replace(run_config, episodes=EPISODES, eval_interval=EPISODES * 200, run_dir=str(out / "sac")),
    )
    sac = train(online, quiet=True)
    data = out / "pendulum.npz"
    files.write(files.read(out / "sac"), data)
    offline = Config(
        EnvConfig("Pendulum-v1"),
        AGENT,
        replace(run_config, eval_interval=UPDATES, eval_episodes=EVALUATION, run_dir=str(out / "cql")),
        DataConfig(offline=(str(data),), algo="cql", offline_steps=EPOCHS * UPDATES),
        algorithms={"cql": CQL},
    )
    cql = train(offline, quiet=True)
    rows = [row for row in read_metrics(out / "cql" / "metrics.csv") if row["eval_return"]]
    evaluations = {
        int(row["eval_step"]): float(row["eval_return"]) for row in rows
    }  # the last policy has been evaluated twice
    assert sac.outcome.evaluation is not None and cql.outcome.evaluation is not None
    result = {
        "seed": seed,
        "workers": workers,
        "transitions": len(files.read(data)),
        "sac_returns": read_returns(out / "sac" / "reward_log.npy").tolist(),
        "sac_final_return": sac.outcome.evaluation.mean_return,
        "sac_seconds": sac.outcome.seconds,
        "cql_updates": list(evaluations),
        "cql_returns": list(evaluations.values()),
        "cql_final_return": cql.outcome.evaluation.mean_return,
        "cql_seconds": cql.outcome.seconds,
    }
    result["cql_last_10_epochs"] = float(np.mean(result["cql_returns"][-10:]))
    return result


def moving_average(values: list[float], window: int = 9) -> np.ndarray:
    """Mean over ``window`` points around each, fewer at the ends."""
    reach = window // 2
    return np.array([np.mean(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))])


def draw(results: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for key, color, label in (
        ("sac_returns", "#3b6fb6", "SAC, return of training episode"),
        ("cql_returns", "#d1495b", f"CQL from SAC's replay, after epoch of {UPDATES} updates"),
    ):
        averages = []
        for result in results:
            returns = result[key]
            axes.plot(np.arange(1, len(returns) + 1), returns, color=color, alpha=0.18, linewidth=0.8)
            averages.append(moving_average(returns))
            axes.plot(np.arange(1, len(returns) + 1), averages[-1], color=color, alpha=0.45, linewidth=1.0)
        length = min(map(len, averages))
        mean = np.mean([average[:length] for average in averages], axis=0)
        axes.plot(
            np.arange(1, length + 1),
            mean,
            color=color,
            linewidth=2.2,
            label=f"{label}: mean of the 9-point moving averages",
        )
    axes.set_xlabel("episode (SAC, online), epoch (CQL, offline)")
    axes.set_ylabel("return")
    axes.set_title(f"Pendulum-v1, seeds {', '.join(str(result['seed']) for result in results)}", fontsize=10)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["right", "top"]].set_visible(False)
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/offline-pendulum"))
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists: give another --out")
    results = []
    for seed in arguments.seeds:
        result = experiment(seed, arguments.workers, arguments.out / f"seed-{seed}")
        results.append(result)
        print(
            f"seed {seed}: SAC {result['sac_final_return']:.1f} ({result['sac_seconds']:.0f} s), "
            f"CQL's last 10 epochs {result['cql_last_10_epochs']:.1f} ({result['cql_seconds']:.0f} s)",
            flush=True,
        )
        (arguments.out / "offline.json").write_text(json.dumps(results, indent=1))
        draw(results, arguments.out / "offline.png")
    print(f"figure {arguments.out / 'offline.png'}, numbers {arguments.out / 'offline.json'}")


if __name__ == "__main__":
    main()
