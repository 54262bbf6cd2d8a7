"""A training run from a configuration to its folder: the calls behind ``--train`` and ``--resume``."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, cast

import gymnasium
from safetensors import SafetensorError

import envs
from sac_dist.acting.observation import check_policy_fits, schema_of
from sac_dist.acting.playback import film, merge
from sac_dist.acting.rollout import make_env
from sac_dist.data.schema import Schema
from sac_dist.data.transitions import Transitions
from sac_dist.engine.local import LocalEngine
from sac_dist.engine.machine import check_machine, check_processes
from sac_dist.engine.outcome import Outcome, TrainingFailed
from sac_dist.engine.parts import Engine
from sac_dist.engine.processes import call_apart
from sac_dist.engine.signals import StopSignals
from sac_dist.engine.start_method import start_context
from sac_dist.engine.supervisor import Supervisor
from sac_dist.execution.compiled import compile_obstacle
from sac_dist.formats import files
from sac_dist.formats.check import check_fits, digest
from sac_dist.reporting import plots
from sac_dist.reporting.builtin import check_kinds, sinks_of
from sac_dist.reporting.callbacks import Callback
from sac_dist.reporting.commands import command
from sac_dist.reporting.reporter import Reporter
from sac_dist.reporting.sinks import Sink
from sac_dist.settings import Config, ConfigError, DataConfig, EnvConfig
from sac_dist.storage import checkpoint
from sac_dist.storage.checkpoint import Checkpoint
from sac_dist.storage.run_folder import RunFolder
from sac_dist.system.files import cache_obstacle

DEFAULT_STEPS = 30_000
DEFAULT_OFFLINE_STEPS = 20_000
VIDEO_EPISODES = 4
FILM_SECONDS, FILM_FRAMES = 10.0, 1000  # a longer film is cut; --test --video draws a whole one
# What a run has to share with its demonstrations, and what it is where nothing is said; the others may
# differ.
SAME = {"env": "auto", "control": "joint_velocity", "observation": "relative", "reward": "augmented"}


@dataclass(frozen=True)
class Run:
    """A finished run: its folder (policies under ``folder.best`` and ``folder.last``) and how it ended."""

    folder: RunFolder
    outcome: Outcome


def train(
    config: Config, quiet: bool = False, sinks: Sequence[Sink] = (), callbacks: Sequence[Callback] = ()
) -> Run:
    """Train as ``config`` says, into a new run folder. ``sinks`` get its records beside the built-in ones,
    ``callbacks`` its events; ``quiet``: without the terminal.

    Raise ConfigError when a setting, the environment or the folder cannot work, and
    :class:`~sac_dist.engine.outcome.TrainingFailed` when a part fails for good while it runs. Call it under
    ``if __name__ == "__main__":``, as everything that starts processes.
    """
    check_processes(config.train.members)
    check_kinds("callbacks", callbacks, Callback)
    all_sinks = sinks_of(config, quiet, sinks)
    demos = [files.read(path) for path in config.data.files]
    config, choice = _settle(config, demos)
    schema = _schema(config)
    _check_demos(config, demos, schema)
    check_machine(config, schema)
    if config.train.compile == "on" and (obstacle := compile_obstacle()) is not None:
        raise ConfigError(f"--compile on cannot work: {obstacle}")
    with _engine(config) as engine:
        run_dir = config.train.run_dir
        folder = (
            RunFolder.create_default(config.env.env) if run_dir is None else RunFolder.create(Path(run_dir))
        )
        try:
            reporter = Reporter(folder.path, config, all_sinks, callbacks)
        except ConfigError:
            folder.unlock()
            shutil.rmtree(folder.path, ignore_errors=True)
            raise
        reporter.note(choice)
        for name, part in zip(config.data.files, demos, strict=True):
            if (note := files.notes(part, name)) is not None:
                reporter.note(note)
        return _run(
            folder,
            reporter,
            lambda signals: Supervisor(config, folder, schema, reporter, engine, signals, _joined(demos)),
        )


def resume(
    path: Path,
    config: Config,
    quiet: bool = False,
    sinks: Sequence[Sink] = (),
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Go on with the run in ``path``; ``config`` is the one of its checkpoint with what may change (see
    cli.py) changed. Sinks and callbacks as in :func:`train`: give those of the run again.
    """
    check_processes(config.train.members)
    check_kinds("callbacks", callbacks, Callback)
    all_sinks = sinks_of(config, quiet, sinks)
    folder = RunFolder.open(path)
    try:
        saved = read_run(path)
        _check_unfinished(config, saved, path)
        check_machine(config, saved.schema)
        config = replace(config, data=_with_absolute_names(config.data))
        demos = _read_again(config, saved, path)
        schema = _schema(config, saved.schema)
        _check_demos(config, demos, schema)
        with _engine(config) as engine:
            assert saved.run is not None
            reporter = Reporter(folder.path, config, all_sinks, callbacks, saved.run["log"])
            return _run(
                folder,
                reporter,
                lambda signals: Supervisor(
                    config, folder, schema, reporter, engine, signals, _joined(demos), saved
                ),
            )
    except ConfigError:
        folder.unlock()
        raise


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
    """Raise ConfigError if a budget of ``config`` is already used up."""
    assert saved.run is not None
    steps, _, episodes, offline = (*saved.run["counters"], 0)[
        :4
    ]  # runs of before there were offline phases have three
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


