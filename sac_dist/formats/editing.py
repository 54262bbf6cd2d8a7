"""Choosing and cutting the episodes of demonstrations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from envs.tasks.terms import FALL_REWARD, SUCCESS_REWARD
from sac_dist.data.transitions import Transitions
from sac_dist.settings import ConfigError


def edited(demos: Transitions, keep: str | None, drop: str | None, trim: str | None) -> Transitions:
    """The episodes that ``keep`` names and ``drop`` does not, each cut to the steps of ``trim``.

    ``keep`` is "success" or, as ``drop``, numbers of episodes from 0 such as "0,3,7-9"; ``trim`` is "A:B",
    the first step and one past the last as Python counts them, either of which may be left out. An episode
    that is cut before its end is truncated there and no success any more. Raises ConfigError, in one line.
    """
    count = len(demos.starts)
    episodes = list(range(count))
    if keep == "success":
        if demos.success is None:
            raise ConfigError("--keep success: the file does not say which episodes succeeded")
        episodes = np.flatnonzero(demos.success).tolist()
    elif keep is not None:
        episodes = numbers(keep, count, "--keep")
    if drop is not None:
        dropped = set(numbers(drop, count, "--drop"))
        episodes = [episode for episode in episodes if episode not in dropped]
    if not episodes:
        raise ConfigError("no episode is left")
    picked = demos.pick(episodes)
    return picked if trim is None else trimmed(picked, trim)


def numbers(text: str, count: int, flag: str) -> list[int]:
    """Those that a list such as "0,3,7-9" names, in its order. Raises ConfigError for one that is not below
    ``count``.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ConfigError(f"{flag} {text}: give numbers of episodes from 0, such as 0,3,7-9")
        low, high = int(first), int(last) if dash else int(first)
        if not low <= high < count:
            raise ConfigError(
                f"{flag} {text}: {part.strip()} is not among the {count} episodes, 0 to {count - 1}"
            )
        found += range(low, high + 1)
    return list(dict.fromkeys(found))


def trimmed(demos: Transitions, trim: str) -> Transitions:
    low, colon, high = trim.partition(":")
    try:
        cut = slice(int(low) if low else None, int(high) if high else None)
    except ValueError:
        colon = ""
    if not colon:
        raise ConfigError(f"--trim {trim}: give steps as A:B, such as 5:, :40 or 5:-3")
    parts, success, kept, shown = [], [], [], []
    for number, (start, stop) in enumerate(zip(demos.starts, demos.ends, strict=True)):
        first, last, _ = cut.indices(int(stop - start))
        if first >= last:
            raise ConfigError(f"--trim {trim} leaves nothing of an episode of {stop - start} steps")
        rows = demos.rows[start + first : start + last].copy()
        if start + last < stop:
            rows[-1, demos.schema.columns["truncated"]] = 1.0
        parts.append(rows)
        kept.append(np.arange(start + first, start + last))
        shown.append(np.arange(start + first, start + last + 1) + number)
        success.append(demos.success is not None and demos.success[number] and start + last == stop)
    return replace(
        demos,
        rows=np.concatenate(parts),
        starts=np.cumsum([0, *map(len, parts[:-1])]),
        success=None if demos.success is None else np.array(success, bool),
        frames=None if demos.frames is None else demos.frames[np.concatenate(shown)],
        is_intervention=(
            None if demos.is_intervention is None else demos.is_intervention[np.concatenate(kept)]
        ),
    )


def with_sparse_reward(demos: Transitions) -> Transitions:
    """With the reward that an arm task gives with reward="sparse" (envs/tasks/arm.py): of a step that ends
    its episode, by whether it succeeded. ``success`` is known, and the environment by its source.
    """
    assert demos.success is not None
    rows = demos.rows.copy()
    ended = np.where(demos.success, SUCCESS_REWARD, FALL_REWARD)
    rewards = np.zeros(len(demos), np.float32)
    rewards[demos.ends - 1] = ended * demos.terminated[demos.ends - 1]
    rows[:, demos.schema.columns["reward"]] = rewards
    env = demos.source["env"]
    kwargs = {**env.get("env_kwargs", {}), "reward": "sparse"}
    return replace(demos, rows=rows, source={**demos.source, "env": {**env, "env_kwargs": kwargs}})
