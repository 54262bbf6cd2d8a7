"""A training run from a configuration to its folder: the calls behind ``--train`` and ``--resume``."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError

from envs.tasks.arm import ArmEnv
from sac_dist.acting.environment import close, make_env, time_limit_of
from sac_dist.acting.goals import settle_her
from sac_dist.acting.interface import check_interface, notes_on
from sac_dist.acting.observation import check_policy_fits, schema_of
from sac_dist.acting.suitability import about_discount
from sac_dist.data.schema import Schema
from sac_dist.data.transitions import Transitions
from sac_dist.engine.corrected import settle_interventions
from sac_dist.engine.local import LocalEngine
from sac_dist.engine.machine import check_machine, check_processes
from sac_dist.engine.outcome import Outcome, TargetReached, TrainingFailed
from sac_dist.engine.parts import Engine
from sac_dist.engine.processes import call_apart, refuse_to_train_while_imported
from sac_dist.engine.settling import (
    check_recorded_env,
    settle,
    settle_environment,
    settle_unknown,
    with_absolute_names,
)
from sac_dist.engine.showing import show
from sac_dist.engine.start_method import start_context
from sac_dist.engine.supervisor import Supervisor
from sac_dist.engine.watching import check_watch
from sac_dist.execution.compiled import compile_obstacle
from sac_dist.formats import files
from sac_dist.formats.check import check_fits, digest
from sac_dist.reporting.builtin import check_kinds, sinks_of
from sac_dist.reporting.callbacks import Callback
from sac_dist.reporting.reporter import Reporter
from sac_dist.reporting.sinks import Sink
from sac_dist.settings import Config, ConfigError, DataConfig, EnvConfig
from sac_dist.settings.config import check_n_step
from sac_dist.settings.resuming import as_settled, check_resumable
from sac_dist.storage import checkpoint
from sac_dist.storage.checkpoint import Checkpoint
from sac_dist.storage.run_folder import RunFolder
from sac_dist.system.files import cache_obstacle
from sac_dist.system.signals import StopSignals


@dataclass(frozen=True)
class Run:
    """A finished run: its folder (policies under ``folder.best`` and ``folder.last``) and how it ended."""

    folder: RunFolder
    outcome: Outcome


def train(
    config: Any, quiet: bool = False, sinks: Sequence[Sink] = (), callbacks: Sequence[Callback] = ()
) -> Run:
    """Train as ``config`` says, into a new run folder.

    Args:
        config: a Config, or an environment alone: an id, a class or function that makes one, or an EnvConfig.
        quiet: without the terminal.
        sinks: get the run's records beside the built-in ones.
        callbacks: get its events.

    A script calls it under ``if __name__ == "__main__":``, as everything that starts processes.

    Raises:
        ConfigError: a setting, the environment or the folder cannot work.
        TrainingFailed: a part fails for good while it runs (sac_dist.engine.outcome).
    """
    refuse_to_train_while_imported()
    config = config if isinstance(config, Config) else Config.of(config)
    check_processes(config.train.members)
    check_watch(config.train)
    check_kinds("callbacks", callbacks, Callback)
    all_sinks = sinks_of(config, quiet, sinks)
    config, demos, schema, notes = prepare(config)
    check_machine(config, schema)
    if config.train.compile == "on" and (obstacle := compile_obstacle()) is not None:
        raise ConfigError(f"--compile on cannot work: {obstacle}")
    with _engine(config) as engine:
        run_dir = config.train.run_dir
        folder = (
            RunFolder.create_default(config.env.name) if run_dir is None else RunFolder.create(Path(run_dir))
        )
        try:
            reporter = Reporter(folder.path, config, all_sinks, callbacks)
            of_files = (files.notes(part, name) for name, part in zip(config.data.files, demos, strict=True))
            for note in (*notes, *filter(None, of_files)):
                reporter.note(note)
            return _run(
                folder,
                reporter,
                lambda signals: Supervisor(
                    config, folder, schema, reporter, engine, signals, _joined(demos, schema)
                ),
            )
        except ConfigError:
            folder.unlock()
            if not folder.last.exists():  # nothing has been trained
                shutil.rmtree(folder.path, ignore_errors=True)
            raise


class Prepared(NamedTuple):
    """A run that is settled, of an environment that has been tried."""

    config: Config
    demos: list[Transitions]
    schema: Schema
    notes: list[str]  # lines to be shown


def prepare(config: Config) -> Prepared:
    """Settle what ``config`` leaves open; starts and ends the environment. Raises ConfigError."""
    demos = [files.read(path) for path in config.data.files]
    config, choice = settle(config, demos)
    tried = _try_environment(config)
    config, line = settle_unknown(
        config, tried.arm_task, tried.horizon, tried.her, bool(tried.schema.pictures)
    )
    config, about_people = settle_interventions(config, tried.says_interventions, tried.schema)
    check_watch(config.train)
    _check_demos(config, demos, tried.schema)
    notes = [choice, *filter(None, [line, about_people]), *tried.notes]
    notes += about_discount(config.agent.discount, tried.horizon)
    return Prepared(config, demos, tried.schema, notes)


def resume(
    path: str | Path,
    config: Config | None = None,
    env: Any = None,
    quiet: bool = False,
    sinks: Sequence[Sink] = (),
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Go on with the run in ``path``.

    Args:
        config: the one of its checkpoint, in which what settings/resuming.py names may be changed.
        env: the environment again where it was given from Python, as a class or function: no file holds it.
        quiet, sinks, callbacks: as in :func:`train`; give those of the run again.

    Raises:
        ConfigError: as in :func:`train`; nothing is left to do, which is a TargetReached (engine.outcome)
            where the run has reached its success target.
    """
    refuse_to_train_while_imported()
    path = Path(path)
    folder = RunFolder.open(path)
    try:
        saved = read_run(path)
        assert saved.run is not None
        config = _resumed(saved.config, config, env)
        check_processes(config.train.members)
        check_watch(config.train)
        check_kinds("callbacks", callbacks, Callback)
        all_sinks = sinks_of(config, quiet, sinks)
        _check_unfinished(config, saved, path)
        check_machine(config, saved.schema)
        demos = _read_again(config, saved, path)
        settled = replace(
            config.data, her=config.data.her or "none"
        )  # of runs from before there was the setting
        tried = _try_environment(replace(config, data=settled), saved.schema)
        schema = tried.schema
        config, _ = settle_interventions(config, tried.says_interventions, tried.schema)
        check_watch(config.train)
        _check_demos(config, demos, schema)
        with _engine(config) as engine:
            reporter = Reporter(folder.path, config, all_sinks, callbacks, saved.run["log"])
            for note in tried.notes:
                reporter.note(note)
            return _run(
                folder,
                reporter,
                lambda signals: Supervisor(
                    config, folder, schema, reporter, engine, signals, _joined(demos, schema), saved
                ),
            )
    except ConfigError:
        folder.unlock()
        raise


