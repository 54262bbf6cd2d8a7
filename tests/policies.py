"""Policies that nobody trained, with numbers everywhere, for the tests of exported files."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from sac_dist.acting.environment import close, make_env
from sac_dist.acting.observation import schema_of
from sac_dist.algorithms.agent import SACAgent
from sac_dist.algorithms.sac import AVERAGE, ENCODER_AVERAGE
from sac_dist.data.moments import Moments
from sac_dist.exporting.export import export
from sac_dist.runner import Policy
from sac_dist.settings import AgentConfig, Config, EnvConfig, TrainConfig
from sac_dist.storage.checkpoint import Checkpoint


def untrained(env: str | EnvConfig, **agent: Any) -> Checkpoint:
    """Its average, which the file is of, is another policy than the one that explores."""
    config = env if isinstance(env, EnvConfig) else EnvConfig(env)
    made = make_env(config)
    schema = schema_of(made)
    close(made)
    if schema.pictures:
        agent = {
            "encoder_channels": 4,
            "encoder_depth": 2,
            "encoder_strided": 1,
            "encoder_latent": 6,
            **agent,
        }
    settings = AgentConfig(**{"hidden_width": 16, **agent})
    trained = SACAgent(schema, settings, seed=3)
    average, generator = trained.tensors.copies[AVERAGE], torch.Generator().manual_seed(0)
    average.add_(0.2 * torch.randn(average.shape, generator=generator))
    if schema.pictures:
        eyes = trained.tensors.copies[ENCODER_AVERAGE]
        eyes.add_(0.1 * torch.randn(eyes.shape, generator=generator))
    for name, part in trained.policy.unpack(average).items():
        if name.endswith("running_variance"):
            part.abs_().add_(0.1)
    if trained.normalization is not None:
        rows = np.random.default_rng(0).normal(1.0, 2.0, (500, schema.vector_size))
        trained.normalization.add(Moments.of(rows.astype(np.float32)))
    whole = Config(config, agent=settings, train=TrainConfig(workers=1))
    return Checkpoint(trained.state_dict(), schema, whole, {"steps": 7, "evaluation": "success 3/4"})


@cache
def content(env: str, suffix: str, **agent: Any) -> bytes:
    """Of an exported file: to write one takes a quarter of a second."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"policy.{suffix}"
        export(untrained(env, **agent), path)
        return path.read_bytes()


def exported(folder: Path, env: str = "toy_envs:Point-v0", suffix: str = "npz", **agent: Any) -> Path:
    path = folder / f"policy.{suffix}"
    path.write_bytes(content(env, suffix, **agent))
    return path


def runner(folder: Path, env: str = "toy_envs:Point-v0", suffix: str = "npz") -> Policy:
    return Policy.load(exported(folder, env, suffix))
