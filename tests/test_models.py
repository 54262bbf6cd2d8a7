"""The shipped policies do what their cards say, on a sample of their episodes."""

import pytest

from sac_dist.config import EnvConfig
from sac_dist.playback import find_policy, play
from sac_dist.resources import models_dir

POLICIES = sorted(models_dir().glob("*.safetensors"))


def test_each_task_has_a_policy_and_each_policy_a_card():
    assert {path.stem for path in POLICIES} >= {"SawyerGrasp-v0", "SawyerLift-v0", "Pendulum-v1"}
    assert all(path.with_suffix(".md").is_file() for path in POLICIES)


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_shipped_policy_still_solves_its_task(path):
    _, policy = find_policy(path, "auto")
    evaluation = play(policy, EnvConfig(), episodes=50)
    if evaluation.success_rate is None:
        assert evaluation.mean_return > -200
    else:
        assert evaluation.success_rate >= 0.9
