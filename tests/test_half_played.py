"""An episode taken down in its middle: another environment goes on with it, bit for bit, or says that it cannot."""

import json

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import FrameStackObservation, TimeLimit
from toy_envs import Point

from sac_dist.acting.environment import make_env
from sac_dist.acting.episode import EnvironmentFault, Play
from sac_dist.acting.half_played import EpisodeRecord, NotRepeated, exactness, go_on, state_of
from sac_dist.settings import EnvConfig
from sac_dist.storage.arrays_in_json import from_json, to_json

SAWYER = [
    EnvConfig("SawyerGrasp-v0", {"backend": "mujoco"}),
    EnvConfig("SawyerLift-v0", {"backend": "mujoco", "start": "book"}),
    EnvConfig("SawyerGrasp-v0", {"backend": "mujoco", "control": "end_position"}, horizon=60),
]
POINT = EnvConfig("toy_envs:Point-v0")


def taken_down(play: Play, record: EpisodeRecord, actions: list[np.ndarray]) -> dict:
    """Through JSON, as a checkpoint does."""
    for action in actions:
        record.add(action)
        play.step(action)
    return json.loads(json.dumps(record.state(play)))


def rest(play: Play, actions: list[np.ndarray]) -> list[tuple]:
    trace = []
    for action in actions:
        if play.over:
            break
        trace.append((*play.step(action), play.observation.tobytes(), play.total_reward, play.length))
    return trace


@pytest.mark.parametrize("config", [*SAWYER, POINT], ids=str)
def test_the_rest_of_an_episode_is_the_same_in_another_environment(config):
    rng = np.random.default_rng(0)
    for seed, before in ((3, 0), (3, 1), (4, 6), (5, 8)):
        first, second = make_env(config), make_env(config)
        second.reset(seed=99)
        second.step(second.action_space.sample())
        size = first.action_space.shape[0]
        actions = list(0.3 * rng.uniform(-1, 1, (60, size)).astype(np.float32))
        play = Play(first, seed)
        saved = taken_down(play, EpisodeRecord.of(first), actions[:before])
        assert saved["length"] == before and not play.over
        again, _ = go_on(second, saved, lambda: None)
        assert again.observation.tobytes() == play.observation.tobytes()
        expected = rest(play, actions[before:])
        assert len(expected) > 0 and rest(again, actions[before:]) == expected
        assert exactness(saved).startswith("step") and ("state" in saved) == (config is not POINT)
        first.close(), second.close()


def test_a_grasp_in_contact_goes_on_the_same():
    """Contacts are what a state without warm starts and forces would lose."""
    from envs.tasks.expert import Expert

    first, second = make_env(SAWYER[1]), make_env(SAWYER[1])
    play, expert = Play(first, 1), Expert(first)
    while not (play.env.unwrapped.readings.left_contact and play.env.unwrapped.readings.right_contact):
        play.step(expert.act())
    saved = json.loads(json.dumps(EpisodeRecord.of(first).state(play)))
    again, _ = go_on(second, saved, lambda: None)
    trace: list[list[tuple]] = [[], []]
    for number, (going, actor) in enumerate(((play, expert), (again, Expert(second)))):
        while not going.over:
            trace[number].append((*going.step(actor.act()), going.observation.tobytes()))
    assert trace[0] == trace[1] and len(trace[0]) > 5 and play.episode().success


def test_a_time_limit_goes_on_counting():
    class Endless(Point):
        horizon = 10**9

        def get_state(self):
            return {"place": self.place, "steps": self.steps}

        def set_state(self, state):
            self.place, self.steps = state["place"], state["steps"]

    first, second = TimeLimit(Endless(), 20), TimeLimit(Endless(), 20)
    still = np.zeros(2, np.float32)
    saved = taken_down(Play(first, 0), EpisodeRecord.of(first), [still] * 7)
    again, _ = go_on(second, saved, lambda: None)
    assert "state" in saved and len(rest(again, [still] * 40)) == 13 and again.over


