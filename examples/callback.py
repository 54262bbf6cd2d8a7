"""A callback that ends a run on a plateau, and draws the episodes of every evaluation.

    python examples/callback.py

The pictures are in TensorBoard: ``tensorboard --logdir runs``.
"""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sac_dist import Callback, Config, EnvConfig, Evaluation, TrainConfig, TrainingRun, train


class StopOnPlateau(Callback):
    """Ends the run when ``patience`` evaluations in a row have brought no better mean return."""

    def __init__(self, patience: int = 5) -> None:
        self.patience = patience
        self.best, self.worse = float("-inf"), 0

    def on_start(self, run: TrainingRun) -> None:
        self.run = run

    def on_evaluation(self, clock: int, evaluation: Evaluation) -> None:
        if evaluation.mean_return > self.best:
            self.best, self.worse = evaluation.mean_return, 0
        else:
            self.worse += 1
        self.run.scalars({"evaluations_without_progress": self.worse})
        if self.worse >= self.patience:
            self.run.stop("plateau")


class DrawEvaluations(Callback):
    """One histogram of returns per evaluation."""

    def on_start(self, run: TrainingRun) -> None:
        self.run = run

    def on_evaluation(self, clock: int, evaluation: Evaluation) -> None:
        figure = Figure(figsize=(5, 3), layout="constrained")  # no pyplot: nothing to close
        axes = figure.subplots()
        axes.hist(evaluation.returns, bins=20)
        axes.set(xlabel="return", ylabel="episodes", title=f"after {clock:,} steps")
        self.run.figure("eval/returns", figure)


def main(env: str = "SawyerGrasp-v0", patience: int = 5, run_dir: Path | None = None, **settings: Any) -> str:
    """Train until a plateau; returns what ended the run."""
    config = TrainConfig(run_dir=None if run_dir is None else str(run_dir), **settings)
    run = train(Config(EnvConfig(env), train=config), callbacks=[StopOnPlateau(patience), DrawEvaluations()])
    return run.outcome.reason


if __name__ == "__main__":  # train starts processes, which import this file
    print(main(workers=2, steps=100_000))
