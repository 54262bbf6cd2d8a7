"""The networks that an agent's settings ask for."""

from __future__ import annotations

from typing import NamedTuple

from sac_dist.data.schema import Schema
from sac_dist.networks.critics import QEnsemble
from sac_dist.networks.policy import GaussianPolicy
from sac_dist.settings import AgentConfig


class Networks(NamedTuple):
    """What every agent has; an algorithm may declare more (see algorithms/base.py)."""

    policy: GaussianPolicy
    q: QEnsemble

    @classmethod
    def of(cls, schema: Schema, config: AgentConfig) -> Networks:
        observation_size, action_size, width = (
            schema.observation_size,
            schema.action_size,
            config.hidden_width,
        )
        return cls(
            GaussianPolicy.perceptron(observation_size, action_size, width, config.hidden_depth),
            QEnsemble.perceptron(
                observation_size,
                action_size,
                width,
                critic_depth(config),
                config.critics,
                config.layer_norm,
            ),
        )


def critic_depth(config: AgentConfig) -> int:
    """Hidden layers of the critics."""
    return config.hidden_depth if config.critic_depth is None else config.critic_depth


def least_size(schema: Schema, config: AgentConfig) -> int:
    """How many weights the networks have at least: what a file that names its own sizes has to hold before
    memory is taken for them.
    """
    width, inputs = config.hidden_width, schema.observation_size + schema.action_size
    square = config.hidden_depth - 1 + config.critics * (critic_depth(config) - 1)
    return width * (inputs * (1 + config.critics) + width * square)
