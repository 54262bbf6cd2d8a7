"""A training run from a configuration to its folder: the calls behind ``--train`` and ``--resume``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from sac_dist.acting.environment import make_env
from sac_dist.acting.interface import check_interface, notes_on
from sac_dist.acting.playback import play
from sac_dist.data.transitions import Demonstrations
from sac_dist.engine.local import LocalEngine
from sac_dist.engine.machine import check_machine, check_processes
from sac_dist.engine.outcome import Outcome, TrainingFailed
from sac_dist.engine.parts import Engine
from sac_dist.engine.processes import call_apart, refuse_to_train_while_imported
from sac_dist.engine.settling import check_recorded_env, settle, settle_environment
from sac_dist.engine.starting import start_context
from sac_dist.engine.supervisor import Supervisor
from sac_dist.execution.compiled import compile_obstacle
from sac_dist.formats import files
from sac_dist.formats.check import check_fits
from sac_dist.reporting import plots
from sac_dist.reporting.terminal import Progress
from sac_dist.settings import Config, ConfigError, EnvConfig
from sac_dist.settings.resuming import check_resumable
from sac_dist.storage import checkpoint
from sac_dist.storage.checkpoint import Checkpoint
from sac_dist.storage.run_folder import RunFolder, default_path

VIDEO_EPISODES = 4


@dataclass(frozen=True)
class Run:
    """A finished run: its folder (policies under ``folder.best`` and ``folder.last``) and how it ended."""

    folder: RunFolder
    outcome: Outcome


def train(config: Any, quiet: bool = False) -> Run:
    """Train as ``config`` says, into a new run folder.

    ``config`` is a Config, or an environment alone: an id, a class or function that makes one, or an
    EnvConfig. Raise ConfigError when a setting, the environment or the folder cannot work, and
    :class:`~sac_dist.engine.outcome.TrainingFailed` when a part fails for good while it runs. A script calls
    it under ``if __name__ == "__main__":``, as everything that starts processes.
    """
    refuse_to_train_while_imported()
    config = config if isinstance(config, Config) else Config.of(config)
    check_processes(config.train.members)
    demos = [files.read(path) for path in config.data.files]
    config, choice = settle(config, demos)
    sizes, notes = _try_environment(config)
    _check_demos(config, demos, *sizes)
    check_machine(config, *sizes)
    if config.train.compile == "on" and (obstacle := compile_obstacle()) is not None:
        raise ConfigError(f"--compile on cannot work: {obstacle}")
    with _engine(config) as engine:
        folder = RunFolder.create(
            Path(config.train.run_dir) if config.train.run_dir is not None else default_path(config.env.name)
        )
        progress = Progress(quiet=quiet)
        for note in (choice, *notes):
            progress.note(note)
        return _run(
            folder, progress, lambda: Supervisor(config, folder, *sizes, progress, engine, _joined(demos))
        )


def resume(path: str | Path, config: Config | None = None, env: Any = None, quiet: bool = False) -> Run:
    """Go on with the run in ``path``.

    ``config`` is the one of its checkpoint, in which what settings/resuming.py names may be changed. ``env``
    is the environment again where it was given from Python, as a class or function: no file holds it.
    """
    refuse_to_train_while_imported()
    path = Path(path)
    folder = RunFolder.open(path)
    try:
        saved = read_run(path)
        config = _resumed(saved.config, config, env)
        check_processes(config.train.members)
        sizes = saved.observation_size, saved.action_size
        _check_unfinished(config, saved, path)
        check_machine(config, *sizes)
        demos = [files.read(path) for path in config.data.files]
        _, notes = _try_environment(config)
        _check_demos(config, demos, *sizes)
        with _engine(config) as engine:
            progress = Progress(quiet=quiet)
            for note in notes:
                progress.note(note)
            return _run(
                folder,
                progress,
                lambda: Supervisor(config, folder, *sizes, progress, engine, _joined(demos), saved),
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
    config = replace(config, env=settle_environment(config.env)[0])
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


def _joined(demos: list[Demonstrations]) -> Demonstrations | None:
    return Demonstrations.concatenate(demos) if demos else None


def _check_demos(
    config: Config, demos: list[Demonstrations], observation_size: int, action_size: int
) -> None:
    """Raise ConfigError unless the demonstrations are of this environment, as far as their files say, and fit
    the buffer.
    """
    for name, part in zip(config.data.files, demos, strict=True):
        check_fits(part, observation_size, action_size, name)
        check_recorded_env(config, part, name)
    total = sum(map(len, demos))
    if config.data.demo_overwrite and total > config.train.buffer_size:
        raise ConfigError(
            f"{total} transitions of demonstrations do not fit into a buffer of "
            f"{config.train.buffer_size}: raise --buffer-size"
        )


def _try_environment(config: Config) -> tuple[tuple[int, int], list[str]]:
    """Observation and action size, and lines to be shown. The environment is started, reset and stepped once,
    in a process of its own: a broken one is met before all else.
    """
    tried: tuple[tuple[int, int], list[str]] = call_apart(
        _context(config),
        f"starting {config.env.name}",
        _start_once,
        config.env,
        timeout=config.train.step_timeout,
    )
    return tried


def _start_once(config: EnvConfig) -> tuple[tuple[int, int], list[str]]:
    env = make_env(config)
    try:
        check_interface(env, config.name)
        assert env.observation_space.shape is not None and env.action_space.shape is not None
        return (env.observation_space.shape[0], env.action_space.shape[0]), notes_on(env, config.name)
    finally:
        env.close()


def _context(config: Config) -> BaseContext:
    return start_context(with_compiler=config.train.compiles)


def _run(folder: RunFolder, progress: Progress, make: Callable[[], Supervisor]) -> Run:
    try:
        supervisor = make()
        folder.write_config(supervisor.config)
        outcome = supervisor.run()
        plots.learning_curve(folder.path)
    except (OSError, SafetensorError) as error:  # the disk is full, the folder is gone
        raise TrainingFailed(
            f"cannot write to {folder.path}: {error}; the last whole checkpoint there is kept"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # the folder is gone
            folder.clear()
        folder.unlock()
    model = folder.best if folder.best.is_file() else folder.last
    if not outcome.interrupted:
        _film(supervisor.config, model, folder.videos / "final.mp4", progress)
    done = f"{outcome.steps:,} steps, {outcome.episodes:,} episodes, {outcome.updates:,} updates"
    progress.note(f"ended by {outcome.reason} after {done}, {outcome.seconds:.0f} s")
    if outcome.evaluation is not None:
        progress.note(f"final policy: {outcome.evaluation}")
    see = f"; see it: python -m sac_dist --test --model {model}"
    from_command_line = supervisor.config.env.shipped is None
    curve = folder.path / "learning_curve.png"
    progress.note(f"policy {model}, curve {curve}{see if from_command_line else ''}")
    return Run(folder, outcome)


def _film(config: Config, model: Path, path: Path, progress: Progress) -> None:
    """A video is a present, not a duty: where no picture can be drawn the run has still succeeded."""
    try:
        call_apart(_context(config), "drawing", _play_into, path, model, config.env)
        progress.note(f"video {path}")
    except (ConfigError, OSError) as error:
        progress.note(f"no video: {error}")


def _play_into(path: Path, model: Path, env: EnvConfig) -> None:
    play(checkpoint.read(model), env, VIDEO_EPISODES, video=path)
