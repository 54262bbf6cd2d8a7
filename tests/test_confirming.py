"""A success target is confirmed by 100 episodes, for which training waits where it would be in their way."""

from dataclasses import replace

import numpy as np
import pytest
from test_engine import config

from sac_dist.engine import supervisor
from sac_dist.engine.train import train
from sac_dist.settings import EnvConfig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
FEW, STEPS = 5, 2  # episodes of an evaluation, steps of an episode


def run(folder, monkeypatch, processors: int, fails_from: int, steps: int):
    """The outcome, and when each step was taken, s: in training, and in the first evaluation's last 90
    episodes.
    """
    monkeypatch.setattr(supervisor, "usable_processors", lambda: processors)
    budget = {"steps": steps, "eval_interval": 10, "eval_episodes": FEW, "success_target": 1.0}
    env = EnvConfig("toy_envs:Timed-v0", {"folder": str(folder), "fails_from": fails_from})
    outcome = train(replace(config(folder, **budget), env=env)).outcome
    training, evaluation = np.loadtxt(folder / "training"), np.loadtxt(folder / "evaluation")
    assert len(training) >= outcome.steps
    return outcome, training, evaluation[STEPS * (FEW + 10) : STEPS * (FEW + 100)]


@pytest.mark.parametrize(("processors", "waits"), [(1, True), (2, False)])
def test_training_waits_for_the_episodes_that_confirm_the_target(
    tmp_path, monkeypatch, capfd, processors, waits
):
    outcome, training, confirming = run(tmp_path, monkeypatch, processors, 1000, 5000)
    assert outcome.reason == "success_target"
    meanwhile = (training > confirming[0]) & (training < confirming[-1])
    assert meanwhile.any() != waits
    line = "success 5/5: training waits while 100 episodes of this policy are measured"
    assert (line in capfd.readouterr().err) == waits


def test_training_goes_on_where_they_do_not_confirm_it(tmp_path, monkeypatch, capfd):
    outcome, training, confirming = run(tmp_path, monkeypatch, 1, 50, 40)
    assert outcome.reason == "steps" and outcome.steps == 40
    assert "success 50/100" in capfd.readouterr().err
    assert np.any(training > confirming[-1])
