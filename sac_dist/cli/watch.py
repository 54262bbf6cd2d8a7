"""``--test --watch``: policies played in a browser."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from sac_dist.cli.given import refuse_rest
from sac_dist.cli.terminal import show
from sac_dist.settings import ConfigError, EnvConfig, TrainConfig

STARTING = 20.0  # s until the page answers


def run_watched(settings: dict[str, Any], overrides: EnvConfig, episodes: int | None) -> int:
    models, deterministic = settings.pop("model", []), settings.pop("deterministic", True)
    page = {name: settings.pop(name) for name in ("watch_host", "watch_port") if name in settings}
    refuse_rest(settings, "watch")
    from sac_dist.acting.evaluation import Evaluation
    from sac_dist.acting.on_request import PICTURE_WIDTH, play_on_request
    from sac_dist.acting.reels import Reels
    from sac_dist.engine.watching import check_watch, find_address
    from sac_dist.reporting.watch.page import Subject

    train = TrainConfig(watch=True, **page)
    check_watch(train)
    policies = find_policies(models, overrides.name)
    names = list(policies)
    first = policies[names[0]]
    config = overrides.over(first.config.env)
    reels = Reels(1, PICTURE_WIDTH)
    address, line = find_address(train.watch_host, train.watch_port)
    subject = Subject(config, reels, ("policy",), policies=names if len(names) > 1 else ())
    open_page(subject, address)
    show(f"{line}; Ctrl-C ends")
    played: dict[int, list[Any]] = {}

    def on_episode(choice: int, episode: Any) -> None:
        from sac_dist.cli.test import show_episode

        played.setdefault(choice, []).append(episode)
        show_episode(sum(map(len, played.values())) - 1, episode)

    try:
        play_on_request(list(policies.values()), config, reels, episodes, deterministic, on_episode)
    finally:
        for choice, those in played.items():
            show(f"{names[choice]}: {Evaluation.of(those)}")
    return 0


def find_policies(models: list[str | Path], env: str) -> dict[str, Any]:
    """By name: those of ``models``, of a run folder all that it has kept; without ``models`` as --test takes
    it. Raises ConfigError.
    """
    from sac_dist.acting.playback import find_policy
    from sac_dist.storage.run_folder import RunFolder

    if not models:
        path, policy = find_policy(None, env, show)
        models = [Path(path).parent.parent] if Path(path).parent.name == "checkpoints" else []
        if not models:
            return {str(path): policy}
    files: list[str | Path] = []
    for model in models:
        is_run = isinstance(model, Path) and model.is_dir()
        kept = sorted(RunFolder(Path(model)).checkpoints.glob("*.safetensors")) if is_run else []
        files += kept or [model]
    found = (find_policy(file, env, show) for file in files)
    return {str(path): policy for path, policy in found}


def open_page(subject: Any, address: Any) -> None:
    """In a thread beside the one that plays. Raises ConfigError where it does not answer."""
    from sac_dist.reporting.watch.page import serve

    opened, failed = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            serve(subject, address.host, address.port, address.token, opened.set)
        except BaseException as error:
            failed.append(error)
            opened.set()

    threading.Thread(target=run, name="page", daemon=True).start()
    if not opened.wait(STARTING) or failed:
        reason = failed[0] if failed else f"no answer in {STARTING:g} s"
        raise ConfigError(f"the page does not open: {reason}")
