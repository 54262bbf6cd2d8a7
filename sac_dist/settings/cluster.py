"""What a run asks of a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass

from sac_dist.settings.option import ConfigError, finite, option, positive


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
        finite(self)
        positive(self, "replay_shards", "chunk", "weight_interval")
        if self.worker_cpus < 0:
            raise ConfigError(f"worker_cpus is {self.worker_cpus}: it must not be negative")
