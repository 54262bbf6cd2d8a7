"""``--test``: showing what a policy does."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from sac_dist.cli.given import refuse_rest, take_environment, take_model
from sac_dist.cli.terminal import show
from sac_dist.settings import ConfigError


def run_test(settings: dict[str, Any], _: Any) -> int:
    wanted_episodes = settings.pop("episodes", None)
    episodes = 30 if wanted_episodes is None else wanted_episodes
    if episodes < 1:
        raise ConfigError(f"--episodes is {episodes}: it must be above 0")
    if "sweep" in settings:
        from sac_dist.cli.sweep import run_sweep

        return run_sweep(settings, settings.pop("sweep"), episodes)
    overrides = take_environment(settings)
    if settings.pop("watch", False):
        from sac_dist.cli.watch import run_watched

        return run_watched(settings, overrides, wanted_episodes)
    model, video = take_model(settings), settings.pop("video", None)
    deterministic, render = settings.pop("deterministic", True), not settings.pop("no_render", False)
    refuse_rest(settings, "test")
    if isinstance(video, bool):  # --video without a name, --no-video
        render, video = render and video, Path("rollout.mp4") if video else None
    if video is not None and not render:
        raise ConfigError("--video and --no-render contradict each other")
    from envs.backends.choice import has_display
    from sac_dist.acting.failures import NoPicture
    from sac_dist.acting.playback import Interrupted, find_policy, play

    path, policy = find_policy(model, overrides.name, show)
    offline = policy.info.get("offline_updates", 0)
    trained = f"{policy.info.get('steps', '?')} training steps"
    trained += f", {offline} offline updates" if offline else ""
    show(f"policy {path}: {policy.config.env.name}, {trained}")
    wanted = video is not None
    if render and video is None and not has_display():
        video = Path("rollout.mp4")
        show(f"no display: writing {video} instead")
    window = render and video is None
    status = 0
    try:
        evaluation = play(policy, overrides, episodes, deterministic, video, window, show_episode, show)
    except Interrupted as interrupt:
        evaluation, status = interrupt.evaluation, 128 + signal.SIGINT
    except NoPicture as error:
        if wanted:
            raise
        show(f"no picture, the policy is measured without: {' '.join(str(error).split())}")
        video = None
        evaluation = play(policy, overrides, episodes, deterministic, on_episode=show_episode, note=show)
    show(str(evaluation))
    if video is not None:
        show(f"video {video}")
    return status


def show_episode(index: int, episode: Any) -> None:
    verdict = "" if episode.success is None else "  success" if episode.success else "  failure"
    show(f"episode {index + 1:>4}  return {episode.total_reward:>9.2f}  {episode.length:>4} steps{verdict}")
