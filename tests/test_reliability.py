"""A few rounds of the fault harness; ``python tests/faults.py`` does hundreds."""

import os
import subprocess
import sys
from pathlib import Path

import faults
import numpy as np
import pytest
from toy_envs import Pattern

pytestmark = [
    pytest.mark.timeout(200),
    pytest.mark.skipif(not os.path.exists("/proc/self/comm"), reason="the harness finds processes by /proc"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "learner"), [(3, "workers"), (5, "central")])
def test_a_run_survives_faults_and_then_ends_clean(seed, learner):
    report = faults.Report()
    faults.trial(seed, 1, report, faults.Setting(learner=learner))
    assert not report.violations, report.table()
    assert sum(report.done.values()) >= 1 and report.runs == 1
    assert report.transitions > 0


@pytest.mark.slow
def test_a_checkpoint_is_whole_whenever_its_writer_is_killed():
    command = [sys.executable, str(Path(__file__).with_name("checkpoint_kills.py")), "--kills", "40"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.startswith("40 kills") and int(result.stdout.split()[2]) > 4


def test_the_pattern_shows_a_torn_row():
    here = Pattern.observation(np.array([5, 5]), np.array([0, 9]))
    after = Pattern.observation(np.array([5, 5]), np.array([1, 10]))
    action = np.array([[0.5], [-0.25]], np.float32)
    rows = np.concatenate([here, action, action, after, np.zeros((2, 1)), [[0], [1]]], axis=1).astype(
        np.float32
    )
    assert faults.pattern_holds(rows).all()
    for column in (0, 1, 2, 3, 4, 5, 7, 8, 9):
        torn = rows.copy()
        torn[0, column] += 1
        assert faults.pattern_holds(torn).tolist() == [False, True], column
