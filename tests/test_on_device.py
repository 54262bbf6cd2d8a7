"""Updates on another device: against updates in place, and in a run whose central learner makes them."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from agents import SCHEMA, flat, make_batch
from test_central import central

from sac_dist import SACAgent
from sac_dist.data.batch import Batch
from sac_dist.data.moments import Moments
from sac_dist.engine.train import train
from sac_dist.execution.choose import choose
from sac_dist.execution.gpu import WARM_UP
from sac_dist.settings import AgentConfig, ConfigError, TrainConfig

pytestmark = pytest.mark.timeout(120)
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
COPY = "cpu:0"  # the same processor, and yet not "cpu": the agent is copied as to a GPU
SMALL = {"hidden_width": 16}
CASES = {
    "sac": ("sac", AgentConfig(**SMALL)),
    "plain critics, a fixed temperature": (
        "sac",
        AgentConfig(**SMALL, layer_norm=False, alpha=0.1, grad_clip=0.5),
    ),
    "subsets of critics": ("sac", AgentConfig(**SMALL, critics=4, target_critics=2)),
    "cql": ("cql", AgentConfig(**SMALL)),
    "cal-ql with a tuned weight": ("cql", AgentConfig(**SMALL)),
    "bc": ("bc", AgentConfig(**SMALL)),
    "iql": ("iql", AgentConfig(**SMALL)),
    "rebrac": ("rebrac", AgentConfig(**SMALL)),
    "normalised observations": ("sac", AgentConfig(**SMALL, normalize_observations=True)),
}

OWN = {
    "cql": {"cql_samples": 3},
    "cal-ql with a tuned weight": {"cql_samples": 3, "cal_ql": True, "cql_lagrange": 1.0},
}


def make(case: str) -> SACAgent:
    agent = SACAgent(SCHEMA, CASES[case][1], algorithms={"cql": {}, CASES[case][0]: OWN.get(case, {})})
    if agent.normalization is not None:
        agent.normalization.add(Moments.of(make_batch().observation.numpy()))
    return agent


def batch(agent: SACAgent, size: int, seed: int) -> Batch:
    made, settings = make_batch(size, seed=seed), agent.algorithm.settings
    return made._replace(
        return_to_go=made.reward if settings.needs_returns else None,
        next_action=made.action.flip(0) if settings.needs_next_actions else None,
    )


@pytest.mark.parametrize("device", [COPY, pytest.param("cuda", marks=GPU)])
@pytest.mark.parametrize("case", CASES)
def test_updates_there_are_those_made_here(case: str, device: str) -> None:
    algorithm, _ = CASES[case]
    here, there = make(case), make(case)
    for agent in (here, there):
        agent.share_memory()
        agent.use(algorithm)
    choice, there_choice = choose(here, 24), choose(there, 24, device)
    assert there_choice.how == f"{choice.how}, on {device}"
    choice.install(here)
    there_choice.install(there)
    far = (
        0 if device == COPY else 0.01
    )  # Adam's step is as long for a gradient near 0, whose sign is a matter of rounding
    for i in range(2 * WARM_UP + 2):
        for agent in (here, there):
            agent.scale_steps(i / 10)
        given = batch(
            here, 24 if i < 2 * WARM_UP else 32, seed=i
        )  # another size, as the last batches of a data set may have
        expected, found = here.update(given), there.update(given)
        torch.testing.assert_close(found, expected, rtol=far, atol=far)
    for expected, found in zip(flat(here), flat(there), strict=True):
        assert (found - expected).norm() <= far * expected.norm()
    assert torch.equal(there.tensors.steps, here.tensors.steps)


def test_a_new_use_of_the_agent_starts_from_what_its_memory_holds() -> None:
    here, there = make("sac"), make("sac")
    for algorithm in ("cql", "sac"):
        for agent in (here, there):
            agent.take_average()
            agent.use(algorithm)
        here.run_update, there.run_update = choose(here, 24).update, choose(there, 24, COPY).update
        for i in range(3):
            here.update(make_batch(24, seed=i))
            there.update(make_batch(24, seed=i))
    torch.testing.assert_close(there.state_dict(), here.state_dict(), rtol=0, atol=0)


@GPU
def test_memory_is_locked_while_its_agent_lives() -> None:
    for _ in range(20):  # the system gives memory of the same addresses
        here, there = make("sac"), make("sac")
        there.share_memory()
        assert not there.memory.is_pinned()
        there.run_update = choose(there, 24, "cuda").update
        assert there.memory.is_pinned()
        choose(there, 24, "cuda")
        assert there.memory.is_pinned()
        for agent in (here, there):
            agent.update(make_batch(24))
        torch.testing.assert_close(
            there.tensors.groups["critics"].exp_avg,
            here.tensors.groups["critics"].exp_avg,
            rtol=1e-2,
            atol=1e-5,
        )
        del agent, there
        gc.collect()


@pytest.mark.slow
@pytest.mark.parametrize("device", [COPY, pytest.param("cuda", marks=GPU)])
def test_a_central_learner_learns_there(tmp_path: Path, device: str) -> None:
    config = central(
        tmp_path, workers=2, steps=20_000, success_target=0.9, eval_interval=500, eval_episodes=10
    )
    object.__setattr__(config.train, "device", device)  # a flag can only say cpu and cuda
    run = train(config)
    assert run.outcome.reason == "success_target" and run.outcome.steps < 20_000


@pytest.mark.slow
def test_what_cannot_be_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--device cuda needs --learner central"):
        TrainConfig(device="cuda")
    if torch.cuda.is_available():
        return
    command = [
        sys.executable,
        "-m",
        "sac_dist",
        "--train",
        "--learner",
        "central",
        "--device",
        "cuda",
        "--run-dir",
        str(tmp_path / "run"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("sac-dist: --device cuda: torch finds no GPU here")
    assert not (tmp_path / "run").exists()
