"""The call behind ``--push-to-hub``: a policy with its model card, curve, film and settings for others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from envs.options import PATHS
from sac_dist.acting.episode import Episode
from sac_dist.acting.failures import NoPicture
from sac_dist.acting.playback import film, find_policy, play, silent
from sac_dist.reporting.metrics import read_metrics
from sac_dist.reporting.model_card import Measured, model_card
from sac_dist.reporting.plots import learning_curve
from sac_dist.settings import Config, EnvConfig
from sac_dist.storage import checkpoint, hub
from sac_dist.storage.checkpoint import Checkpoint
from sac_dist.storage.run_folder import RunFolder
from sac_dist.system.processor import machine

EPISODES = 100
FIRST = 10_000  # training evaluates the episodes from 0 on, and chooses its best checkpoint by them
FILM_EPISODES, FILM_SECONDS, FILM_FRAMES = 4, 20.0, 1000


def share(
    model: str | Path | None,
    repository: str,
    overrides: EnvConfig | None = None,
    episodes: int = EPISODES,
    on_episode: Callable[[int, Episode], None] = lambda index, episode: None,
    note: Callable[[str], None] = silent,
) -> str:
    """Measure the policy that ``find_policy(model, …)`` finds over ``episodes`` unseen episodes, film it, and
    upload it to ``repository`` (owner/name), which is made if it is not there. Returns its address.

    Raises ConfigError: there is no policy, or it does not fit its environment; no token, network or right.
    """
    overrides = overrides or EnvConfig()
    path, policy = find_policy(model, overrides.name, note)
    hub.check_can_upload(repository)
    note(f"policy {path}: {episodes} episodes are measured, then it is filmed")
    evaluation = play(policy, overrides, episodes, on_episode=on_episode, note=note, first=FIRST)
    measured = Measured(evaluation, machine())
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            film(policy, overrides, folder / "replay.mp4", FILM_EPISODES, FILM_SECONDS, FILM_FRAMES)
        except NoPicture as error:
            note(f"no film: {' '.join(str(error).split())}")
        write_shared(folder, path, policy, measured, f"{hub.PREFIX}{repository}")
        return hub.upload(folder, repository)


def write_shared(folder: Path, path: str | Path, policy: Checkpoint, measured: Measured, use: str) -> None:
    """Policy, card, settings and, of a policy that lies in its run's folder, the learning curve."""
    public = published(policy, measured)
    checkpoint.write(folder / hub.POLICY, public)
    RunFolder(folder).write_config(public.config)
    run = Path(path).parent.parent
    if (run / "metrics.csv").is_file():
        shutil.copyfile(learning_curve(run), folder / "learning_curve.png")
    mode = "" if public.config.data.offline else " --train"
    command = f"python -m sac_dist{mode} --config config.yaml"
    card = model_card(public, measured, use, command, training_seconds(run), folder)
    (folder / hub.CARD).write_text(card, encoding="utf-8")


def training_seconds(run: Path) -> float | None:
    """Wall time of a run's folder; None: it is none."""
    rows = read_metrics(run / "metrics.csv") if (run / "metrics.csv").is_file() else []
    return float(rows[-1]["wall_time_s"]) if rows else None


def published(policy: Checkpoint, measured: Measured) -> Checkpoint:
    """Without the state of its run, and without the folders of this machine in its settings."""
    config, info = policy.config, policy.info | {"evaluation": str(measured.evaluation)}
    return replace(policy, config=without_folders(config), info=info, run=None)


def without_folders(config: Config) -> Config:
    kwargs = {
        name: base_name(value) if name in PATHS and isinstance(value, str) else value
        for name, value in config.env.kwargs.items()
    }
    data = replace(
        config.data,
        demos=tuple(map(base_name, config.data.demos)),
        offline=tuple(map(base_name, config.data.offline)),
    )
    train = replace(config.train, run_dir=None)
    return replace(config, env=replace(config.env, kwargs=kwargs), data=data, train=train)


def base_name(name: str) -> str:
    """Of a file, or of each in ARM+GRIPPER@SITE."""
    return "+".join(part.rpartition("/")[2] for part in name.split("+"))
