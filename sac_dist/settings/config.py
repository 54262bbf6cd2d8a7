"""Every setting, as frozen dataclasses. A field's ``help`` is the help text of its flag (see cli.py)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from sac_dist.settings.allowance import usable_processors


class ConfigError(ValueError):
    """A setting, file or environment the user has to change; its message is one line for the terminal."""


def option(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class EnvConfig:
    """The environment. Options left at None keep the environment's own default and are refused where it has
    none.
    """

    env: str = option(
        "auto",
        "a gymnasium id, such as SawyerLift-v0; auto: SawyerGrasp-v0 where a simulator works, else "
        "Pendulum-v1",
    )
    backend: Literal["auto", "mujoco", "coppelia"] | None = option(
        None, "simulator of the Sawyer; auto: CoppeliaSim where it works"
    )
    control: Literal["joint_velocity", "end_position"] | None = option(
        None, "7 joint velocities, or 3 of the tool and a yaw rate"
    )
    observation: Literal["relative", "book"] | None = option(
        None, "31 entries relative to the object, or the book's 17"
    )
    reward: Literal["sparse", "dense", "augmented"] | None = option(None, "the book's three reward modes")
    random_target: bool | None = option(None, "draw the object's position anew each episode")
    random_yaw: bool | None = option(None, "draw the object's yaw anew each episode")
    start: Literal["centre", "book"] | None = option(
        None, "the arm's pose at the start: over the middle of the table, or the book's"
    )
    horizon: int | None = option(None, "control steps of 0.05 s until an episode is truncated")
    scene: str | None = option(
        None, "CoppeliaSim: a .ttt file with the book's object names; left out, the scene is built"
    )
    reinit_every: int | None = option(
        None, "CoppeliaSim: launch the simulator anew after so many episodes, as the book does"
    )
    mechanics: Literal["clean", "book"] | None = option(
        None,
        "CoppeliaSim: book drives it as the book's code does, which bends the gripper; for the book's "
        "policies",
    )

    def options(self) -> dict[str, Any]:
        """The options that were set, as keyword arguments for ``gymnasium.make``."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name != "env" and getattr(self, f.name) is not None
        }


# Values of AgentConfig for learning from data alone, where nothing corrects an overestimate: small steps,
# critics that trust unseen actions less, and no push below what the data has been seen to return. What
# --offline takes by itself; measured by benchmarks/demonstrations.py.
OFFLINE: dict[str, Any] = {
    "hidden_width": 128,
    "actor_lr": 5e-5,
    "critic_lr": 3e-4,
    "alpha_lr": 1e-4,
    "tau": 0.005,
    "layer_norm": True,
    "entropy_backup": False,
    "cql_weight": 0.3,
    "cql_samples": 5,
    "cal_ql": True,
}


