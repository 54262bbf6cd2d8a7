"""Whole runs of learners beyond SAC: gone on with after a kill, and with a central learner."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_engine import config, policy_of, same
from test_resume import killed_at

from sac_dist.engine.train import resume, train
from sac_dist.storage import checkpoint

FLAGS = {
    **{"network": "flashsac", "distribution": "c51", "bins": 21, "critic_width": 8, "policy_every": 2},
    **{"n_step": 3, "noise_repeat": 16, "lr_decay": "cosine", "lr_end": 0.5},
    **{"normalize_returns": True, "normalize_observations": True},
}


def as_flags() -> list[str]:
    found = []
    for name, value in FLAGS.items():
        found += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return found


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_everything_at_once_goes_on_exactly_after_a_kill(tmp_path):
    settings = config(tmp_path / "whole", env="toy_envs:Slow-v0", steps=620, checkpoint_interval=70)
    whole = train(replace(settings, agent=replace(settings.agent, **FLAGS)))
    folder = killed_at(tmp_path, 200, "--workers", "1", *as_flags())
    resumed = resume(folder, checkpoint.read(folder / "checkpoints/last.safetensors").config)
    assert same(policy_of(whole), policy_of(resumed))
    states = [checkpoint.read(run.folder.last).run for run in (whole, resumed)]
    assert "returns" in states[0]["workers"][0] and "repeated_noise" in states[0]["workers"][0]
    for name in ("counters", "workers"):
        assert states[0][name] == states[1][name], name


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_central_learner_normalises_batches_for_two_workers(tmp_path):
    settings = config(tmp_path, steps=300, workers=2, learner="central")
    crossq = replace(settings.agent, network="crossq", target_network=False, normalize_returns=True)
    run = train(replace(settings, agent=crossq))
    state = policy_of(run)
    assert run.outcome.steps >= 300 and state["returns"][0] > 100
    assert not (state["policy.norm0.running_mean"] == 0).any()
