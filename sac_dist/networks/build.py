"""The networks that an agent's settings ask for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from sac_dist.data.schema import PRIVILEGED, Schema
from sac_dist.networks.blocks import Block, LayerNorm, Linear, ReLU, Scalar, Without
from sac_dist.networks.critics import CategoricalEnsemble, QEnsemble, QuantileEnsemble
from sac_dist.networks.encoder import Encoder
from sac_dist.networks.network import OUTPUT_BOUND, Blocks, perceptron
from sac_dist.networks.normalised import BatchNorm, Residual, RMSNorm, UnitLinear
from sac_dist.networks.policy import GaussianPolicy
from sac_dist.settings import AgentConfig, ConfigError

EXPANSION = 4  # units inside a residual block for each outside
FLASHSAC_LOG_STD = (-10.0, 2.0)


class Networks(NamedTuple):
    """What every agent has; an algorithm may declare more (see algorithms/base.py)."""

    policy: GaussianPolicy
    q: QEnsemble
    encoder: Encoder | None = None  # of pictures; the others see what it makes of them before the numbers

    @classmethod
    def of(cls, schema: Schema, config: AgentConfig) -> Networks:
        return cls(policy_of(schema, config), critics_of(schema, config), Encoder.of(schema, config))


def is_asymmetric(schema: Schema) -> bool:
    """Whether critics see what the policy does not."""
    return PRIVILEGED in schema.places


def input_size(schema: Schema, config: AgentConfig) -> int:
    """Numbers that policy and critics see of an observation."""
    return schema.vector_size + len(schema.pictures) * config.encoder_latent


def policy_of(schema: Schema, config: AgentConfig) -> GaussianPolicy:
    width, outputs = config.hidden_width, 2 * schema.action_size
    inputs, hidden = input_size(schema, config), schema.places.get(PRIVILEGED, slice(0, 0))
    inputs -= hidden.stop - hidden.start
    if not inputs:
        raise ConfigError(f"the policy sees nothing: all that is observed is {PRIVILEGED}")
    flashsac = config.network == "flashsac"
    last = UnitLinear(width, outputs, has_bias=True) if flashsac else Linear(width, outputs, OUTPUT_BOUND)
    if config.network == "mlp":
        blocks = perceptron(inputs, width, config.hidden_depth, last)
    else:
        blocks = BLOCKS[config.network](inputs, width, config.hidden_depth, last)
    if is_asymmetric(schema):
        before = input_size(schema, config) - schema.vector_size  # what the encoder gives
        blocks = (("seen", Without(before + hidden.start, before + hidden.stop)), *blocks)
    bounds = FLASHSAC_LOG_STD if flashsac else None
    return GaussianPolicy(blocks, action_size=schema.action_size, squashed_log_std=bounds)


def critics_of(schema: Schema, config: AgentConfig) -> QEnsemble:
    # critics that are told what pictures show need no pictures, and the policy trains the encoder
    unseen = input_size(schema, config) - schema.vector_size if is_asymmetric(schema) else 0
    seen, width, depth = input_size(schema, config) - unseen, critic_width(config), critic_depth(config)
    inputs = seen + schema.action_size
    outputs = {None: 1, "c51": config.bins, "tqc": config.quantiles}[config.distribution]
    last: Block = Scalar(width, 1, OUTPUT_BOUND) if outputs == 1 else Linear(width, outputs, OUTPUT_BOUND)
    if config.network == "flashsac" and outputs > 1:
        last = UnitLinear(width, outputs, has_bias=True)
    if config.network == "mlp":
        blocks = perceptron(inputs, width, depth, last, config.layer_norm, config.dropout)
    else:
        blocks = BLOCKS[config.network](inputs, width, depth, last)
    if config.distribution == "c51":
        return CategoricalEnsemble(blocks, config.critics, seen, unseen, limit=config.v_max)
    kind = QEnsemble if config.distribution is None else QuantileEnsemble
    return kind(blocks, config.critics, seen, unseen)


def simba(inputs: int, width: int, depth: int, last: Block) -> Blocks:
    """Residual blocks of layer normalisation and two layers: SimBa, arXiv:2410.09754, figure 4."""
    inside = EXPANSION * width
    block = Residual(
        (
            ("norm", LayerNorm(width)),
            ("linear1", Linear(width, inside, he_bound(width))),
            ("relu", ReLU()),
            ("linear2", Linear(inside, width, he_bound(inside))),
        )
    )
    blocks = [(f"block{i + 1}", block) for i in range(depth)]
    return (("embedding", Linear(inputs, width)), *blocks, ("norm", LayerNorm(width)), ("linear", last))


def he_bound(inputs: int) -> float:
    """Of a uniform distribution with the variance 2 / inputs: He et al., arXiv:1502.01852."""
    return math.sqrt(6 / inputs)


def crossq(inputs: int, width: int, depth: int, last: Block) -> Blocks:
    """Layers with ReLU and batch normalisation around each: CrossQ, arXiv:1902.05605."""
    blocks: list[tuple[str, Block]] = [("norm0", BatchNorm(inputs))]
    for i in range(1, depth + 1):
        linear = Linear(inputs if i == 1 else width, width)
        blocks += [(f"linear{i}", linear), (f"relu{i}", ReLU()), (f"norm{i}", BatchNorm(width))]
    return (*blocks, (f"linear{depth + 1}", last))


def xqc(inputs: int, width: int, depth: int, last: Block) -> Blocks:
    """Layers of weights of length 1 with batch normalisation before each ReLU: XQC, arXiv:2509.25174."""
    blocks: list[tuple[str, Block]] = [("norm0", BatchNorm(inputs))]
    for i in range(1, depth + 1):
        linear = UnitLinear(inputs if i == 1 else width, width)
        blocks += [(f"linear{i}", linear), (f"norm{i}", BatchNorm(width)), (f"relu{i}", ReLU())]
    return (*blocks, (f"linear{depth + 1}", last))


def flashsac(inputs: int, width: int, depth: int, last: Block) -> Blocks:
    """FlashSAC's residual blocks: batch normalisation after each layer, RMS normalisation at the end, and all
    weights of a fixed length (github.com/Holiday-Robot/FlashSAC).
    """
    inside = EXPANSION * width
    block = Residual(
        (
            ("linear1", UnitLinear(width, inside)),
            ("norm1", BatchNorm(inside, unit=True)),
            ("relu1", ReLU()),
            ("linear2", UnitLinear(inside, width)),
            ("norm2", BatchNorm(width, unit=True)),
            ("relu2", ReLU()),
        )
    )
    begin = (("norm0", BatchNorm(inputs, unit=True)), ("embedding", UnitLinear(inputs, width)))
    blocks = [(f"block{i + 1}", block) for i in range(depth)]
    return (*begin, *blocks, ("norm", RMSNorm(width, unit=True)), ("linear", last))


BLOCKS: dict[str, Callable[[int, int, int, Block], Blocks]] = {
    "simba": simba,
    "crossq": crossq,
    "xqc": xqc,
    "flashsac": flashsac,
}


def critic_depth(config: AgentConfig) -> int:
    """Hidden layers or blocks of the critics."""
    return config.hidden_depth if config.critic_depth is None else config.critic_depth


def critic_width(config: AgentConfig) -> int:
    """Units in a hidden layer of the critics."""
    return config.hidden_width if config.critic_width is None else config.critic_width


def least_size(schema: Schema, config: AgentConfig) -> int:
    """How many weights the networks have at least: what a file that names its own sizes has to hold before
    memory is taken for them.
    """
    inputs = input_size(schema, config) + schema.action_size
    encoder = Encoder.of(schema, config)
    squares = 2 * EXPANSION if config.network in ("simba", "flashsac") else 1  # in each of the depth

    def weights(inputs: int, width: int, depth: int) -> int:
        return width * (inputs + width * squares * (depth - (squares == 1)))

    critics = config.critics * weights(inputs, critic_width(config), critic_depth(config))
    policy = weights(inputs, config.hidden_width, config.hidden_depth)
    return critics + policy + (0 if encoder is None else encoder.size)
