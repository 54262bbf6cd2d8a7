"""SAC and its networks; what other algorithms add is in algorithms.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sac_dist.settings.option import ConfigError, finite, option, positive


@dataclass(frozen=True)
class AgentConfig:
    """SAC (Haarnoja et al. 2018, arXiv:1812.05905) and its networks."""

    network: Literal["mlp", "simba", "crossq", "xqc", "flashsac"] = option(
        "mlp",
        "what networks are made of: layers with ReLU; SimBa's residual blocks; with batch normalisation "
        "(where one process updates) CrossQ's layers, XQC's, FlashSAC's residual blocks",
    )
    hidden_width: int = option(64, "units in each hidden layer")
    hidden_depth: int = option(2, "hidden layers, or residual blocks, in each network")
    critic_width: int | None = option(None, "units in each hidden layer of the critics, if another number")
    critic_depth: int | None = option(None, "hidden layers or blocks of the critics, if another number")
    actor_lr: float = option(1.5e-3, "Adam step size of the policy")
    critic_lr: float = option(1.5e-3, "Adam step size of the critics")
    alpha_lr: float = option(1.5e-3, "Adam step size of the temperature")
    lr_decay: Literal["linear", "cosine"] | None = option(
        None, "how all step sizes fall over the run's budget of steps; left out, they stay"
    )
    lr_end: float = option(0.1, "share of the step sizes that is left at the end of lr_decay")
    weight_decay: float = option(0.0, "AdamW's weight decay of the networks, times the step size each update")
    adam_beta1: float = option(0.9, "Adam's β₁, the decay of its mean gradient")
    discount: float = option(0.95, "discount γ per environment step")
    n_step: int = option(1, "environment steps whose rewards count before the value of the state after them")
    policy_every: int = option(
        1, "train policy and temperature at every so many-th update; the critics at each one"
    )
    tau: float = option(0.01, "share of the critics that flows into their targets at each update")
    alpha: float | None = option(None, "fixed temperature; left out, it is tuned automatically")
    initial_alpha: float = option(0.1, "where the automatic temperature starts")
    target_entropy: float | None = option(
        None, "entropy in nats the temperature aims at; default: minus half the number of actions"
    )
    noise_repeat: int = option(
        1, "most steps that exploration keeps the same noise for; how many is drawn with chances of 1 / n²"
    )
    critics: int = option(2, "size of the Q ensemble, at least 2; target and policy take its minimum")
    target_critics: int | None = option(
        None, "if given, the target takes the minimum of so many random critics, the policy the mean of all"
    )
    target_network: bool = option(
        True, "value what follows by slow copies of the critics; CrossQ does without"
    )
    distribution: Literal["c51", "tqc"] | None = option(
        None,
        "critics predict the return's distribution: c51, probabilities of fixed values; tqc, quantiles, of "
        "which the target leaves out the highest",
    )
    bins: int = option(101, "c51: values, from -v_max to v_max")
    v_max: float = option(5.0, "c51: the largest return")
    quantiles: int = option(25, "tqc: quantiles of each critic")
    dropped_quantiles: int = option(2, "tqc: of the quantiles of all critics so many a critic are left out")
    dropout: float = option(0.0, "share of the critics' units that each update leaves out, as DroQ does")
    layer_norm: bool = option(True, "layer normalisation in the critics, as RLPD does")
    encoder_channels: int = option(16, "pictures: channels of each convolution of the encoder")
    encoder_depth: int = option(4, "pictures: 3x3 convolutions of the encoder")
    encoder_strided: int = option(3, "pictures: of these so many, from the first on, halve the sides")
    encoder_latent: int = option(50, "pictures: numbers that a camera's picture becomes")
    shift: int = option(4, "pictures: pixels by which each update moves them at most, as DrQ does; 0: none")
    entropy_backup: bool = option(
        True, "the target values the next action's entropy; without: deterministic backup"
    )
    grad_clip: float | None = option(None, "largest gradient norm of the policy and of the critics")
    reward_scale: float = option(1.0, "rewards are used as reward_scale * reward + reward_bias")
    reward_bias: float = option(0.0, "see reward_scale")
    normalize_observations: bool = option(
        False, "networks see observations by their running mean and variance, shared by all processes"
    )
    normalize_rewards: bool = option(False, "standardise the rewards of each batch, as the book does")
    normalize_returns: bool = option(
        False, "divide rewards by the running deviation of the discounted return, shared by all processes"
    )
    largest_return: float = option(
        5.0, "with normalize_returns: rewards are so small that no discounted return seen exceeds this"
    )

    def __post_init__(self) -> None:
        finite(self)
        positive(
            self,
            "hidden_width",
            "hidden_depth",
            "critic_width",
            "critic_depth",
            "v_max",
            "quantiles",
            "actor_lr",
            "critic_lr",
            "alpha_lr",
            "initial_alpha",
            "n_step",
            "noise_repeat",
            "largest_return",
            "policy_every",
            "tau",
            "alpha",
            "grad_clip",
            "target_critics",
            "encoder_channels",
            "encoder_depth",
            "encoder_latent",
        )
        if min(self.encoder_strided, self.shift) < 0:
            raise ConfigError(
                f"encoder_strided ({self.encoder_strided}) and shift ({self.shift}) must not be negative"
            )
        if self.target_critics is not None and self.target_critics > self.critics:
            raise ConfigError(
                f"target_critics is {self.target_critics}: there are only {self.critics} critics"
            )
        if self.reward_scale == 0:
            raise ConfigError("reward_scale is 0: nothing could be learnt from rewards")
        if self.n_step > 1 and self.reward_bias and self.normalize_rewards:
            raise ConfigError(
                "n_step with reward_bias and normalize_rewards: the bias is of single rewards, the other of "
                "sums of n: leave one of them out"
            )
        if self.normalize_returns and (
            self.normalize_rewards or (self.reward_scale, self.reward_bias) != (1, 0)
        ):
            raise ConfigError(
                "normalize_returns scales rewards by itself: leave out reward_scale, reward_bias and "
                "normalize_rewards"
            )
        if self.critics < 2:
            raise ConfigError(f"critics is {self.critics}: SAC's target needs at least 2")
        if not 0 < self.lr_end <= 1 or not 0 < self.adam_beta1 < 0.9995 or self.weight_decay < 0:
            raise ConfigError(
                f"lr_end ({self.lr_end}) must lie in (0, 1], adam_beta1 ({self.adam_beta1}) in (0, 0.9995), "
                f"weight_decay ({self.weight_decay}) must not be negative"
            )
        if not 0 <= self.dropped_quantiles < self.quantiles or self.bins < 2 or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"dropped_quantiles ({self.dropped_quantiles}) must lie in [0, quantiles), bins "
                f"({self.bins}) be at least 2, dropout ({self.dropout}) lie in [0, 1)"
            )
        if self.dropout and self.network != "mlp":
            raise ConfigError(f"dropout is for the network mlp, not {self.network}")
        if self.weight_decay and self.normalises_batches:
            raise ConfigError(
                f"weight_decay would shrink the running statistics of the network {self.network}"
            )
        if not 0 <= self.discount <= 1 or self.tau > 1:
            raise ConfigError(f"discount ({self.discount}) must lie in [0, 1] and tau ({self.tau}) in (0, 1]")

    @property
    def normalises_batches(self) -> bool:
        """Whether the networks have batch normalisation."""
        return self.network in ("crossq", "xqc", "flashsac")

    @property
    def generalised(self) -> bool:
        """Whether training differs from SAC's in more than numbers: algorithms/generalised.py."""
        return bool(self.normalises_batches or self.distribution or self.dropout or not self.target_network)
