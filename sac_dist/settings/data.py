"""Transitions, and phases that train from data without an environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sac_dist.settings.algorithms import ALGORITHMS, check_known, check_online
from sac_dist.settings.option import ConfigError, finite, option, positive

DEFAULT_OFFLINE_STEPS = 20_000


@dataclass(frozen=True)
class DataConfig:
    """Transitions, and phases that train from data without an environment.

    A phase counts gradient updates. The first comes before any environment step: ``bc_steps`` of behaviour
    cloning, then ``offline_steps`` of ``algo``.
    """

    demos: tuple[str, ...] = option((), "demonstrations: files, run folders, minari:ID or lerobot:FOLDER")
    offline: tuple[str, ...] = option(
        (), "train from this data alone: files, run folders, minari:ID or lerobot:FOLDER"
    )
    algo: str = option(
        "cql",
        f"algorithm of the offline phases: {', '.join(ALGORITHMS)}, or your own package.module:Class",
    )
    online_algo: str = option(
        "sac",
        "algorithm of the online phase; cql with cal_ql goes on as Cal-QL's authors do; iql, awac and td3bc "
        "need --demos",
    )
    offline_steps: int | None = option(
        None,
        f"gradient updates of an offline phase; --offline: default {DEFAULT_OFFLINE_STEPS:,}, --train: none",
    )
    offline_every: int | None = option(
        None, "another offline phase, on data and replay, after each so many environment steps"
    )
    bc_steps: int = option(0, "gradient updates of behaviour cloning before everything else")
    demo_mode: Literal["mix", "prefill", "append"] = option(
        "mix", "a share of each batch; as if in the buffer; all of them to each batch"
    )
    demo_ratio: float = option(0.5, "share of demonstrations in a batch of demo_mode mix")
    demo_anneal: int | None = option(None, "environment steps over which that share falls to 0")
    demo_overwrite: bool = option(
        False, "demo_mode prefill: into the ring itself, where new transitions replace them in time"
    )

    her: Literal["none", "future", "final"] | None = option(
        None,
        "hindsight experience replay, for environments with goals: future, a goal is what the episode "
        "achieved later on; final, at its end; default: future with --train where the reward is sparse",
    )
    her_ratio: float = option(0.8, "share of each batch that gets a goal in hindsight")

    def __post_init__(self) -> None:
        finite(self)
        positive(self, "offline_steps", "offline_every", "demo_anneal")
        check_known(self.algo, "algo")
        check_known(self.online_algo, "online_algo")
        if not self.offline:
            check_online(self.online_algo, bool(self.demos))
        if not 0 <= self.demo_ratio <= 1:
            raise ConfigError(f"demo_ratio is {self.demo_ratio}: it is a share in [0, 1]")
        if not 0 <= self.her_ratio <= 1:
            raise ConfigError(f"her_ratio is {self.her_ratio}: it is a share in [0, 1]")
        if self.relabels and self.demo_mode == "append":
            raise ConfigError(f"her {self.her} is for demo_mode mix or prefill, not append")
        if self.bc_steps < 0:
            raise ConfigError(f"bc_steps is {self.bc_steps}: it must not be negative")
        if self.demos and self.offline:
            raise ConfigError(
                "--offline trains from its data alone: leave out --demos, or --train with --demos and "
                "--offline-steps"
            )
        if not self.files and (self.offline_steps or self.bc_steps or self.offline_every):
            raise ConfigError("offline_steps, offline_every and bc_steps need data: give --demos")
        if self.offline_every is not None and (self.offline or self.offline_steps is None):
            raise ConfigError("offline_every needs --train with --demos, and offline_steps")
        if self.demo_overwrite and self.demo_mode != "prefill":
            raise ConfigError(f"demo_overwrite is for demo_mode prefill, not {self.demo_mode}")

    @property
    def relabels(self) -> bool:
        """Whether transitions get goals in hindsight, as far as it is settled."""
        return self.her not in (None, "none")

    @property
    def files(self) -> tuple[str, ...]:
        return self.demos or self.offline

    @property
    def clock_unit(self) -> str:
        """What a run's clock counts."""
        if self.offline:
            return "offline updates"
        return "steps and offline updates" if self.offline_updates(0) else "steps"

    def offline_updates(self, steps: int) -> int:
        """How many offline updates a run makes in its first ``steps`` environment steps."""
        phases = 1 + (steps // self.offline_every if self.offline_every else 0)
        return self.bc_steps + phases * (self.offline_steps or 0)
