"""The examples of tasks of one's own, as docs and README show them."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sac_dist
from envs.tasks import terms
from sac_dist.acting.environment import make_env
from sac_dist.settings import EnvConfig

ROOT = Path(sac_dist.__file__).parents[1]
pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def nudge():
    import examples.own_task  # registers it

    assert examples.own_task
    return gymnasium.make("Nudge-v0", disable_env_checker=True).unwrapped


def moved(env, way: float):
    """The reward and the end of a step in which the object came so far to the left (m)."""
    data = env.backend.data
    data.qpos[env.backend._now._free[0] + 1] += way
    return env.step(np.zeros(env.action_space.shape))[1:4]


def test_gymnasium_has_nothing_against_it(nudge):
    check_env(nudge, skip_render_check=True)
    assert nudge.entries[-1].meaning == "way left" and nudge.observation_space.shape == (32,)


def test_it_is_done_when_the_object_is_over_the_line_and_costs_less_before(nudge):
    seen, _ = nudge.reset(seed=0)
    assert seen[-1] == pytest.approx(5 * nudge.left(nudge.readings)) and 0.25 <= seen[-1] <= 0.75
    first, *ends = moved(nudge, 0.0)
    assert ends == [False, False]
    nearer, *ends = moved(nudge, nudge.left(nudge.readings) - 0.01)
    assert ends == [False, False] and nearer > first + 0.1
    there, *ends = moved(nudge, 0.02)
    assert ends == [True, False] and there > terms.SUCCESS_REWARD - 1.0


def test_an_episode_goes_on_from_its_state(nudge):
    nudge.reset(seed=1)
    state = nudge.get_state()
    expected = nudge.step(np.full(7, 0.3))
    nudge.reset(seed=2)
    nudge.set_state(state)
    np.testing.assert_array_equal(nudge.step(np.full(7, 0.3))[0], expected[0])


def test_the_example_is_as_long_as_is_promised():
    lines = (ROOT / "examples/own_task.py").read_text().partition("class NudgeEnv")[2].splitlines()
    assert len([line for line in lines if line.strip()]) <= 25


def test_the_readmes_environment_is_the_example():
    _, _, code = (ROOT / "examples/own_environment.py").read_text().partition('"""\n\n')
    assert f"```python\n{code}```" in (ROOT / "README.md").read_text(encoding="utf-8")
    from examples.own_environment import Reach

    env = make_env(EnvConfig(Reach, horizon=50))
    env.reset(seed=0)
    env.unwrapped.hand[:] = env.unwrapped.goal
    assert env.step(np.zeros(2, np.float32))[2:] == (True, False, {"success": True})
