"""One trial: a short run, which ends early where others were better by then."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sac_dist.acting.evaluation import Evaluation
from sac_dist.engine.train import Run, resume, train
from sac_dist.reporting.callbacks import Callback, TrainingRun
from sac_dist.settings import Config, ConfigError
from sac_dist.storage.run_folder import RunFolder

if TYPE_CHECKING:
    import optuna

PRUNED = "pruned"  # the reason of a run that ended so
EVALUATIONS = 6  # of a trial, where --eval-interval says nothing else


def score(evaluation: Evaluation) -> float:
    """What a search makes large: the success rate where the environment says it, else the mean return."""
    rate = evaluation.success_rate
    return evaluation.mean_return if rate is None else rate


class Pruning(Callback):
    """Tells Optuna of each evaluation but the final one, and ends the run if it says so."""

    def __init__(self, trial: optuna.trial.Trial, interval: int, steps: int) -> None:
        self.trial, self.interval, self.steps = trial, interval, steps

    def on_start(self, run: TrainingRun) -> None:
        self.run = run

    def on_evaluation(self, clock: int, evaluation: Evaluation) -> None:
        if clock >= self.steps:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a run that goes on may live an evaluation again
            self.trial.report(score(evaluation), round(clock / self.interval))
        if self.trial.should_prune():
            self.run.stop(PRUNED, measure=False)


def play(trial: optuna.trial.Trial, config: Config, path: Path) -> Run:
    """The run of a trial in ``path``, from where it was left. Raises what train and resume do."""
    assert config.train.steps is not None
    pruning = Pruning(trial, config.train.eval_interval, config.train.steps)
    folder = RunFolder(path)
    run = None
    if folder.last.is_file():
        try:
            run = resume(path, quiet=True, callbacks=[pruning])
        except ConfigError:  # it had ended before anybody wrote it down
            run = None
    if run is None:
        shutil.rmtree(path, ignore_errors=True)
        settings = replace(config.train, run_dir=str(path), video=False)
        run = train(replace(config, train=settings), quiet=True, callbacks=[pruning])
    if not run.outcome.interrupted:
        shutil.rmtree(folder.replay, ignore_errors=True)  # nothing goes on there
    return run
