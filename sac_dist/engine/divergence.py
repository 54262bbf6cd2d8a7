"""Networks that have become NaN or infinite: how a worker reports it, and what the user reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from sac_dist.data.batch import Batch
from sac_dist.settings import AgentConfig

LARGE = 1e9  # numbers beyond this in a batch are themselves the cause


@dataclass(frozen=True)
class Diverged:
    """The run's ``update``-th update, or the action after it, is not finite: its metrics and the statistics
    of its batch.
    """

    update: int
    metrics: dict[str, float]
    batch: dict[str, float] = field(default_factory=dict)

    @property
    def bad(self) -> list[str]:
        return [name for name, value in self.metrics.items() if not math.isfinite(value)]


class Divergence(Exception):
    """Ends a worker that has sent Diverged."""


def statistics(batch: Batch) -> dict[str, float]:
    """What a batch looks like, as plain numbers."""
    return {
        "reward_min": float(batch.reward.min()),
        "reward_mean": float(batch.reward.double().mean()),
        "reward_max": float(batch.reward.max()),
        "observation_max": float(
            torch.maximum(batch.observation.abs().max(), batch.next_observation.abs().max())
        ),
        "action_max": float(batch.action.abs().max()),
    }


def all_finite(state: Mapping[str, torch.Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in state.values())


def origin(reports: Sequence[Diverged]) -> Diverged:
    """The report nearest to the cause: one worker's bad update makes all numbers of the others' next updates
    bad.
    """
    return min(reports, key=lambda report: (not report.batch, len(report.bad)))


def explain(report: Diverged | None, checkpoint: Path, run: Path, config: AgentConfig) -> str:
    """What diverged, at which update, on what batch, and what to do now."""
    if report is None:
        parts = ["training diverged: the networks hold NaN or infinite values"]
    else:
        bad = ", ".join(f"{name} {report.metrics[name]:g}" for name in report.bad)
        parts = [f"training diverged at update {report.update}: {bad}"]
        good = [f"{name} {value:.4g}" for name, value in report.metrics.items() if math.isfinite(value)]
        shown = [f"{name} {value:.4g}" for name, value in report.batch.items()]
        parts += [f"its batch: {', '.join(shown + good)}"] if shown + good else []
    actor_lr, critic_lr, alpha_lr = config.actor_lr / 10, config.critic_lr / 10, config.alpha_lr / 10
    steps = f"--actor-lr {actor_lr:g} --critic-lr {critic_lr:g} --alpha-lr {alpha_lr:g}"
    if report is not None and max(map(abs, report.batch.values()), default=0.0) > LARGE:
        parts.append(
            "numbers of this size come from the environment, and smaller steps do not help: bound them there"
        )
    if checkpoint.is_file():
        parts.append(
            f"the last good checkpoint is {checkpoint}; go on from it with smaller steps: --resume "
            f"{run} {steps} --grad-clip 1"
        )
    else:
        parts.append(
            f"no checkpoint had been written yet; start anew with smaller steps: {steps} --grad-clip 1"
        )
    return "; ".join(parts)