def _joined(demos: list[Transitions]) -> Transitions | None:
    return Transitions.concatenate(demos) if demos else None


def _recorded_env(demos: Transitions) -> dict[str, Any]:
    """The environment's options that a file of demonstrations names, but for the simulator; what is no option
    is left out.
    """
    env = demos.source.get("env")
    names = {option.name for option in fields(EnvConfig)} - {"backend"}
    return (
        {name: value for name, value in env.items() if name in names and type(value) in (str, bool, int)}
        if isinstance(env, dict)
        else {}
    )


def _same_environment(theirs: object, ours: str) -> bool:
    """Whether two ids name one environment: what gymnasium calls Name-v0 may be given as module:Name-v0."""
    modules, names = zip(*(str(id).rpartition(":")[::2] for id in (theirs, ours)), strict=True)
    return names[0] == names[1] and (modules[0] == modules[1] or not all(modules))


def _check_registered(id: str, name: str) -> None:
    """Raise ConfigError if the id that file ``name`` gives is in no package that is imported."""
    try:
        if ":" not in id and id != "auto":
            gymnasium.spec(id)
    except gymnasium.error.Error:
        raise ConfigError(
            f"{name} was recorded in {id} of a package that it does not name: give --env MODULE:{id}, where "
            f"importing MODULE registers it"
        ) from None


def _check_demos(config: Config, demos: list[Transitions], schema: Schema) -> None:
    """Raise ConfigError unless the demonstrations are of this environment, as far as their files say, and fit
    the buffer.
    """
    for name, part in zip(config.data.files, demos, strict=True):
        check_fits(part, schema, name)
        recorded = _recorded_env(part)
        for option, default in SAME.items() if "env" in recorded else ():
            theirs, ours = recorded.get(option, default), getattr(config.env, option) or default
            if not (_same_environment(theirs, ours) if option == "env" else theirs == ours):
                raise ConfigError(
                    f"{name}: recorded with {option} {theirs}, this run has {ours}: record anew, or "
                    f"give --{option} {theirs}"
                )
    total = sum(map(len, demos))
    if config.data.demo_overwrite and total > config.train.buffer_size:
        raise ConfigError(
            f"{total} transitions of demonstrations do not fit into a buffer of "
            f"{config.train.buffer_size}: raise --buffer-size"
        )


