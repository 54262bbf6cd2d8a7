"""``--train`` and ``--offline``."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sac_dist.cli.given import refuse_rest, take_environment
from sac_dist.cli.terminal import warn
from sac_dist.settings import Config, ConfigError, DataConfig
from sac_dist.settings.by_environment import Taken, taken
from sac_dist.settings.presets import offline


def run_train(settings: dict[str, Any], _: Any) -> int:
    found = found_for(settings)
    if found.line is not None:
        warn(found.line)
    return train_as(found.settings, "train", found.if_unknown)


def found_for(settings: dict[str, Any]) -> Taken:
    """The settings with what is tuned for their environment, unless they say ``--no-tuned``."""
    given = dict(settings)
    preset, wanted = given.pop("preset", None), given.pop("tuned", True)
    return taken(given, preset) if wanted else Taken(given, None, frozenset())


def run_offline(settings: dict[str, Any], data: list[str]) -> int:
    online = "steps", "episodes", "update_ratio", "warmup_steps", "actor_warmup_steps"
    for name in (*online, "demos", "demo_mode", "demo_ratio", "demo_anneal"):
        if name in settings:
            refuse_rest({name: None}, "offline")
    algo = settings.get("algo", DataConfig.algo)
    return train_as(offline(algo) | settings | {"offline": data}, "offline")


def train_as(settings: dict[str, Any], mode: str, if_unknown: frozenset[str] = frozenset()) -> int:
    refuse_film_name(settings, mode)
    env = take_environment(settings)
    config = replace(Config.of_settings(settings), env=env, if_unknown=if_unknown)
    refuse_rest(settings, mode)
    from sac_dist.engine.start_method import start_early

    start_early(config.train.compiles)
    from sac_dist.engine.train import train  # torch takes seconds: not before the flags are known to be right

    return finish(lambda: train(config))


def refuse_film_name(settings: dict[str, Any], mode: str) -> None:
    if not isinstance(settings.get("video", True), bool):
        raise ConfigError(f"--video FILE has no meaning with --{mode}: the film lies in the run's videos/")


def finish(train: Callable[[], Any]) -> int:
    """Exit status of a training: 0, 1 when it failed, 128 + signal."""
    from sac_dist.engine.outcome import TrainingFailed

    try:
        reason = train().outcome.reason
    except TrainingFailed as error:
        warn(f"sac-dist: {error}")
        return 1
    return 128 + signal.Signals[reason] if reason in signal.Signals.__members__ else 0