def test_an_environment_that_does_not_repeat_itself_is_found_out():
    class Drifts(Point):
        born = 0

        def __init__(self):
            Drifts.born += 1
            self.drift = Drifts.born

        def step(self, action):
            observation, *others = super().step(action)
            return observation + np.float32(1e-6 * self.drift), *others

    saved = taken_down(Play(Drifts(), 0), EpisodeRecord.of(Drifts()), [np.zeros(2, np.float32)])
    with pytest.raises(NotRepeated, match="does not repeat itself"):
        go_on(Drifts(), saved, lambda: None)


def test_a_wrapper_with_a_memory_keeps_the_state_from_being_trusted():
    env = gymnasium.make("SawyerGrasp-v0", backend="mujoco")
    env.reset(seed=0)
    assert state_of(env) is not None
    stacked = FrameStackObservation(env, 2)
    stacked.reset(seed=0)
    assert state_of(stacked) is None
    env.close()


@pytest.mark.parametrize("state", [None, np.zeros(3), (1, 2)])
def test_what_is_no_dict_is_no_state(state):
    env = Point()
    env.get_state, env.set_state = lambda: state, lambda state: None
    env.reset(seed=0)
    assert state_of(env) is None


def test_a_state_that_no_checkpoint_can_hold_is_named():
    env = Point()
    env.get_state, env.set_state = lambda: {"rng": object()}, lambda state: None
    env.reset(seed=0)
    with pytest.raises(EnvironmentFault, match="Point: get_state gives a object; a checkpoint takes"):
        state_of(env)


@pytest.mark.parametrize(
    "damage",
    [
        {"observation": {"__array__": ["<f4", [3], "AAAA"]}},
        {"observation": None},
        {"state": {}},
        {"state": {"environment": {"physics": None}, "elapsed": []}},
        {"seed": "x"},
    ],
)
def test_what_was_damaged_is_said(damage):
    env = make_env(SAWYER[0])
    saved = taken_down(Play(env, 0), EpisodeRecord.of(env), [np.zeros(7, np.float32)])
    with pytest.raises(NotRepeated, match="does not fit"):
        go_on(env, saved | damage, lambda: None)
    env.close()


def test_json_holds_what_it_was_given():
    value = {
        "a": np.arange(6, dtype=np.int16).reshape(2, 3),
        "b": [1.5, None, "x", True, 2**100],
        "c": {"d": np.float64(0.1), "e": np.array(3.0)},
    }
    back = from_json(json.loads(json.dumps(to_json(value))))
    assert back["b"] == value["b"] and back["c"]["d"] == 0.1 and back["c"]["e"] == 3.0
    np.testing.assert_array_equal(back["a"], value["a"])
    assert back["a"].dtype == np.int16 and back["a"].flags.writeable
    assert from_json(to_json(b"ab")).tobytes() == b"ab"
    with pytest.raises(ValueError, match="damaged"):
        from_json({"__array__": ["O", [1], "AAAAAAAAAAA="]})


class Forgetful(Point):
    """Its state leaves the steps of the episode out."""

    def get_state(self):
        return {"place": self.place.copy(), "steps": self.steps}

    def set_state(self, state):
        self.place = state["place"]


class OtherMeaning(Point):
    def get_state(self, which):
        return {"which": which}

    def set_state(self, which, state): ...


class StateLater(Point):
    """It can give its state at the reset alone."""

    def get_state(self):
        return {"steps": 0} if self.steps == 0 else None

    def set_state(self, state): ...


def half(env) -> dict:
    return taken_down(Play(env, 3), EpisodeRecord.of(env), [np.full(2, 0.1, np.float32)] * 2)


def test_a_state_that_leaves_something_out_is_found_out():
    env = Forgetful()
    env.reset(seed=0)
    saved = half(env)
    assert exactness(saved) == "step"
    with pytest.raises(NotRepeated, match="get_state gives something else after set_state"):
        go_on(Forgetful(), saved, lambda: None)


def test_a_get_state_of_another_meaning_counts_as_none():
    env = OtherMeaning()
    env.reset(seed=0)
    assert state_of(env) is None
    assert exactness(half(env)) == "step, if the environment repeats the episode's actions"


def test_a_state_that_is_refused_in_the_middle_is_said_at_once():
    env = StateLater()
    env.reset(seed=0)
    saved = half(env)
    assert exactness(saved) == "not exact: the environment gave no state in the middle of the episode"
    with pytest.raises(NotRepeated, match="gave no state"):
        go_on(StateLater(), saved, lambda: None)
