"""More demonstrations from few: source episodes moved to where the object lies in new ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from envs.tasks.moved import Moved, Path, path_of, task_of
from sac_dist.acting.environment import close, make_env
from sac_dist.acting.episode import Episode
from sac_dist.acting.playback import silent
from sac_dist.acting.recording import Act, Recorder, RecordingInterrupted, collect, resolved
from sac_dist.data.transitions import Transitions
from sac_dist.formats.check import check_fits
from sac_dist.settings import ConfigError, EnvConfig


def multiply(
    demos: Transitions,
    name: str,
    config: EnvConfig,
    to: int,
    seed: int | None = None,
    on_episode: Callable[[int, Episode], None] = lambda index, episode: None,
    note: Callable[[str], None] = silent,
) -> Transitions:
    """The successful episodes of ``demos``, of file ``name``, and as many moved ones that succeed as make
    ``to`` of them. ``on_episode`` is told of every try; ``note`` gets a line with how many succeeded.

    ``seed``: of the new episodes' starts and of the choice of their sources; None: one more than the
    source's, so that its own starts do not come again.

    Raises ConfigError, in one line, for a task that this is not for (envs/tasks/moved.py), demonstrations
    that are not of it or hold no grasp, and where max(20, 10 for each new episode) tries do not hold enough
    successes. Ctrl-C raises RecordingInterrupted with the source's episodes and the moved ones, if any.
    """
    if seed is None:
        before = demos.source.get("seed")
        seed = before + 1 if isinstance(before, int) and before >= 0 else 1
    config = resolved(config)
    env = Recorder(make_env(config))
    tried: list[bool] = []
    interrupted = False

    def told(index: int, episode: Episode) -> None:
        tried.append(bool(episode.success))
        on_episode(index, episode)

    try:
        paths = paths_of(env, demos, name)
        if to <= len(paths):
            raise ConfigError(f"--to is {to}, and {name} has {len(paths)} episodes to begin with: give more")
        chosen = np.random.default_rng((seed, 2))
        options = list(paths.values())

        def act_of(reset_seed: int) -> Act:
            path, mover = options[chosen.integers(len(options))], list[Moved]()

            def act(observation: np.ndarray) -> np.ndarray:
                if not mover:  # the episode has just begun
                    mover.append(Moved(env, path))
                return mover[0].act()

            return act

        policy = f"moved from {len(paths)}"
        try:
            made = collect(env, config, to - len(paths), seed, act_of, bool, policy, told)
        except RecordingInterrupted as interrupt:
            made, interrupted = interrupt.demos, True
    finally:
        close(env)
    note(f"{sum(tried)} of {len(tried)} moved episodes succeeded ({sum(tried) / len(tried):.0%})")
    kept = replace(demos.pick(list(paths)), schema=made.schema)
    joined = Transitions.concatenate([kept, made])
    whole = replace(joined, success=np.ones(len(joined.starts), bool), source=made.source)
    if interrupted:
        raise RecordingInterrupted(whole)
    return whole


def paths_of(env: Recorder, demos: Transitions, name: str) -> dict[int, Path]:
    """Of the episodes that can be moved, by their numbers. Raises ConfigError if there is none."""
    if env.schema.pictures:
        raise ConfigError(
            f"--multiply-demos: {name} has pictures, and what is moved has to observe the object's pose"
        )
    check_fits(demos, env.schema, name)
    paths, obstacle = {}, "none of its episodes succeeds"
    try:
        task_of(env)
    except ValueError as error:
        raise ConfigError(f"--multiply-demos: {error}") from None
    for number, (start, stop) in enumerate(zip(demos.starts, demos.ends, strict=True)):
        if demos.success is not None and not demos.success[number]:
            continue
        try:
            observations = [*demos.observation[start:stop], demos.next_observation[stop - 1]]
            paths[number] = path_of(env, np.array(observations), demos.action[start:stop])
        except ValueError as error:
            obstacle = str(error)
    if not paths:
        raise ConfigError(f"{name} has no episode to be moved: {obstacle}")
    return paths
