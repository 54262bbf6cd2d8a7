"""What people did in a run in place of its policy: who can, and the file of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from sac_dist.acting.environment import is_arm_task
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.schema import Schema
from sac_dist.data.segment import ReplaySegment
from sac_dist.data.transitions import Transitions
from sac_dist.formats import files
from sac_dist.settings import Config, ConfigError, EnvConfig


def settle_interventions(config: Config, says_so: bool, schema: Schema) -> tuple[Config, str | None]:
    """``config`` with the page through which people act, where the environment has no device of its own, and
    a line. ``says_so``: whether its infos say what a person does.

    Raises ConfigError for an environment in which nobody can act.
    """
    name = config.env.name
    if not config.train.interventions:
        line = f"{name} says when a person acts: give --interventions to learn from what they do"
        return config, line if says_so else None
    if schema.stack > 1:
        raise ConfigError(
            "--interventions are for single pictures: what a person does begins in the middle of an episode, "
            "and the pictures before it are not kept; leave out --frame-stack"
        )
    if says_so:
        return config, None
    if not is_arm_task(config.env):
        raise ConfigError(
            f"--interventions: {name} has no arm that people can steer, and its infos say no is_intervention"
        )
    return replace(config, train=replace(config.train, watch=True)), None


class CorrectionsFile:
    """The run's file of demonstrations in which each stretch that a person steered is an episode."""

    def __init__(self, path: Path, env: EnvConfig) -> None:
        self.path, self._env = path, env
        self._written = 0

    def restore(self, corrections: ReplayBuffer) -> None:
        """Put back what was written. Raises ConfigError for a file that is damaged."""
        if self.path.exists():
            corrections.restore(ReplaySegment.of(files.read(self.path)))
            self._written = int(corrections.written.sum())

    def write(self, corrections: ReplayBuffer) -> None:
        """All that is stored, if there is something new."""
        if int(corrections.written.sum()) == self._written:
            return
        segment = corrections.snapshot()
        parts = corrections.schema.views(segment.rows)
        lasts = np.append(segment.begins()[1:], len(segment.rows)) - 1
        parts["truncated"][lasts] = 1 - parts["terminated"][lasts]
        source = {"env": self._env.flat(), "policy": "human"}
        frames = [stretch.frames for stretch in segment.stored() if stretch.frames is not None]
        stretches = Transitions(
            corrections.schema,
            segment.rows,
            segment.begins(),
            None,
            np.concatenate(frames) if frames else None,
            source,
            np.ones(len(segment.rows), bool),
        )
        files.write(stretches, self.path, again=True)
        self._written = int(corrections.written.sum())
