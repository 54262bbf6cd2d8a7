"""What an episode counts as, and how one is refused that cannot be played."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from sac_dist.acting.environment import make_env
from sac_dist.acting.episode import EnvironmentFault, run_episode, success_of
from sac_dist.acting.interface import check_interface, notes_on
from sac_dist.settings import ConfigError, EnvConfig


class Says(gymnasium.Env):
    """Five steps, whose infos are those of ``infos``."""

    observation_space = Box(-1, 1, (1,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)

    def __init__(self, infos: Any = ({},) * 5) -> None:
        self.infos = infos

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> Any:
        self.steps += 1
        return np.zeros(1, np.float32), 0.0, False, self.steps == len(self.infos), self.infos[self.steps - 1]


def played(infos: list[Any], success: str | None = None) -> bool | None:
    return run_episode(Says(infos), lambda observation: np.zeros(1, np.float32), 0, success=success).success


YES, NO = {"success": True}, {"success": False}


@pytest.mark.parametrize(
    ("infos", "any_step", "last_step"),
    [
        ([NO, YES, NO], True, False),
        ([NO, NO, YES], True, True),
        ([NO, NO, NO], False, False),
        ([{}, {}, {}], None, None),
        ([YES, {}, {}], True, None),
        ([NO, {}, {}], False, None),
        ([{"success": None, "is_success": True}, NO, NO], True, False),
        ([{"is_success": np.array([True])}, NO, {"success": np.array([0.0])}], True, False),
    ],
)
def test_any_step_may_make_an_episode_a_success_or_the_last_alone(infos, any_step, last_step):
    assert played(infos) is played(infos, "any") is any_step
    assert played(infos, "last") is last_step


def test_a_success_of_several_and_an_info_that_is_none_are_faults():
    with pytest.raises(EnvironmentFault, match=r"success is .* neither true nor false after step 1"):
        played([{"success": np.array([True, False])}])
    with pytest.raises(EnvironmentFault, match="info is None, not a dict"):
        played([None], "last")
    assert success_of({"success": None, "is_success": 1.0}) is True


class Endless(Says):
    def step(self, action: np.ndarray) -> Any:
        return np.zeros(1, np.float32), 0.0, False, False, {}


def still(observation: np.ndarray) -> np.ndarray:
    return np.zeros(1, np.float32)


@pytest.mark.timeout(20)
def test_an_episode_without_an_end_is_truncated_and_a_line_says_so():
    env = make_env(EnvConfig(Endless))
    assert run_episode(env, still, 0).length == 1000
    assert "has no limit of its own" in notes_on(env, "Endless")[0]
    env = make_env(EnvConfig(Endless, horizon=7))
    assert run_episode(env, still, 0).length == 7 and notes_on(env, "Endless") == []


def test_horizon_is_the_limit_of_any_environment():
    for name, own in (("Pendulum-v1", 200), ("SawyerGrasp-v0", 30)):
        env = make_env(EnvConfig(name))
        action = np.zeros(env.action_space.shape, np.float32)
        assert run_episode(env, lambda observation, action=action: action, 0).length == own
        assert notes_on(env, name) == []
        for horizon in (7, 300):
            env = make_env(EnvConfig(name, horizon=horizon))
            assert run_episode(env, lambda observation, action=action: action, 0).length == horizon


class Scaled(gymnasium.Wrapper):
    def __init__(self) -> None:
        super().__init__(gymnasium.wrappers.NormalizeObservation(Says()))


def test_statistics_of_each_process_are_said_at_the_start():
    notes = notes_on(make_env(EnvConfig(Scaled)), "Scaled")
    assert any("leave NormalizeObservation out and give --normalize-observations" in note for note in notes)


class NoInfo(Says):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.zeros(1, np.float32)


class NoSeed(Says):
    def reset(self) -> Any:  # type: ignore[override]
        return np.zeros(1, np.float32), {}


class FourValues(Says):
    def step(self, action: np.ndarray) -> Any:
        return np.zeros(1, np.float32), 0.0, False, {}


class NoneInfo(Says):
    def step(self, action: np.ndarray) -> Any:
        return np.zeros(1, np.float32), 0.0, False, False, None


class Breaks(Says):
    def step(self, action: np.ndarray) -> Any:
        return np.linalg.inv(np.zeros((2, 2)))


class BreaksInReset(Says):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        raise AssertionError


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (NoInfo, r"^X: reset returns one ndarray: gymnasium wants reset"),
        (NoSeed, r"^X: reset fails: .*unexpected keyword argument 'seed'.*: gymnasium wants reset"),
        (FourValues, r"^X: step returns 4 values: gymnasium wants step"),
        (NoneInfo, r"^X: step returns the info None: .* info is a dict$"),
        (Breaks, r"^X: step fails: LinAlgError: Singular matrix \(.*test_episode.py:\d+\)$"),
        (BreaksInReset, r"^X: reset fails: AssertionError \(.*test_episode.py:\d+\)$"),
    ],
)
def test_an_interface_of_another_time_is_refused_with_what_gymnasium_wants(env, words):
    with pytest.raises(ConfigError, match=words) as caught:
        check_interface(make_env(EnvConfig(env)), "X")
    assert "\n" not in str(caught.value)
    check_interface(make_env(EnvConfig(Says)), "X")