def _resumed(saved: Config, config: Config | None, env: Any) -> Config:
    """The settings that a run goes on with. Raise ConfigError for a change of what cannot change."""
    config = config or saved
    if env is not None:
        given = env if isinstance(env, EnvConfig) else EnvConfig(env)
        config = replace(config, env=given.over(config.env))
    config = replace(config, env=settle_environment(config.env)[0], data=with_absolute_names(config.data))
    config = as_settled(saved, config)
    check_resumable(saved, config)
    return config


@contextlib.contextmanager
def _engine(config: Config) -> Iterator[type[Engine]]:
    """The run's engine; a cluster that was started for this run ends with the block. Raises ConfigError."""
    if config.train.engine == "local":
        yield LocalEngine
        return
    from sac_dist.engine.ray.cluster import connected

    with connected(config):
        from sac_dist.engine.ray.driver import RayEngine  # imports ray, which is there now

        yield RayEngine


def read_run(path: Path) -> Checkpoint:
    """The last checkpoint of a run folder. Raise ConfigError if it is not one that can be resumed."""
    return checkpoint.read_run(RunFolder(path).last)


def _check_unfinished(config: Config, saved: Checkpoint, path: Path) -> None:
    """Raise ConfigError if a budget of ``config`` is already used up, TargetReached if its success target is
    reached.
    """
    assert saved.run is not None
    target, rate = config.train.success_target, saved.run.get("best_rate")
    if target is not None and rate is not None and rate >= target:
        raise TargetReached(
            f"{path} has reached its success target {target:g}: {rate:.0%} of the unseen episodes succeeded; "
            "to train on, give a higher --success-target or --no-success-target"
        )
    # runs of before there were offline phases have three counters
    steps, _, episodes, offline = (*saved.run["counters"], 0)[:4]
    budgets: dict[str, tuple[float | None, float]]
    if config.data.offline:
        budgets = {"offline_steps": (config.data.offline_updates(0), offline)}
    else:
        budgets = {"steps": (config.train.steps, steps), "episodes": (config.train.episodes, episodes)}
    budgets["time"] = (config.train.time, saved.run["log"]["wall_time_s"])
    for name, (budget, done) in budgets.items():
        if budget is not None and done >= budget:
            raise ConfigError(
                f"nothing left to do in {path}: {done:.0f} of {budget:.0f} {name} done; give a larger "
                f"--{name.replace('_', '-')}"
            )


