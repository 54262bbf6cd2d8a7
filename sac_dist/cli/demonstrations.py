"""``--record-demos``, ``--multiply-demos``, ``--edit-demos``, ``--convert`` and ``--inspect``."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sac_dist.cli.given import refuse_rest, take_environment
from sac_dist.cli.terminal import show
from sac_dist.cli.test import show_episode
from sac_dist.settings import ConfigError
from sac_dist.system.signals import deferred_signals

if TYPE_CHECKING:
    from sac_dist.data.transitions import Transitions


def run_record(settings: dict[str, Any], episodes: int) -> int:
    config = take_environment(settings)
    policy, out = settings.pop("policy", "expert"), settings.pop("out", None)
    if episodes < 1:
        raise ConfigError(f"--record-demos is {episodes}: it must be above 0")
    if out is None:
        raise ConfigError("--record-demos needs --out FILE, such as --out demos.npz")
    from sac_dist.formats import files

    files.check_new(out)
    if policy == "human":
        from sac_dist.cli.by_hand import run_by_hand

        return run_by_hand(settings, config, episodes, out)
    if "hand" in settings:
        raise ConfigError(f"--hand {settings['hand']} is for --policy human, and --policy is {policy}")
    seed, only_success = settings.pop("seed", 0), settings.pop("only_success", None)
    refuse_rest(settings, "record-demos")
    from sac_dist.acting.recording import record

    return write_made(
        lambda: record(config, policy, episodes, seed, only_success, show_episode, show), episodes, out
    )


def write_made(make: Callable[[], Transitions], episodes: int, out: str) -> int:
    """Write the ``episodes`` that ``make`` makes, or after Ctrl-C those that are whole; the exit status."""
    from sac_dist.acting.recording import RecordingInterrupted
    from sac_dist.formats import files
    from sac_dist.reporting.describe import describe

    file, status = Path(out).absolute(), 0  # an environment may change the folder
    try:
        demos = make()
    except RecordingInterrupted as interrupt:
        demos, status = interrupt.demos, 128 + signal.SIGINT
    with deferred_signals():  # a second Ctrl-C would lose them
        if status:
            show(f"interrupted: {len(demos.ends):,} of {episodes:,} episodes are kept")
        files.write(demos, file)
    show(describe(demos, str(out)))
    return status


def run_multiply(settings: dict[str, Any], name: str) -> int:
    given = take_environment(settings)
    out, to, seed = settings.pop("out", None), settings.pop("to", None), settings.pop("seed", None)
    refuse_rest(settings, "multiply-demos")
    if to is None or out is None:
        raise ConfigError("--multiply-demos FILE needs --to N, how many there shall be, and --out FILE")
    from sac_dist.acting.multiplying import multiply
    from sac_dist.engine.settling import recorded_env
    from sac_dist.formats import files

    files.check_new(out)
    demos = files.read(name)
    recorded = recorded_env(demos)
    config = given if recorded is None else given.over(recorded)
    return write_made(lambda: multiply(demos, name, config, to, seed, show_episode, show), to, out)


def run_edit(settings: dict[str, Any], name: str) -> int:
    keep, drop, trim, out = (settings.pop(flag, None) for flag in ("keep", "drop", "trim", "out"))
    reward = settings.pop("reward", None)
    refuse_rest(settings, "edit-demos")
    if out is None or keep is drop is trim is reward is None:
        raise ConfigError("--edit-demos FILE needs --keep, --drop, --trim or --reward sparse, and --out FILE")
    if reward not in (None, "sparse"):
        raise ConfigError(f"--edit-demos --reward {reward}: files tell enough for sparse alone")
    from sac_dist.formats import files
    from sac_dist.formats.editing import edited, with_sparse_reward

    files.check_new(out)
    demos = files.read(name)
    changed = edited(demos, keep, drop, trim)
    if reward is not None:
        check_arm_task(demos, name)
        changed = with_sparse_reward(changed)
    files.write(changed, out)
    counts = " of ".join(
        f"{len(each.ends):,} episodes with {len(each):,} transitions" for each in (changed, demos)
    )
    show(f"{out}: {counts}")
    return 0


def check_arm_task(demos: Transitions, name: str) -> None:
    """Raise ConfigError unless the demonstrations say that they are of a task with this package's sparse
    reward.
    """
    from sac_dist.acting.environment import is_arm_task
    from sac_dist.engine.settling import recorded_env

    env = recorded_env(demos)
    if env is None or not is_arm_task(env) or env.kwargs.get("goal_conditioned") or demos.success is None:
        raise ConfigError(
            f"--reward sparse: {name} is not of one of this package's arm tasks without goals, or does not "
            "say what succeeded"
        )


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
        picture = Path(Path(name.removeprefix("minari:").removeprefix("lerobot:")).resolve().name + ".png")
        draw(demos, picture)
        show(f"{describe(demos, name)}\npicture {picture}")
    return 0