@dataclass(frozen=True)
class AgentConfig:
    """SAC (Haarnoja et al. 2018, arXiv:1812.05905) and its networks."""

    hidden_width: int = option(64, "units in each hidden layer; the book: 512")
    hidden_depth: int = option(2, "hidden layers in each network; the book: 4")
    critic_depth: int | None = option(None, "hidden layers of the critics, if another number; the book: 3")
    actor_lr: float = option(1.5e-3, "Adam step size of the policy")
    critic_lr: float = option(1.5e-3, "Adam step size of the critics")
    alpha_lr: float = option(1.5e-3, "Adam step size of the temperature")
    discount: float = option(0.95, "discount γ per environment step")
    tau: float = option(0.01, "share of the critics that flows into their targets at each update")
    alpha: float | None = option(None, "fixed temperature; left out, it is tuned automatically")
    initial_alpha: float = option(0.1, "where the automatic temperature starts")
    target_entropy: float | None = option(
        None, "entropy in nats the temperature aims at; default: minus half the number of actions"
    )
    critics: int = option(2, "size of the Q ensemble, at least 2; target and policy take its minimum")
    target_critics: int | None = option(
        None, "if given, the target takes the minimum of so many random critics, the policy the mean of all"
    )
    layer_norm: bool = option(True, "layer normalisation in the critics, as RLPD does")
    entropy_backup: bool = option(
        True, "the target values the next action's entropy; without: deterministic backup"
    )
    grad_clip: float | None = option(None, "largest gradient norm of the policy and of the critics")
    reward_scale: float = option(1.0, "rewards are used as reward_scale * reward + reward_bias")
    reward_bias: float = option(0.0, "see reward_scale")
    normalize_rewards: bool = option(False, "standardise the rewards of each batch, as the book does")
    cql_weight: float = option(5.0, "weight of CQL's penalty against ½ squared TD error; 0: SAC")
    cql_samples: int = option(10, "actions that CQL's penalty draws from each of: uniform, π(s), π(s')")
    cql_temperature: float = option(1.0, "temperature of the penalty's log-sum-exp")
    cql_lagrange: float | None = option(
        None, "tune the weight so that the penalty stays below this threshold; cql_weight is its start"
    )
    cal_ql: bool = option(
        False, "Cal-QL: do not push the policy's Q below the data's return, for going on online"
    )

    def __post_init__(self) -> None:
        if self.normalize_rewards and self.cal_ql:
            raise ConfigError(
                "normalize_rewards and cal_ql contradict each other: the data's returns are of the rewards "
                "as they are, each batch's would be of others; give --no-cal-ql or --no-normalize-rewards"
            )
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
            "target_critics",
            "cql_samples",
            "cql_temperature",
        )
        if self.cql_weight < 0 or (self.cql_weight == 0 and self.cql_lagrange is not None):
            raise ConfigError(
                f"cql_weight is {self.cql_weight}: it must not be negative, and above 0 with cql_lagrange"
            )
        if self.target_critics is not None and self.target_critics > self.critics:
            raise ConfigError(
                f"target_critics is {self.target_critics}: there are only {self.critics} critics"
            )
        if self.critics < 2:
            raise ConfigError(f"critics is {self.critics}: SAC's target needs at least 2")
        if not 0 <= self.discount <= 1 or self.tau > 1:
            raise ConfigError(f"discount ({self.discount}) must lie in [0, 1] and tau ({self.tau}) in (0, 1]")

    @classmethod
    def for_data(cls, **settings: Any) -> AgentConfig:
        """For learning from data alone: ``OFFLINE``, with ``settings`` over it."""
        return cls(**(OFFLINE | settings))


@dataclass(frozen=True)
class TrainConfig:
    """A training run: its processes, budget, buffer, evaluation and files."""

    workers: int = option(
        usable_processors(),
        "worker processes, each with its own environment; default: the processors this process may use",
    )
    seed: int = option(
        0, "seed of networks, exploration and environments; with one worker a run repeats bit for bit"
    )
    steps: int | None = option(
        None,
        "stop after so many environment steps over all workers; default 30000 if no other budget is given",
    )
    episodes: int | None = option(None, "stop after so many episodes over all workers")
    time: float | None = option(None, "stop after so many seconds")
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
        "default: none, 10000 if data trained the policy: the critics learn first what it meets",
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
    run_dir: str | None = option(
        None, "new folder for everything the run writes; default: runs/<env>-<date>-<time>"
    )

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
            "step_timeout",
            "worker_memory",
        )
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


