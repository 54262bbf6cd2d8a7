"""Every setting, as frozen dataclasses. A field's ``help`` is the help text of its flag (see cli.py)."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal


class ConfigError(ValueError):
    """A setting, file or environment the user has to change; its message is one line for the terminal."""


def option(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class EnvConfig:
    """The environment. Options left at None keep the environment's own default and are refused where it has none."""

    env: str = option("auto", "a gymnasium id, such as SawyerLift-v0; auto: SawyerGrasp-v0 where a simulator works, else Pendulum-v1")
    backend: Literal["auto", "mujoco", "coppelia"] | None = option(None, "simulator of the Sawyer; auto: CoppeliaSim where it works")
    control: Literal["joint_velocity", "end_position"] | None = option(None, "7 joint velocities, or 3 of the tool and a yaw rate")
    observation: Literal["relative", "book"] | None = option(None, "31 entries relative to the object, or the book's 17")
    reward: Literal["sparse", "dense", "augmented"] | None = option(None, "the book's three reward modes")
    random_target: bool | None = option(None, "draw the object's position anew each episode")
    random_yaw: bool | None = option(None, "draw the object's yaw anew each episode")
    horizon: int | None = option(None, "control steps of 0.05 s until an episode is truncated")

    def options(self) -> dict[str, Any]:
        """The options that were set, as keyword arguments for ``gymnasium.make``."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "env" and getattr(self, f.name) is not None}


@dataclass(frozen=True)
class AgentConfig:
    """SAC (Haarnoja et al. 2018, arXiv:1812.05905) and its networks."""

    hidden_width: int = option(128, "units in each hidden layer; the book: 512")
    hidden_depth: int = option(2, "hidden layers in each network; the book: 4")
    critic_depth: int | None = option(None, "hidden layers of the critics, if another number; the book: 3")
    actor_lr: float = option(7e-4, "Adam step size of the policy")
    critic_lr: float = option(7e-4, "Adam step size of the critics")
    alpha_lr: float = option(7e-4, "Adam step size of the temperature")
    discount: float = option(0.95, "discount γ per environment step")
    tau: float = option(0.01, "share of the critics that flows into their targets at each update")
    alpha: float | None = option(None, "fixed temperature; left out, it is tuned automatically")
    initial_alpha: float = option(0.1, "where the automatic temperature starts")
    target_entropy: float | None = option(None, "entropy in nats the temperature aims at; default: minus half the number of actions")
    critics: int = option(2, "size of the Q ensemble, at least 2; the target takes its minimum")
    grad_clip: float | None = option(None, "largest gradient norm of the policy and of the critics")
    reward_scale: float = option(1.0, "rewards are used as reward_scale * reward + reward_bias")
    reward_bias: float = option(0.0, "see reward_scale")
    normalize_rewards: bool = option(False, "standardise the rewards of each batch, as the book does")

    def __post_init__(self) -> None:
        positive(
            self,
            "hidden_width",
            "hidden_depth",
            "critic_depth",
            "actor_lr",
            "critic_lr",
            "alpha_lr",
            "initial_alpha",
            "tau",
            "alpha",
            "grad_clip",
        )
        if self.critics < 2:
            raise ConfigError(f"critics is {self.critics}: SAC's target needs at least 2")
        if not 0 <= self.discount <= 1 or self.tau > 1:
            raise ConfigError(f"discount ({self.discount}) must lie in [0, 1] and tau ({self.tau}) in (0, 1]")


@dataclass(frozen=True)
class TrainConfig:
    """A training run: its processes, budget, buffer, evaluation and files."""

    workers: int = option(os.cpu_count() or 1, "worker processes, each with its own environment; default: the machine's cores")
    seed: int = option(0, "seed of networks, exploration and environments; with one worker a run repeats bit for bit")
    steps: int | None = option(None, "stop after so many environment steps over all workers; default 30000 if no other budget is given")
    episodes: int | None = option(None, "stop after so many episodes over all workers")
    time: float | None = option(None, "stop after so many seconds")
    success_target: float | None = option(None, "stop when an evaluation of 100 unseen episodes succeeds at this rate (0 … 1)")
    batch_size: int = option(128, "transitions per gradient update")
    warmup_steps: int = option(500, "environment steps with uniformly random actions before the first update")
    update_ratio: float = option(1.0, "gradient updates per environment step, over all workers together")
    buffer_size: int = option(1_000_000, "transitions the replay buffer holds")
    eval_interval: int = option(2500, "environment steps between evaluations; 0: none")
    eval_episodes: int = option(20, "episodes per evaluation, always from the same unseen seeds")
    checkpoint_interval: int = option(5000, "environment steps between checkpoints")
    compile: Literal["auto", "on", "off"] = option("auto", "fuse the update with torch.compile; auto: where a C++ compiler works")
    run_dir: str | None = option(None, "new folder for everything the run writes; default: runs/<env>-<date>-<time>")

    def __post_init__(self) -> None:
        positive(
            self,
            "workers",
            "steps",
            "episodes",
            "time",
            "batch_size",
            "update_ratio",
            "buffer_size",
            "eval_episodes",
            "checkpoint_interval",
        )
        if self.success_target is not None and not 0 < self.success_target <= 1:
            raise ConfigError(f"success_target is {self.success_target}: it is a rate in (0, 1]")
        if self.warmup_steps < 0 or self.eval_interval < 0 or self.seed < 0:
            raise ConfigError("warmup_steps, eval_interval and seed must not be negative")
        if self.success_target is not None and self.eval_interval == 0:
            raise ConfigError("success_target needs evaluations: give --eval-interval a number above 0")


@dataclass(frozen=True)
class Config:
    env: EnvConfig = field(default_factory=EnvConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        return asdict(self)

    @classmethod
    def from_dict(cls, parts: dict[str, dict[str, Any]]) -> Config:
        """Undo :meth:`to_dict`. Raise ConfigError on a setting that this version does not have."""
        known = {"env": EnvConfig, "agent": AgentConfig, "train": TrainConfig}
        for name, values in parts.items():
            unknown = set(values) - {f.name for f in fields(known[name])}
            if unknown:
                raise ConfigError(f"unknown setting {sorted(unknown)[0]!r}: made by another version of sac_dist")
        return cls(**{name: known[name](**values) for name, values in parts.items()})


def positive(config: Any, *names: str) -> None:
    """Raise ConfigError for each named field that is set and not above zero."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ConfigError(f"{name} is {value}: it must be above 0")