def _settle(config: Config, demos: list[Transitions]) -> tuple[Config, str]:
    """``config`` with every ``auto`` and missing budget replaced by what it comes to, and a line about the
    choice.
    """
    if config.env.env == "auto" and demos:
        config = replace(config, env=merge(EnvConfig(**_recorded_env(demos[0])), config.env))
        _check_registered(config.env.env, config.data.files[0])
    data = config.data
    if data.offline and data.offline_steps is None:
        data = replace(data, offline_steps=DEFAULT_OFFLINE_STEPS)
    data = _with_absolute_names(data)
    try:
        resolved = envs.resolve(config.env.env, config.env.backend or "auto", config.env.scene)
    except envs.BackendError as error:
        raise ConfigError(str(error)) from None
    env = replace(
        config.env, env=resolved.id, scene=None if config.env.scene is None else _absolute(config.env.scene)
    )
    if resolved.backend is not None:
        env = replace(env, backend=cast(Any, resolved.backend))
    train = config.train
    if not data.offline and train.steps is None and train.episodes is None and train.time is None:
        train = replace(train, steps=DEFAULT_STEPS)
    return replace(config, env=env, train=train, data=data), f"environment: {resolved.id} ({resolved.reason})"


def _with_absolute_names(data: DataConfig) -> DataConfig:
    """Names that a later --resume finds from any folder."""
    demos, offline = (tuple(map(files.absolute, names)) for names in (data.demos, data.offline))
    return replace(data, demos=demos, offline=offline)


def _absolute(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).exists() else name


def _schema(config: Config, known: Schema | None = None) -> Schema:
    """The environment's schema, which has to fit a policy of the one that is ``known``.

    The environment is started once, in a process of its own: a broken one is met before all else.
    """
    schema: Schema = call_apart(
        _context(config),
        f"starting {config.env.env}",
        _start_once,
        config.env,
        known,
        timeout=config.train.step_timeout,
    )
    return schema


def _start_once(config: EnvConfig, known: Schema | None) -> Schema:
    env = make_env(config)
    try:
        if known is not None:
            check_policy_fits(known, env, config.env)
        return schema_of(env)
    finally:
        env.close()


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
    config = supervisor.config
    folder.write_config(config)
    outcome = supervisor.run()
    model = folder.best if folder.best.is_file() else folder.last
    film_path = folder.videos / "final.mp4"
    with ThreadPoolExecutor(1) as pool:  # the film's process works while this one draws the curve
        wanted = config.train.video and reporter.failure is None
        filming = pool.submit(_film, config, model, film_path, signals) if wanted else None
        curve = plots.learning_curve(folder.path)
        reporter.figure("learning_curve", curve)
        if filming is not None and (line := filming.result()) is not None:
            reporter.note(line)
            if film_path.is_file():
                reporter.video("final", film_path)
    if signals.received is not None:
        outcome = replace(outcome, reason=signals.received.name)
    reporter.end(outcome)
    _tell_end(config, folder, model, outcome, reporter)
    return Run(folder, outcome)


def _tell_end(config: Config, folder: RunFolder, model: Path, outcome: Outcome, reporter: Reporter) -> None:
    done = f"{outcome.steps:,} steps, {outcome.episodes:,} episodes, {outcome.updates:,} updates"
    reporter.note(f"ended by {outcome.reason} after {done}, {outcome.seconds:.0f} s")
    if outcome.evaluation is not None:
        reporter.note(f"final policy: {outcome.evaluation}")
    elif config.train.eval_interval:
        reporter.note("final policy: not measured")
    reporter.note(f"policy {model}, curve {folder.path / 'learning_curve.png'}")
    reporter.note(f"see it: {command('--test', '--model', model)}")
    if outcome.interrupted:
        reporter.note(f"go on: {command('--resume', folder.path)}")


def _film(config: Config, model: Path, path: Path, signals: StopSignals) -> str | None:
    """What to tell of the film; None: a signal came first. It is a present, not a duty: where no picture can
    be drawn the run has still succeeded.
    """
    if signals.received is not None:
        return None
    timeout = config.train.step_timeout + 3 * FILM_SECONDS
    try:
        whole = call_apart(
            _context(config),
            "drawing",
            _film_into,
            path,
            model,
            FILM_SECONDS,
            timeout=timeout,
            signals=signals,
        )
    except (ConfigError, OSError) as error:
        return f"no video: {error}"
    return f"video {path}" if whole else f"video {path}, cut after {FILM_SECONDS:g} s of drawing"


def _film_into(path: Path, model: Path, seconds: float) -> bool:
    return film(checkpoint.read(model), path, VIDEO_EPISODES, seconds, FILM_FRAMES)
