"""A training run: its processes, budget, buffer, evaluation and files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sac_dist.settings.allowance import usable_processors
from sac_dist.settings.option import ConfigError, finite, option, positive

DEFAULT_STEPS = 30_000
ACTOR_WARMUP = 10_000  # half of it without training the policy, see README


@dataclass(frozen=True)
class TrainConfig:
    """A training run: its processes, budget, buffer, evaluation and files."""

    workers: int = option(usable_processors(), "worker processes, each with its own environment")
    seed: int = option(
        0, "seed of networks, exploration and environments; with one worker a run repeats bit for bit"
    )
    steps: int | None = option(
        None,
        "stop after so many environment steps over all workers; if no other budget is given "
        f"{DEFAULT_STEPS:,}",
    )
    episodes: int | None = option(None, "stop after so many episodes over all workers")
    time: float | None = option(None, "stop training after so many seconds; the final evaluation comes after")
    success_target: float | None = option(
        None, "stop when an evaluation of 100 unseen episodes succeeds at this rate (0 … 1)"
    )
    batch_size: int = option(128, "transitions per gradient update")
    warmup_steps: int = option(
        500, "environment steps before the first update; with random actions unless data trained the policy"
    )
    actor_warmup_steps: int | None = option(
        None,
        "environment steps until the policy is trained with its full step sizes, which rise from 0 over "
        "the second half of them; "
        f"default: none, {ACTOR_WARMUP:,} if data trained the policy: the critics learn first what it meets",
    )
    update_ratio: float = option(0.33, "gradient updates per environment step, over all workers together")
    buffer_size: int = option(1_000_000, "transitions the replay buffer holds")
    eval_interval: int = option(2500, "environment steps between evaluations; 0: none")
    eval_episodes: int = option(20, "episodes per evaluation, always from the same unseen seeds")
    checkpoint_interval: int = option(5000, "environment steps between checkpoints")
    keep_interval: int = option(
        0,
        "environment steps between policies that stay in checkpoints/ for good; 0: only the best and "
        "the last",
    )
    step_timeout: float = option(
        60.0, "seconds an environment may take to start, reset or step before its process is restarted"
    )
    worker_memory: int | None = option(
        None, "MiB of memory of its own that a worker or the evaluator may hold before it is restarted"
    )
    learner: Literal["workers", "central"] | None = option(
        None,
        "who updates the networks: every worker between its steps, or one more process while the "
        "workers only act; "
        "default: workers, with --engine ray central",
    )
    device: Literal["cpu", "cuda"] = option(
        "cpu", "where a central learner computes its updates: cpu, or cuda, a GPU"
    )
    engine: Literal["local", "ray"] = option(
        "local", "where the run's processes live: on this machine, or as actors of a Ray cluster"
    )
    compile: Literal["auto", "on", "off"] = option(
        "auto", "fuse the update with torch.compile; auto: where a C++ compiler works"
    )
    wandb: str | None = option(
        None,
        "log to this project of Weights & Biases too; with WANDB_MODE=offline into the run's folder alone",
    )
    video: bool = option(True, "film the policy at the end of the training, for 10 s of drawing at most")
    interventions: bool = option(
        False,
        "let a person take over a worker's arm in the middle of an episode, from the page of --watch or by a "
        "device of the environment's own, and learn from what they do as from demonstrations",
    )
    watch: bool = option(False, "show what happens in a browser, in 3D and as curves, by viser")
    watch_host: str = option(
        "127.0.0.1", "address that the page listens on; one that others can reach has a token in its URL"
    )
    watch_port: int = option(8080, "port of the page, or the next that is free")
    run_dir: str | None = option(
        None, "new folder for everything the run writes; default: runs/<env>-<date>-<time>"
    )

    def __post_init__(self) -> None:
        finite(self)
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
            "step_timeout",
            "worker_memory",
        )
        if not 1 <= self.watch_port <= 65535:
            raise ConfigError(f"watch_port is {self.watch_port}: a port is from 1 to 65535")
        if self.seed >= 2**63:
            raise ConfigError(f"seed is {self.seed}: it must be below 2**63")
        if self.update_ratio > 1000:
            raise ConfigError(f"update_ratio is {self.update_ratio:g}: it must be 1,000 or less")
        if self.success_target is not None and not 0 < self.success_target <= 1:
            raise ConfigError(f"success_target is {self.success_target}: it is a rate in (0, 1]")
        if (
            min(
                self.warmup_steps,
                self.actor_warmup_steps or 0,
                self.eval_interval,
                self.keep_interval,
                self.seed,
            )
            < 0
        ):
            raise ConfigError(
                "warmup_steps, actor_warmup_steps, eval_interval, keep_interval and seed must not be negative"
            )
        if self.success_target is not None and self.eval_interval == 0:
            raise ConfigError("success_target needs evaluations: give --eval-interval a number above 0")
        if self.engine == "ray" and self.learner == "workers":
            raise ConfigError(
                "--engine ray and --learner workers contradict each other: machines share no memory to "
                "train in"
            )
        if self.engine == "ray" and self.interventions:
            raise ConfigError(
                "--engine ray and --interventions contradict each other: a page reaches the workers of its "
                "own machine alone"
            )
        if self.device == "cuda" and not self.central:
            raise ConfigError("--device cuda needs --learner central: workers update on their own cores")
        if self.engine == "ray" and self.worker_memory is not None:
            raise ConfigError(
                "--engine ray and --worker-memory contradict each other: on a cluster Ray watches the memory"
            )

    @property
    def central(self) -> bool:
        """Whether one learner makes all updates."""
        return self.learner == "central" or self.engine == "ray"

    @property
    def compiles(self) -> bool:
        """Whether updates may be compiled; a GPU's are captured as they are."""
        return self.compile != "off" and self.device == "cpu"

    @property
    def members(self) -> int:
        """Processes that take part in the training: the workers and, if there is one, the central learner."""
        return self.workers + self.central
