"""A central learner's large updates run on several threads of torch; all others on one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from agents import SCHEMA, SMALL

from sac_dist import AgentConfig, SACAgent, TrainConfig
from sac_dist.execution import threads
from sac_dist.execution.compiled import compiled_path
from sac_dist.execution.threads import torch_threads, update_threads

CENTRAL = TrainConfig(workers=2, learner="central", batch_size=256)


@pytest.fixture
def large() -> SACAgent:
    return SACAgent(SCHEMA, AgentConfig(hidden_width=256))


@pytest.mark.parametrize(("processors", "taken"), [(1, 1), (2, 2), (16, 4)])
def test_a_central_learner_takes_what_processors_there_are_up_to_four(monkeypatch, large, processors, taken):
    monkeypatch.setattr(threads, "usable_processors", lambda: processors)
    assert update_threads(large, CENTRAL) == taken


@pytest.mark.parametrize(
    "changed",
    [{"learner": "workers"}, {"learner": None, "engine": "ray"}, {"device": "cuda"}, {"batch_size": 8}],
)
def test_all_others_take_one(monkeypatch, large, changed):
    monkeypatch.setattr(threads, "usable_processors", lambda: 16)
    assert update_threads(large, replace(CENTRAL, **changed)) == 1
    assert update_threads(SACAgent(SCHEMA, SMALL), CENTRAL) == 1


def test_what_is_compiled_is_for_a_number_of_threads(large):
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        other = compiled_path(large, 256)
    assert torch.get_num_threads() == before and compiled_path(large, 256) != other
