"""``--resume RUN``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sac_dist.cli.terminal import warn
from sac_dist.cli.train import finish, refuse_film_name
from sac_dist.settings.resuming import changed, check_names


def run_resume(settings: dict[str, Any], path: Path) -> int:
    refuse_film_name(settings, "resume")
    check_names(settings)
    from sac_dist.engine.outcome import TargetReached
    from sac_dist.engine.train import read_run, resume

    config = changed(read_run(path).config, settings)
    try:
        return finish(lambda: resume(path, config))
    except TargetReached as done:
        warn(f"sac-dist: {done}")
        return 0
