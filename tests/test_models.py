"""The shipped policies do what their cards say, on a sample of their episodes."""

from pathlib import Path

import pytest

from envs import Resolved, resolve
from sac_dist.acting import playback
from sac_dist.acting.playback import find_policy, play
from sac_dist.settings import EnvConfig
from sac_dist.system.files import models_dir

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


def test_without_a_run_the_policy_shown_is_the_one_for_what_auto_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_policy(None, "auto")[1].config.env.id == resolve("auto").id
    assert find_policy(None, "SawyerLift-v0")[0].stem == "SawyerLift-v0"
    monkeypatch.setattr(playback, "resolve", lambda env: Resolved("Pendulum-v1", None, "no simulator"))
    assert find_policy(None, "auto")[0].stem == "Pendulum-v1"
