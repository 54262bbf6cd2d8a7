"""Playing policies for a page, an episode each time that it asks for one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import gymnasium

from sac_dist.acting.environment import close, make_env
from sac_dist.acting.episode import Episode, Play
from sac_dist.acting.evaluation import evaluation_seed
from sac_dist.acting.failures import NoPicture
from sac_dist.acting.observation import check_policy_fits
from sac_dist.acting.reels import Filming, Reels
from sac_dist.acting.views import drawable
from sac_dist.algorithms.agent import SACAgent
from sac_dist.settings import ConfigError, EnvConfig
from sac_dist.storage.checkpoint import Checkpoint

LOOK = 0.02  # s between looks for a wish
PICTURE_WIDTH = 2**15  # bytes of a frame that may be a picture


def play_on_request(
    policies: Sequence[Checkpoint],
    config: EnvConfig,
    reels: Reels,
    episodes: int | None,
    deterministic: bool = True,
    on_episode: Callable[[int, Episode], None] = lambda policy, episode: None,
) -> None:
    """Play the unseen episodes 0, 1, … by the policy of ``policies`` that the page chooses for each, until
    ``episodes`` have been seen to their end; None: for ever.

    Raises ConfigError if a policy does not fit the environment.
    """
    env = visible_env(config)
    try:
        for policy in policies:
            check_policy_fits(policy.schema, env, config.name)
        film, agents = Filming(reels, 0, env), dict[int, SACAgent]()
        played = 0
        while True:
            while not reels.asked(0):
                time.sleep(LOOK)
            if played == episodes:
                return
            choice = min(reels.choice(0), len(policies) - 1)
            if choice not in agents:
                agents[choice] = policies[choice].build_agent()
            play = Play(env, evaluation_seed(played), config.success)
            film.begin()
            while not play.over:
                play.step(agents[choice].act(play.observation, deterministic=deterministic))
                film.add()
            episode = play.episode()
            film.end(episode.total_reward, episode.success)
            on_episode(choice, episode)
            played += 1
    finally:
        close(env)


def visible_env(config: EnvConfig) -> gymnasium.Env:
    """In 3D if it can be, else with pictures, else as it is."""
    env = make_env(config)
    if drawable(env) is not None:
        return env
    close(env)
    try:
        return make_env(config, "rgb_array")
    except (NoPicture, ConfigError):
        return make_env(config)
