"""What a run shows when it has trained: a film, the learning curve, and its last words."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from sac_dist.acting.playback import film
from sac_dist.engine.outcome import Outcome
from sac_dist.engine.processes import call_apart
from sac_dist.engine.start_method import start_context
from sac_dist.reporting import plots
from sac_dist.reporting.commands import command
from sac_dist.reporting.reporter import Reporter
from sac_dist.settings import Config, ConfigError, EnvConfig
from sac_dist.storage import checkpoint
from sac_dist.storage.run_folder import RunFolder
from sac_dist.system.signals import StopSignals

FILM_EPISODES = 4
FILM_SECONDS, FILM_FRAMES = 10.0, 1000  # a longer film is cut; --test --video draws a whole one


def show(
    config: Config, folder: RunFolder, outcome: Outcome, reporter: Reporter, signals: StopSignals
) -> Outcome:
    """Film the policy, draw the curve and say how the run ended; returns the outcome, which a signal
    meanwhile changes.
    """
    model = folder.best if folder.best.is_file() else folder.last
    path = folder.videos / "final.mp4"
    with ThreadPoolExecutor(1) as pool:  # the film's process works while this one draws the curve
        wanted = config.train.video and reporter.failure is None
        filming = pool.submit(_film, config, model, path, signals) if wanted else None
        reporter.figure("learning_curve", plots.learning_curve(folder.path))
        if filming is not None and (line := filming.result()) is not None:
            reporter.note(line)
            if path.is_file():
                reporter.video("final", path)
    if signals.received is not None:
        outcome = replace(outcome, reason=signals.received.name)
    reporter.end(outcome)
    _tell_end(config, folder, model, outcome, reporter)
    return outcome


def _tell_end(config: Config, folder: RunFolder, model: Path, outcome: Outcome, reporter: Reporter) -> None:
    done = f"{outcome.steps:,} steps, {outcome.episodes:,} episodes, {outcome.updates:,} updates"
    reporter.note(f"ended by {outcome.reason} after {done}, {outcome.seconds:.0f} s")
    if outcome.evaluation is not None:
        measured = (
            "the policy that reached the target" if outcome.reason == "success_target" else "final policy"
        )
        reporter.note(f"{measured}: {outcome.evaluation}")
    elif config.train.eval_interval:
        reporter.note("final policy: not measured")
    kind = "best" if model == folder.best else "last"
    reporter.note(f"{kind} policy {model}, curve {folder.path / 'learning_curve.png'}")
    if config.env.shipped is None:  # else the command line cannot make the environment
        reporter.note(f"see it: {command('--test', '--model', model)}")
    if not outcome.finished:
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
            start_context(with_compiler=config.train.compiles),
            "drawing",
            _film_into,
            path.absolute(),  # an environment may change the folder
            model.absolute(),
            config.env,
            timeout=timeout,
            signals=signals,
        )
    except (ConfigError, OSError) as error:
        return f"no video: {error}"
    return f"video {path}" if whole else f"video {path}, cut after {FILM_SECONDS:g} s of drawing"


def _film_into(path: Path, model: Path, env: EnvConfig) -> bool:
    return film(checkpoint.read(model), env, path, FILM_EPISODES, FILM_SECONDS, FILM_FRAMES)
