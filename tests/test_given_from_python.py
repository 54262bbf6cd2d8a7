"""Where an environment may be defined: a script, with and without a main guard, and standard input."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(120)
PROGRAM = """
import gymnasium, numpy as np
from sac_dist import Config, EnvConfig, TrainConfig, resume, train

class Mine(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}
    def step(self, action):
        return np.zeros(1, np.float32), 0.0, False, False, {}

def main():
    settings = TrainConfig(workers=1, steps=20, eval_interval=0, compile="off", run_dir="run")
    train(Config(EnvConfig(Mine, horizon=5), train=settings))
"""


def output(folder: Path, *arguments: str, given: str | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, *arguments], input=given, cwd=folder, capture_output=True, text=True, timeout=100
    )
    return done.returncode, done.stderr


@pytest.mark.slow
def test_a_script_without_a_main_guard_is_told_what_to_change(tmp_path):
    (tmp_path / "script.py").write_text(PROGRAM + "main()\n")
    status, errors = output(tmp_path, "script.py")
    assert status == 1 and len(errors.splitlines()) == 1, errors
    assert errors.strip().endswith('put the call under if __name__ == "__main__":')
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_class_on_standard_input_is_trained_and_not_resumable_by_its_name(tmp_path):
    status, errors = output(tmp_path, "-", given=PROGRAM + "main()\n")
    assert status == 0 and "ended by steps after 20 steps, 4 episodes" in errors, errors
    assert "--test" not in errors, "the command line could not make it"
    status, errors = output(tmp_path, "-m", "sac_dist", "--resume", "run", "--steps", "40")
    assert status == 2
    assert errors.startswith("sac-dist: Mine was given from Python, and no file can hold it: give it again")
