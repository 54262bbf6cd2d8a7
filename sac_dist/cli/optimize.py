"""``--optimize TRIALS``."""

from __future__ import annotations

import importlib.util
import signal
from dataclasses import replace
from typing import Any

from sac_dist.cli.given import folded, refuse_rest, take_environment
from sac_dist.cli.terminal import show, warn
from sac_dist.cli.train import found_for, refuse_film_name
from sac_dist.settings import Config, ConfigError, DataConfig
from sac_dist.settings.presets import values_of


def run_optimize(settings: dict[str, Any], trials: int) -> int:
    if trials < 1:
        raise ConfigError(f"--optimize is {trials}: it must be above 0")
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError("--optimize needs Optuna: pip install 'sac-dist[search]'")
    refuse_film_name(settings, "optimize")
    ranges = settings.pop("ranges", None)
    settings = folded(settings)
    given = asked_for(settings)
    found = found_for(settings)
    settings = found.settings
    env = take_environment(settings)
    config = replace(Config.of_settings(settings), env=env, if_unknown=found.if_unknown)
    refuse_rest(settings, "optimize")
    from sac_dist.engine.start_method import start_early

    start_early(config.train.compiles)
    from sac_dist.engine.outcome import TrainingFailed
    from sac_dist.engine.search.optimize import optimize

    try:
        received = optimize(config, trials, given, ranges, show, found.line)
    except TrainingFailed as error:
        warn(f"sac-dist: {error}")
        return 1
    return 0 if received is None else 128 + signal.Signals[received]


def asked_for(settings: dict[str, Any]) -> list[str]:
    """The settings that the user gave, without those of a preset."""
    preset = settings.get("preset")
    of_preset = {} if preset is None else values_of(preset, settings.get("algo", DataConfig.algo))
    own = {name: value for name, value in settings.items() if name not in ("preset", "tuned", "video")}
    return [name for name, value in own.items() if name not in of_preset or value != of_preset[name]]