def _read_again(config: Config, saved: Checkpoint, path: Path) -> list[Transitions]:
    """The run's data, wherever it lies now. Raises ConfigError unless it is what the run began with."""
    try:
        demos = [files.read(name) for name in config.data.files]
    except ConfigError as error:
        raise ConfigError(
            f"{error}; if it has moved: --resume {path} --demos NEW_NAME…, all of the run's"
        ) from None
    joined = _joined(demos)
    known = (saved.run or {}).get("data")  # runs of before it was written have none
    if known is not None and (joined is None or digest(joined) != known):
        raise ConfigError(
            f"{' '.join(config.data.files)} holds other transitions than this run began with: a run goes on "
            "with the same, in the same order (any name and kind of file will do: --demos)"
        )
    return demos


def _joined(demos: list[Transitions], schema: Schema | None = None) -> Transitions | None:
    """``schema``: the environment's, which may stack pictures otherwise than those who recorded them."""
    if not demos:
        return None
    joined = Transitions.concatenate(demos)
    return joined if schema is None or joined.frames is None else replace(joined, schema=schema)


def _check_demos(config: Config, demos: list[Transitions], schema: Schema) -> None:
    """Raise ConfigError unless the demonstrations are of this environment, as far as their files say, and fit
    the buffer.
    """
    for name, part in zip(config.data.files, demos, strict=True):
        check_fits(part, schema, name)
        check_recorded_env(config, part, name)
    total = sum(map(len, demos))
    if config.data.demo_overwrite and total > config.train.buffer_size:
        raise ConfigError(
            f"{total} transitions of demonstrations do not fit into a buffer of "
            f"{config.train.buffer_size}: raise --buffer-size"
        )


class Tried(NamedTuple):
    """What is known of an environment that was tried."""

    schema: Schema
    notes: list[str]  # lines to be shown
    her: str  # DataConfig's, settled
    horizon: int | None  # steps of an episode at most
    arm_task: bool  # on the base class of this package's tasks
    says_interventions: bool  # its infos say what a person does


def _try_environment(config: Config, known: Schema | None = None) -> Tried:
    """The environment, whose schema has to fit a policy of the ``known`` one.

    The environment is started, reset and stepped once, in a process of its own: a broken one is met before
    all else.
    """
    tried: Tried = call_apart(
        _context(config),
        f"starting {config.env.name}",
        _start_once,
        config.env,
        config.data,
        known,
        config.agent.n_step,
        timeout=config.train.step_timeout,
    )
    return tried


def _start_once(config: EnvConfig, data: DataConfig, known: Schema | None, n_step: int = 1) -> Tried:
    env = make_env(config)
    try:
        if known is not None:
            check_policy_fits(known, env, config.name)
        check_n_step(n_step, time_limit_of(env))
        says = check_interface(env, config.name)
        schema, notes = schema_of(env), notes_on(env, config.name)
        horizon, arm_task = time_limit_of(env), isinstance(env.unwrapped, ArmEnv)
        her, about_goals = settle_her(env, config.name, data, n_step)
        notes += about_goals
    finally:
        obstacle = close(env)
    if obstacle is not None:
        notes.append(
            f"{config.name}: close fails, and whatever it holds is freed with its process: {obstacle}"
        )
    return Tried(schema, notes, her, horizon, arm_task, says)


def _context(config: Config) -> BaseContext:
    return start_context(with_compiler=config.train.compiles)


def _run(folder: RunFolder, reporter: Reporter, make: Callable[[StopSignals], Supervisor]) -> Run:
    if (obstacle := cache_obstacle()) is not None:
        reporter.note(obstacle)
    with StopSignals() as signals:
        try:
            with reporter:
                run = _train_and_show(folder, reporter, make, signals)
        except (OSError, SafetensorError) as error:  # the disk is full, the folder is gone
            raise TrainingFailed(
                f"cannot write to {folder.path}: {error}; the last whole checkpoint there is kept"
            ) from error
        finally:
            with contextlib.suppress(OSError):  # the folder is gone
                folder.clear()
            folder.unlock()
    if reporter.failure is not None:
        raise TrainingFailed(f"{reporter.failure}; saved to {folder.last}") from reporter.failure.__cause__
    return run


def _train_and_show(
    folder: RunFolder, reporter: Reporter, make: Callable[[StopSignals], Supervisor], signals: StopSignals
) -> Run:
    supervisor = make(signals)
    folder.write_config(supervisor.config)
    outcome = supervisor.run()
    return Run(folder, show(supervisor.config, folder, outcome, reporter, signals))
