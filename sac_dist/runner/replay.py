"""An exported policy in its environment, as the environment is: no wrapper flattens or scales anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sac_dist.acting.environment import close, make_own_env
from sac_dist.acting.episode import Episode, success_of
from sac_dist.acting.evaluation import Evaluation, evaluation_seed
from sac_dist.data.schema import PRIVILEGED
from sac_dist.runner.policy import Policy
from sac_dist.settings import EnvConfig


def replay(
    policy: Policy,
    overrides: EnvConfig,
    episodes: int,
    sample_seed: int | None = None,
    on_episode: Callable[[int, Episode], None] = lambda index, episode: None,
) -> Evaluation:
    """Play the fixed unseen episodes 0 … ``episodes`` - 1 of ``--test``; with ``sample_seed``, by samples.

    Raises ConfigError where the environment does not start, and ObservationError where it is not the
    policy's.
    """
    config = overrides.over(EnvConfig.from_dict(policy.card.parts["environment"]))
    generator = None if sample_seed is None else np.random.default_rng(sample_seed)
    env = make_own_env(config)
    played = []
    try:
        for index in range(episodes):
            observation, _ = env.reset(seed=evaluation_seed(index))
            policy.begin()
            total, length, success, over = 0.0, 0, None, False
            while not over:
                noise = None if generator is None else generator.standard_normal(policy.card.noise_size)
                action = policy(seen_by_policy(observation), noise)
                observation, reward, terminated, truncated, info = env.step(action)
                total, length, over = total + float(reward), length + 1, bool(terminated or truncated)
                said = success_of(info)
                if config.success == "last":
                    success = said
                elif said is not None:
                    success = said or bool(success)
            played.append(Episode(total, length, success, bool(terminated)))
            on_episode(index, played[-1])
    finally:
        close(env)
    return Evaluation.of(played)


def seen_by_policy(observation: Any) -> Any:
    """Without what only critics see."""
    if not isinstance(observation, dict):
        return observation
    return {name: part for name, part in observation.items() if name != PRIVILEGED}
