"""``--check-robot ROBOT``: a robot's card, guessed where it has none, a picture, and what does not work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envs.backends.base import BackendError
from sac_dist.cli.given import refuse_rest
from sac_dist.cli.terminal import show
from sac_dist.settings import ConfigError


def run_check_robot(settings: dict[str, Any], robot: str) -> int:
    """0: ready for the tasks; 1: there is a trouble. ``--out`` keeps the card."""
    out: Path | None = settings.pop("out", None)
    refuse_rest(settings, "check-robot")
    if out is not None and out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--out {out}: a card is a .yaml file")
    if out is not None and out.exists():
        raise ConfigError(f"--out {out} exists: name a new file")
    try:
        from envs.robots.card import write_card
        from envs.robots.check import check_robot

        report = check_robot(robot, Path.cwd())
    except ImportError as error:
        raise ConfigError(f"robots need MuJoCo ({error}): pip install mujoco") from error
    except BackendError as error:
        raise ConfigError(str(error)) from error
    text = report.text()
    if out is not None:
        try:
            write_card(report.card, out)
        except OSError as error:
            raise ConfigError(f"cannot write {out}: {error.strerror}") from error
        text += f"\ncard: {out}"
    show(text)
    return 1 if report.troubles else 0
