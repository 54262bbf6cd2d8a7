"""``--record-demos``, ``--convert`` and ``--inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sac_dist.cli.given import refuse_rest, take_environment
from sac_dist.cli.terminal import show
from sac_dist.cli.test import show_episode
from sac_dist.settings import ConfigError


def run_record(settings: dict[str, Any], episodes: int) -> int:
    config = take_environment(settings)
    policy, out = settings.pop("policy", "expert"), settings.pop("out", None)
    seed, only_success = settings.pop("seed", 0), settings.pop("only_success", None)
    refuse_rest(settings, "record-demos")
    if episodes < 1:
        raise ConfigError(f"--record-demos is {episodes}: it must be above 0")
    if out is None:
        raise ConfigError("--record-demos needs --out FILE, such as --out demos.npz")
    from sac_dist.acting.recording import record
    from sac_dist.formats import files
    from sac_dist.reporting.describe import describe

    files.check_new(out)
    file = Path(out).absolute()  # an environment may change the folder
    demos = record(config, policy, episodes, seed, only_success, show_episode, show)
    files.write(demos, file)
    show(describe(demos, str(out)))
    return 0


def run_convert(settings: dict[str, Any], names: list[str]) -> int:
    refuse_rest(settings, "convert")
    from sac_dist.formats import files

    source, target = names
    files.check_new(target)
    demos = files.read(source)
    files.write(demos, target)
    show(f"{target}: {len(demos):,} transitions, {len(demos.ends):,} episodes")
    if (note := files.notes(demos, source)) is not None:
        show(note)
    return 0


def run_inspect(settings: dict[str, Any], names: list[str]) -> int:
    refuse_rest(settings, "inspect")
    from sac_dist.formats import files
    from sac_dist.reporting.describe import describe, draw

    for name in names:
        demos = files.read(name)
        picture = Path(Path(name.removeprefix("minari:")).resolve().name + ".png")
        draw(demos, picture)
        show(f"{describe(demos, name)}\npicture {picture}")
    return 0
