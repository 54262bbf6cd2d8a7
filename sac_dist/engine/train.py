"""A training run from a configuration to its folder: the calls behind ``--train`` and ``--resume``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError

import envs
from sac_dist.acting.playback import merge, play
from sac_dist.acting.rollout import make_env
from sac_dist.data.transitions import Demonstrations
from sac_dist.engine.local import LocalEngine
from sac_dist.engine.machine import check_machine, check_processes
from sac_dist.engine.outcome import Outcome, TrainingFailed
from sac_dist.engine.parts import Engine
from sac_dist.engine.processes import call_apart
from sac_dist.engine.starting import start_context
from sac_dist.engine.supervisor import Supervisor
from sac_dist.execution.compiled import compile_obstacle
from sac_dist.formats import files
from sac_dist.formats.check import check_fits
from sac_dist.reporting import plots
from sac_dist.reporting.terminal import Progress
from sac_dist.settings import Config, ConfigError, EnvConfig
from sac_dist.storage import checkpoint
from sac_dist.storage.checkpoint import Checkpoint
from sac_dist.storage.run_folder import RunFolder, default_path

DEFAULT_STEPS = 30_000
DEFAULT_OFFLINE_STEPS = 20_000
VIDEO_EPISODES = 4
# What a run has to share with its demonstrations, and what it is where nothing is said; the others may
# differ.
SAME = {"env": "auto", "control": "joint_velocity", "observation": "relative", "reward": "augmented"}


@dataclass(frozen=True)
class Run:
    """A finished run: its folder (policies under ``folder.best`` and ``folder.last``) and how it ended."""

    folder: RunFolder
    outcome: Outcome


def train(config: Config, quiet: bool = False) -> Run:
    """Train as ``config`` says, into a new run folder.

    Raise ConfigError when a setting, the environment or the folder cannot work, and
    :class:`~sac_dist.engine.outcome.TrainingFailed` when a part fails for good while it runs. Call it under
    ``if __name__ == "__main__":``, as everything that starts processes.
    """
    check_processes(config.train.members)
    demos = [files.read(path) for path in config.data.files]
    config, choice = _settle(config, demos)
    observation_size, action_size = _sizes(config)
    _check_demos(config, demos, observation_size, action_size)
    check_machine(config, observation_size, action_size)
    if config.train.compile == "on" and (obstacle := compile_obstacle()) is not None:
        raise ConfigError(f"--compile on cannot work: {obstacle}")
    sizes = observation_size, action_size
    with _engine(config) as engine:
        folder = RunFolder.create(
            Path(config.train.run_dir) if config.train.run_dir is not None else default_path(config.env.env)
        )
        progress = Progress(quiet=quiet)
        progress.note(choice)
        return _run(
            folder, progress, lambda: Supervisor(config, folder, *sizes, progress, engine, _joined(demos))
        )


def resume(path: Path, config: Config, quiet: bool = False) -> Run:
    """Go on with the run in ``path``; ``config`` is the one of its checkpoint with what may change (see
    cli.py) changed.
    """
    check_processes(config.train.members)
    folder = RunFolder.open(path)
    try:
        saved = read_run(path)
        sizes = saved.observation_size, saved.action_size
        _check_unfinished(config, saved, path)
        check_machine(config, *sizes)
        demos = [files.read(path) for path in config.data.files]
        _sizes(config)
        _check_demos(config, demos, *sizes)
        with _engine(config) as engine:
            progress = Progress(quiet=quiet)
            return _run(
                folder,
                progress,
                lambda: Supervisor(config, folder, *sizes, progress, engine, _joined(demos), saved),
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


def _joined(demos: list[Demonstrations]) -> Demonstrations | None:
    return Demonstrations.concatenate(demos) if demos else None


def _recorded_env(demos: Demonstrations) -> dict[str, Any]:
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


def _check_demos(
    config: Config, demos: list[Demonstrations], observation_size: int, action_size: int
) -> None:
    """Raise ConfigError unless the demonstrations are of this environment, as far as their files say, and fit
    the buffer.
    """
    for name, part in zip(config.data.files, demos, strict=True):
        check_fits(part, observation_size, action_size, name)
        recorded = _recorded_env(part)
        for option, default in SAME.items() if "env" in recorded else ():
            theirs, ours = recorded.get(option, default), getattr(config.env, option) or default
            if theirs != ours:
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


def _settle(config: Config, demos: list[Demonstrations]) -> tuple[Config, str]:
    """``config`` with every ``auto`` and missing budget replaced by what it comes to, and a line about the
    choice.
    """
    if config.env.env == "auto" and demos:
        config = replace(config, env=merge(EnvConfig(**_recorded_env(demos[0])), config.env))
    data = config.data
    if data.offline and data.offline_steps is None:
        data = replace(data, offline_steps=DEFAULT_OFFLINE_STEPS)
    data = replace(data, demos=tuple(map(_absolute, data.demos)), offline=tuple(map(_absolute, data.offline)))
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


def _absolute(name: str) -> str:
    """A path that a later --resume finds from any folder; a Minari id stays."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def _sizes(config: Config) -> tuple[int, int]:
    """Observation and action size; the environment is started once, in a process of its own: a broken one is
    met before all else.
    """
    sizes: tuple[int, int] = call_apart(
        _context(config),
        f"starting {config.env.env}",
        _start_once,
        config.env,
        timeout=config.train.step_timeout,
    )
    return sizes


def _start_once(config: EnvConfig) -> tuple[int, int]:
    env = make_env(config)
    try:
        assert env.observation_space.shape is not None and env.action_space.shape is not None
        return env.observation_space.shape[0], env.action_space.shape[0]
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
    progress.note(
        f"policy {model}, curve {folder.path / 'learning_curve.png'}; see it: python -m sac_dist --test "
        f"--model {model}"
    )
    return Run(folder, outcome)


def _film(config: Config, model: Path, path: Path, progress: Progress) -> None:
    """A video is a present, not a duty: where no picture can be drawn the run has still succeeded."""
    try:
        call_apart(_context(config), "drawing", _play_into, path, model)
        progress.note(f"video {path}")
    except (ConfigError, OSError) as error:
        progress.note(f"no video: {error}")


def _play_into(path: Path, model: Path) -> None:
    play(checkpoint.read(model), EnvConfig(), VIDEO_EPISODES, video=path)
