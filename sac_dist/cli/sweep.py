"""``--test --sweep NAME=VALUE,VALUE``: success over what the simulated world is like."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sac_dist.cli.given import refuse_rest, take_environment
from sac_dist.cli.terminal import show
from sac_dist.settings import ConfigError
from sac_dist.system.signals import deferred_signals

USAGE = "give NAME=VALUE,VALUE, such as friction=0.25,0.5,1,2,4"


def run_sweep(settings: dict[str, Any], given: str, episodes: int) -> int:
    overrides = take_environment(settings)
    models, out = settings.pop("model", [None]), settings.pop("out", None)
    deterministic = settings.pop("deterministic", True)
    settings.pop("no_render", None)  # it never draws episodes
    refuse_rest(settings, "sweep")
    quantity, values = parse_sweep(given)
    from sac_dist.acting.playback import find_policy
    from sac_dist.acting.sweep import check_sweep, sweep
    from sac_dist.reporting.sweeps import draw_sweep, write_sweep

    check_sweep(quantity, values)
    picture = Path(f"sweep-{quantity}.png") if out is None else out
    numbers = picture.with_suffix(".csv")
    check_new(picture, numbers)
    folder = Path.cwd()  # an environment may change it
    policies = dict(find_policy(model, overrides.name, show) for model in models)
    measured = {}
    for path, policy in policies.items():
        show(f"policy {path}: {policy.config.env.name}, {policy.info.get('steps', '?')} training steps")
        show(f"{quantity:>18}  success  95 % interval    return")
        measured[str(path)] = sweep(
            policy, overrides, quantity, values, episodes, deterministic, show_value, show
        )
    try:
        with deferred_signals():  # both files or neither
            write_sweep(measured, quantity, values, folder / numbers)
            draw_sweep(measured, quantity, values, folder / picture)
    except OSError as error:
        raise ConfigError(f"cannot write {picture}: {error.strerror}") from error
    show(f"picture {picture}, numbers {numbers}")
    return 0


def parse_sweep(given: str) -> tuple[str, list[float]]:
    quantity, equals, numbers = given.partition("=")
    if not equals:
        raise ConfigError(f"--sweep {given}: {USAGE}")
    try:
        return quantity, [float(number) for number in numbers.split(",")]
    except ValueError:
        raise ConfigError(f"--sweep {given}: {numbers!r} is no list of numbers: {USAGE}") from None


def check_new(picture: Path, numbers: Path) -> None:
    """Before minutes of episodes."""
    if picture.suffix != ".png":
        raise ConfigError(f"--out {picture}: a sweep's picture is a .png file")
    for file in (picture, numbers):
        if file.exists():
            raise ConfigError(f"{file} exists: name a new picture with --out FILE.png")
    if not os.access(picture.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write {picture}: {picture.parent} is no folder that can be written")


def show_value(value: float, evaluation: Any) -> None:
    low, high = evaluation.success_interval
    success = f"{evaluation.successes.sum()}/{len(evaluation.successes)}"
    show(f"{value:>18g}  {success:>7}  {low:>4.0%} to {high:>4.0%}  {evaluation.mean_return:>8.2f}")
