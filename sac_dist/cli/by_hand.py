"""``--record-demos N --policy human``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sac_dist.cli.flags import spelled
from sac_dist.cli.given import refuse_rest
from sac_dist.cli.terminal import show
from sac_dist.cli.test import show_episode
from sac_dist.settings import ConfigError, EnvConfig, TrainConfig

if TYPE_CHECKING:
    from sac_dist.acting.hand import Hand
    from sac_dist.acting.reels import Reels
    from sac_dist.engine.window import HandWindow


def run_by_hand(settings: dict[str, Any], config: EnvConfig, episodes: int, out: Path) -> int:
    seed, only_success = settings.pop("seed", 0), settings.pop("only_success", True)
    how = settings.pop("hand", "page")
    page = {name: settings.pop(name) for name in ("watch_host", "watch_port") if name in settings}
    refuse_rest(settings, "record-demos")
    if str(out).startswith(("minari:", "lerobot:")):
        raise ConfigError(f"--out {out}: each episode is saved at once, into a file; --convert that later")
    if page and how != "page":
        raise ConfigError(f"--hand {how} opens no page: leave {spelled(next(iter(page)))} out")
    from sac_dist.acting.by_hand import record_by_hand
    from sac_dist.acting.hand import Hand
    from sac_dist.acting.recording import resolved
    from sac_dist.acting.reels import Reels
    from sac_dist.data.transitions import Transitions
    from sac_dist.formats import files
    from sac_dist.reporting.describe import describe

    config = resolved(config)
    check_steerable(config)
    hand, reels = Hand(), Reels(1)
    file, kept = Path(out).absolute(), list[Transitions]()  # an environment may change the folder

    def keep(demos: Transitions) -> None:
        files.write(demos, file, again=bool(kept))
        kept[:] = [demos]
        show(f"{len(demos.ends)} of {episodes} kept")

    window = None if how == "page" else open_window(how, config, hand, reels)
    if window is None:
        show_page(page, config, hand, reels)
    attended = (lambda: True) if window is None else window.is_open
    try:
        record_by_hand(
            config, hand, reels, episodes, keep, seed, only_success, show_episode, show, attended=attended
        )
    finally:
        if window is not None:
            window.close()
        show(describe(kept[0], str(out)) if kept else "nothing was kept")
    return 0


def show_page(given: Mapping[Any, Any], config: EnvConfig, hand: Hand, reels: Reels) -> None:
    from sac_dist.cli.watch import open_page
    from sac_dist.engine.watching import check_viser, find_address
    from sac_dist.reporting.watch.page import Subject

    check_viser("--policy human")
    train = TrainConfig(**given)
    address, _ = find_address(train.watch_host, train.watch_port)
    taken = "" if address.port == train.watch_port else f" (port {train.watch_port} is taken)"
    open_page(Subject(config, reels, ("you",), hand=hand), address)
    show(f"steer it: {address.url}hand{taken}; Ctrl-C ends")


def open_window(how: str, config: EnvConfig, hand: Hand, reels: Reels) -> HandWindow:
    from envs.backends.choice import has_display
    from sac_dist.engine.window import HandWindow
    from sac_dist.reporting.watch.spacemouse import find_spacemouse

    if config.kwargs.get("backend") == "coppelia":
        raise ConfigError(
            f"--hand {how} shows MuJoCo's worlds alone: CoppeliaSim's arm is steered from --hand page"
        )
    if not has_display():
        raise ConfigError(f"--hand {how} needs a display (DISPLAY is not set): --hand page needs none")
    if how == "spacemouse":
        find_spacemouse()
    window = HandWindow(config, hand, reels, how == "spacemouse", show)
    show("steer it in the window; close it to end")
    return window


def check_steerable(config: EnvConfig) -> None:
    """Raise ConfigError for an environment without an arm whose tool people can steer."""
    from sac_dist.acting.environment import is_arm_task

    if not is_arm_task(config):
        raise ConfigError(
            f"{config.name} has no arm that people can steer: they steer this package's arm tasks and those "
            "built on them (docs/tasks.md)"
        )