@dataclass(frozen=True)
class DataConfig:
    """Transitions, and phases that train from data without an environment.

    A phase counts gradient updates. The first comes before any environment step: ``bc_steps`` of behaviour
    cloning, then ``offline_steps`` of ``algo``.
    """

    demos: tuple[str, ...] = option((), "demonstrations: files, run folders or minari:ID")
    offline: tuple[str, ...] = option((), "train from this data alone: files, run folders or minari:ID")
    algo: Literal["cql", "sac", "bc"] = option("cql", "algorithm of the offline phases")
    online_algo: Literal["sac", "cql"] = option(
        "sac", "algorithm of the online phase; cql with cal_ql goes on as Cal-QL's authors do"
    )
    offline_steps: int | None = option(
        None, "gradient updates of an offline phase; --offline: default 20000, --train: none"
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

    def __post_init__(self) -> None:
        positive(self, "offline_steps", "offline_every", "demo_anneal")
        if not 0 <= self.demo_ratio <= 1:
            raise ConfigError(f"demo_ratio is {self.demo_ratio}: it is a share in [0, 1]")
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
    def files(self) -> tuple[str, ...]:
        return self.demos or self.offline

    def offline_updates(self, steps: int) -> int:
        """How many offline updates a run makes in its first ``steps`` environment steps."""
        phases = 1 + (steps // self.offline_every if self.offline_every else 0)
        return self.bc_steps + phases * (self.offline_steps or 0)


@dataclass(frozen=True)
class ClusterConfig:
    """What ``--engine ray`` asks of the cluster, and how often its machines talk."""

    address: str | None = option(
        None,
        "Ray cluster, host:port; local: one of this machine for this run alone; default: the one "
        "running here, else local",
    )
    worker_cpus: float = option(
        1.0, "CPUs of the cluster that are set aside for each worker; 0: none, and any number fits anywhere"
    )
    replay_shards: int = option(1, "actors that the replay buffer is divided over")
    chunk: int = option(20, "most transitions that a worker sends to the replay at once")
    weight_interval: int = option(
        20,
        "updates between two versions of the policy for the workers, which take the newest between episodes",
    )

    def __post_init__(self) -> None:
        positive(self, "replay_shards", "chunk", "weight_interval")
        if self.worker_cpus < 0:
            raise ConfigError(f"worker_cpus is {self.worker_cpus}: it must not be negative")


@dataclass(frozen=True)
class Config:
    env: EnvConfig = field(default_factory=EnvConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    data: DataConfig = field(default_factory=DataConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    def __post_init__(self) -> None:
        if self.train.engine == "local" and self.cluster != ClusterConfig():
            given = next(f.name for f in fields(ClusterConfig) if getattr(self.cluster, f.name) != f.default)
            raise ConfigError(f"--{given.replace('_', '-')} is for --engine ray")
        if self.cluster.replay_shards > self.train.buffer_size:
            raise ConfigError(
                f"replay_shards is {self.cluster.replay_shards}: the buffer holds "
                f"{self.train.buffer_size} transitions"
            )
        if self.agent.target_critics is not None and self.train.batch_size < self.agent.critics:
            raise ConfigError(
                f"batch_size is {self.train.batch_size}: target_critics needs at least "
                f"{self.agent.critics}, one per critic"
            )
        if self.data.online_algo == "cql" and self.data.demo_mode == "append" and self.agent.cal_ql:
            raise ConfigError("cal_ql in the online phase is for demo_mode mix or prefill, not append")

    def to_dict(self) -> dict[str, dict[str, Any]]:
        return asdict(self)

    @classmethod
    def from_dict(cls, parts: dict[str, dict[str, Any]]) -> Config:
        """Undo :meth:`to_dict`. Raise ConfigError on a setting that this version does not have."""
        known = {
            "env": EnvConfig,
            "agent": AgentConfig,
            "train": TrainConfig,
            "data": DataConfig,
            "cluster": ClusterConfig,
        }
        for name, values in parts.items():
            values = {
                key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
            }  # JSON has no tuples
            if name == "agent":
                values = {"layer_norm": False} | values  # there was none before there was the setting
            parts = parts | {name: values}
            unknown = set(values) - {f.name for f in fields(known[name])}
            if unknown:
                raise ConfigError(
                    f"unknown setting {sorted(unknown)[0]!r}: made by another version of sac_dist"
                )
        return cls(**{name: known[name](**values) for name, values in parts.items()})


def positive(config: Any, *names: str) -> None:
    """Raise ConfigError for each named field that is set and not above zero."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ConfigError(f"{name} is {value}: it must be above 0")
