"""The search itself: trial after trial until there are enough, then a report and a tuned file."""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sac_dist.engine.outcome import TrainingFailed
from sac_dist.engine.search.report import flags_of, write_report, write_tuned
from sac_dist.engine.search.space import Range, check_ranges, read_ranges, usual_ranges
from sac_dist.engine.search.study import SearchFolder, Study, settings_of_trial
from sac_dist.engine.search.trial import EVALUATIONS, PRUNED, play, score
from sac_dist.engine.settling import settle_environment, with_absolute_names
from sac_dist.engine.train import prepare
from sac_dist.settings import Config, ConfigError
from sac_dist.system.signals import StopSignals

if TYPE_CHECKING:
    import optuna

FAILURES = 3  # trials in a row that come to nothing
LEAST = 2  # evaluations of a trial before its last
OF_THE_FOLDER = ("run_dir", "env", "env_kwargs", "horizon", "success", "demos")  # compared otherwise, or not


def optimize(
    config: Config,
    trials: int,
    given: Collection[str] = (),
    ranges: Path | None = None,
    note: Callable[[str], None] = print,
    line: str | None = None,
) -> str | None:
    """Search until there have been so many trials, in ``config.train.run_dir`` or ``runs/optimize-ENV``,
    where an earlier call of the same has left off. ``given``: settings that stay as they are. ``ranges``: a
    file of what is searched over instead of the usual. ``line``: what to say of ``config`` where it is taken.

    Returns the signal that ended it, by name, else None.

    Raises:
        ConfigError: something cannot work.
        TrainingFailed: three trials in a row fail.
    """
    name = config.env.name.replace("/", "-").replace(":", "-")
    path = Path(config.train.run_dir or f"runs/optimize-{name}")
    folder = SearchFolder(path)
    try:
        base, space, actions = _begin(folder, config, given, ranges, note, line)
        study = Study(folder, base, space, actions)
        if len(study.ended) >= trials:
            raise ConfigError(f"{path} has {len(study.ended)} trials: give --optimize a larger number")
        with StopSignals() as signals:
            received = _search(study, base, folder, trials, signals, note)
        if study.complete:
            write_report(study, base, [each.label for each in space], path)
            note(f"report {path / 'report.md'}")
            flags = [*flags_of(base, given), *(() if ranges is None else ("--ranges", str(ranges)))]
            note(write_tuned(study, base, path, flags))
        if received is not None:
            note(f"{received}: {len(study.ended)} of {trials} trials; the same command goes on")
        return received
    except OSError as error:
        raise TrainingFailed(f"cannot write to {path}: {error}") from error
    finally:
        folder.close()


def _begin(
    folder: SearchFolder,
    config: Config,
    given: Collection[str],
    file: Path | None,
    note: Callable[[str], None],
    about: str | None,
) -> tuple[Config, list[Range], int]:
    """The settings that a search is around, its ranges and the number of actions: as it began with them."""
    begun = folder.begun()
    if begun is not None:
        _check_same(begun, config, given, file, folder.path)
        note(f"going on with the search in {folder.path}")
        return begun
    base, _, schema, notes = prepare(config)
    if "eval_interval" not in given and base.train.steps:
        interval = max(1, base.train.steps // EVALUATIONS)
        base = replace(base, train=replace(base.train, eval_interval=interval))
    _check_budget(base)
    actions = schema.action_size
    space = usual_ranges(base, actions, given) if file is None else read_ranges(file, given)
    if not space:
        raise ConfigError("nothing is left to search over: all of it is given")
    base = replace(base, data=replace(base.data, her=config.data.her))  # each trial settles it again
    check_ranges(space, base)
    folder.begin(base, space, actions)
    for line in filter(None, [about, *notes]):
        note(line)
    note("searching over " + ", ".join(each.label for each in space))
    return base, space, actions


def _check_same(
    begun: tuple[Config, list[Range], int],
    config: Config,
    given: Collection[str],
    file: Path | None,
    path: Path,
) -> None:
    """Raise ConfigError where the settings given are not those that the search began with."""
    saved, ranges, _ = begun
    fresh = replace(config, data=with_absolute_names(config.data))
    old, new = saved.flat(), fresh.flat()
    changed = [name for name in given if name not in OF_THE_FOLDER and old.get(name) != new.get(name)]
    if settle_environment(config.env)[0] != saved.env:
        changed.append("env")
    if fresh.data.demos != saved.data.demos:
        changed.append("demos")
    if file is not None and read_ranges(file, given) != ranges:
        changed.append("ranges")
    if changed:
        flag = changed[0].replace("_", "-")
        raise ConfigError(f"{path} holds a search with another --{flag}: give --run-dir a new folder")


def _check_budget(config: Config) -> None:
    """Raise ConfigError where trials could not be told apart."""
    train = config.train
    if train.steps is None or train.episodes is not None or train.time is not None:
        raise ConfigError("--optimize has trials of --steps: leave out --episodes and --time")
    if train.success_target is not None:
        raise ConfigError("--optimize compares what is reached in --steps: leave out --success-target")
    if train.eval_interval == 0 or train.steps < LEAST * train.eval_interval:
        raise ConfigError(
            f"--steps {train.steps} with --eval-interval {train.eval_interval} is too little: a trial needs "
            f"{LEAST} evaluations before its last one"
        )
    if train.steps < 2 * train.warmup_steps:
        raise ConfigError(
            f"--steps {train.steps} is too little: the first {train.warmup_steps} (--warmup-steps) are "
            "without an update"
        )


def _search(
    study: Study,
    base: Config,
    folder: SearchFolder,
    trials: int,
    signals: StopSignals,
    note: Callable[[str], None],
) -> str | None:
    """Play trials; returns the signal that ended it."""
    failures = 0
    while len(study.ended) < trials:
        if signals.received is not None:
            return signals.received.name
        trial = study.ask()
        first = not study.ended
        try:
            run = play(trial, base.with_settings(settings_of_trial(trial)), folder.trial(trial.number))
        except (ConfigError, TrainingFailed) as error:
            failures += 1
            study.pruned(trial, {"why": " ".join(str(error).split())})
            note(f"trial {trial.number} came to nothing: {error}")
            if first or failures >= FAILURES:
                raise
            continue
        failures = 0
        outcome = run.outcome
        if outcome.reason in signal.Signals.__members__:
            return outcome.reason
        attributes: dict[str, Any] = {"seconds": outcome.seconds}
        if outcome.evaluation is None:
            why = PRUNED if outcome.reason == PRUNED else "the final policy was not measured"
            study.pruned(trial, attributes | {"why": why})
        else:
            measured = outcome.evaluation
            attributes |= {"return": measured.mean_return, "success": measured.success_rate}
            study.scored(trial, score(measured), attributes)
        note(told(study, trial, trials))
    return None


def told(study: Study, trial: optuna.trial.Trial, trials: int) -> str:
    """A trial in a line."""
    ended = study.trials[trial.number]
    values = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in ended.params.items()
    )
    result = ended.user_attrs["why"] if ended.state.name == "PRUNED" else f"{ended.value:.4g}"
    best = f", best {study.complete[0].value:.4g}" if study.complete else ""
    took = f"{ended.user_attrs['seconds']:.0f} s"
    done = f"{len(study.ended)} of {trials}"
    return f"trial {trial.number}: {result} in {took}, {done} done{best}: {values}"
