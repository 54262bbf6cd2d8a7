import importlib.util
import pickle
import re
import threading
from collections import OrderedDict
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from corridor import CannotDraw, Corridor
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict
from hypothesis import given, settings
from hypothesis import strategies as st

from sac_dist.acting.environment import make_env
from sac_dist.acting.episode import TRAINING_SEEDS, run_episode, success_of, training_seed
from sac_dist.acting.evaluation import evaluation_seed
from sac_dist.acting.observation import schema_of
from sac_dist.acting.shipping import ship
from sac_dist.settings import ConfigError, EnvConfig

FULL_SPEED = np.ones(1, np.float32)


def wrappers(env: gymnasium.Env) -> list[str]:
    names = []
    while isinstance(env, gymnasium.Wrapper):
        names.append(type(env).__name__)
        env = env.env
    return names


def refusal(config: EnvConfig, render_mode: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        make_env(config, render_mode)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_observations_become_float32_and_actions_are_rescaled_to_the_environment():
    env = make_env(EnvConfig("Corridor-v0"))
    observation, _ = env.reset(seed=3)
    assert observation.dtype == np.float32 and observation.shape == (2,)
    assert env.action_space == gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    observation, *_ = env.step(FULL_SPEED)
    assert observation.dtype == np.float32 and observation[0] == 0.5
    observation, *_ = env.step(-FULL_SPEED / 2)
    assert observation[0] == 0.25


def test_the_ends_of_the_action_range_stay_inside_the_environments_own():
    env = make_env(EnvConfig("Humanoid-v5"))
    rescale = env
    while type(rescale).__name__ != "ClippedRescaleAction":
        rescale = rescale.env
    for end in (1, -1):
        assert rescale.env.action_space.contains(rescale.action(np.full(17, end, np.float32)))


def test_an_environment_that_fits_gets_no_wrapper_but_an_end():
    assert wrappers(make_env(EnvConfig("Fitting-v0"))) == ["DefaultLimit"]


def test_gymnasiums_checking_wrappers_are_left_out():
    assert wrappers(make_env(EnvConfig("Pendulum-v1"))) == ["ClippedRescaleAction", "TimeLimit"]
    assert gymnasium.spec("Pendulum-v1").order_enforce, "the registry's own entry must stay as it was"


def test_parts_are_flattened_to_a_vector():
    observation, _ = make_env(EnvConfig("Parts-v0")).reset()
    assert observation.dtype == np.float32
    assert sorted(observation.tolist()) == [0, 0, 0, 1]  # one-hot door and position


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "DiscreteActions-v0",
            r"DiscreteActions-v0 has the action space Discrete\(4\): SAC needs continuous actions",
        ),
        ("IntegerActions-v0", "a Box of floats"),
        ("UnboundedActions-v0", "each action needs a finite range"),
        ("NeedsPackage-v0", "NeedsPackage-v0 does not start: Box3D is missing: pip install box3d$"),
        ("Pendulm-v1", "there is no environment Pendulm-v1: did you mean Pendulum-v1"),
        ("pendulum-v1", "did you mean Pendulum-v1"),
        ("Pendulum-v9", "did you mean Pendulum-v1"),
        ("Qqqq", "there is no environment Qqqq; a package's own"),
        ("no such id!", "there is no environment no such id!"),
        ("", "there is no environment"),
        ("not_a_module:Thing-v0", "cannot be imported: No module named 'not_a_module'"),
        ("Reacher-v2", "Reacher-v2 does not start"),
        ("Reacher-v1", "deprecated"),
    ],
)
def test_an_environment_that_cannot_be_used_is_refused_in_one_line(name, reason):
    assert re.search(reason, refusal(EnvConfig(name))), refusal(EnvConfig(name))


@pytest.mark.parametrize(
    ("name", "module", "line"),
    [
        ("gymnasium_robotics:FetchReach-v4", "gymnasium_robotics", "gymnasium-robotics mujoco==3.3.7"),
        ("FetchReach-v4", "gymnasium_robotics", "gymnasium-robotics mujoco==3.3.7"),
        ("metaworld:Meta-World/MT1", "metaworld", "metaworld"),
        ("examples.my_robosuite:Robosuite-v0", "robosuite", "robosuite==1.5.2 mujoco==3.3.7"),
    ],
)
def test_a_suite_that_is_not_installed_is_refused_with_the_line_that_installs_it(name, module, line):
    if importlib.util.find_spec(module) is not None:
        pytest.skip(f"{module} is installed")
    assert refusal(EnvConfig(name)).endswith(f": pip install {line}")


def test_options_that_the_environment_does_not_have_are_refused():
    assert (
        refusal(EnvConfig("Pendulum-v1", {"control": "end_position"})) == "Pendulum-v1 has no option control"
    )
    assert (
        refusal(EnvConfig("Corridor-v0"), "human") == "Corridor-v0 has no render mode human; it has rgb_array"
    )


def test_a_simulator_that_fails_is_told_by_its_first_line():
    assert (
        refusal(EnvConfig("BrokenSimulator-v0", {"backend": "coppelia"}))
        == "BrokenSimulator-v0 does not start: no coppelia here: install it"
    )


def test_a_module_can_bring_its_own_environment():
    assert isinstance(make_env(EnvConfig("corridor:Corridor-v0")).unwrapped, Corridor)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [name for name, spec in gymnasium.registry.items() if "gymnasium." in str(spec.entry_point)]
)
def test_every_registered_environment_works_or_is_refused(name):
    try:
        env = make_env(EnvConfig(name))
    except ConfigError as error:
        assert "\n" not in str(error)
        return
    observation, _ = env.reset(seed=0)
    assert (
        env.observation_space.shape == observation.shape
        and observation.ndim == 1
        and observation.dtype == np.float32
    )
    observation, *_ = env.step(env.action_space.sample())
    assert observation.dtype == np.float32
    env.close()


def test_the_sawyer_needs_no_wrapper_and_auto_finds_it():
    pytest.importorskip("mujoco")
    for name in ("SawyerGrasp-v0", "auto"):
        env = make_env(EnvConfig(name, {"backend": "mujoco"}, horizon=3))
        assert env is env.unwrapped
        episode = run_episode(env, lambda observation: np.zeros(7, np.float32), seed=0)
        assert episode.length == 3 and episode.success is False and not episode.terminated
        env.close()


def test_an_episode_adds_up():
    env = Corridor()
    episode = run_episode(env, lambda observation: np.array([0.25]), seed=7)
    goal = env.goal
    distances = [abs(goal - 0.25 * step) for step in range(1, episode.length + 1)]
    assert episode.total_reward == pytest.approx(-sum(distances))
    assert all(distance >= 0.1 for distance in distances[:-1])
    assert episode.terminated == episode.success == (distances[-1] < 0.1)


def test_an_episode_that_runs_out_of_time_is_truncated():
    episode = run_episode(Corridor(), lambda observation: np.zeros(1), seed=0)
    assert (episode.length, episode.success, episode.terminated) == (10, False, False)


def test_the_same_seed_gives_the_same_episode():
    def play(seed):
        return run_episode(
            make_env(EnvConfig("Corridor-v0")), lambda observation: FULL_SPEED * observation[1] / 8, seed
        )

    assert play(5) == play(5) != play(6)


def test_frames_show_the_first_state_and_every_step():
    frames: list[np.ndarray] = []
    episode = run_episode(Corridor("rgb_array"), lambda observation: np.array([0.1]), 0, frames.append)
    assert len(frames) == episode.length + 1
    assert not np.array_equal(frames[0], frames[-1])


@pytest.mark.filterwarnings("ignore:.*render mode")
def test_an_environment_that_cannot_draw_says_so_in_one_line():
    with pytest.raises(ConfigError, match=r"OpenGL platform library.*MUJOCO_GL") as caught:
        run_episode(CannotDraw(), lambda observation: np.zeros(1), 0, lambda frame: None)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="not \\(height, width, 3\\) pictures"):
        run_episode(
            make_env(EnvConfig("Pendulum-v1")), lambda observation: FULL_SPEED, 0, lambda frame: None
        )  # no render_mode


def test_success_is_read_from_either_name():
    assert success_of({"success": np.True_}) is True
    assert success_of({"is_success": 0.0}) is False
    assert success_of({"other": 1}) is None


@settings(max_examples=200)
@given(st.tuples(*[st.integers(0, 2**40)] * 4), st.integers(0, 10**6))
def test_training_never_meets_an_evaluation_seed(identity, index):
    assert 0 <= training_seed(*identity) < TRAINING_SEEDS <= evaluation_seed(index)


def test_training_seeds_differ_in_every_part_of_their_identity():
    seeds = {training_seed(*(int(part == place) for part in range(4))) for place in range(5)}
    assert len(seeds) == 5


class Sized(gymnasium.Env):
    observation_space = Box(-1, 1, (1,), np.float32)

    def __init__(self, low, high, dtype="float32", **others):
        self.action_space = Box(np.array(low, dtype), np.array(high, dtype), dtype=np.dtype(dtype).type)
        self.others = others

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.taken = action
        return np.zeros(1, np.float32), 0.0, False, False, {}


LIMITS = st.lists(
    st.tuples(*[st.floats(-(2.0**96), 2.0**96, width=32)] * 2).filter(lambda ends: ends[1] - ends[0] > 1e-30),
    min_size=1,
    max_size=8,
)


@settings(max_examples=300, deadline=None)
@given(LIMITS, st.sampled_from(["float32", "float64"]), st.floats(-1, 1, width=32))
def test_no_action_leaves_the_range_whatever_its_limits(limits, dtype, action):
    low, high = zip(*limits, strict=True)
    env = make_env(EnvConfig(Sized, {"low": low, "high": high, "dtype": dtype}))
    env.reset()
    for value in (-1, action, 1):
        env.step(np.full(len(limits), value, np.float32))
        assert env.unwrapped.action_space.contains(env.unwrapped.taken)


def test_the_limits_that_rounding_passed_are_kept():
    env = make_env(EnvConfig(Sized, {"low": [-0.0175, -2.8973], "high": [3.7525, 2.8973]}))
    env.reset()
    for end, limits in ((-1, env.unwrapped.action_space.low), (1, env.unwrapped.action_space.high)):
        env.step(np.full(2, end, np.float32))
        assert np.allclose(env.unwrapped.taken, limits, atol=1e-6)
        assert env.unwrapped.action_space.contains(env.unwrapped.taken)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_limits_that_mean_none_are_refused(dtype):
    largest = np.finfo(dtype).max
    config = EnvConfig(Sized, {"low": [-largest], "high": [largest], "dtype": dtype})
    assert "each action needs a finite range" in refusal(config)


def test_arguments_reach_any_constructor_and_missing_ones_are_named():
    assert make_env(EnvConfig(Sized, {"low": [-1], "high": [1], "mass": 3})).unwrapped.others == {"mass": 3}
    assert "Sized> needs the argument high" in refusal(EnvConfig(Sized, {"low": [-1]}))
    assert make_env(EnvConfig("HalfCheetah-v5", {"forward_reward_weight": 2.0})).unwrapped is not None
    assert "unexpected keyword argument 'control'" in refusal(EnvConfig("HalfCheetah-v5", {"control": "x"}))


def test_the_package_of_a_bare_id_is_named():
    line = refusal(EnvConfig("FetchReach-v4"))
    assert "gymnasium_robotics:FetchReach-v4" in line and "Reacher" not in line
    assert "shimmy:dm_control/cartpole-swingup-v0" in refusal(EnvConfig("dm_control/cartpole-swingup-v0"))
    assert "package:Name-v0" in refusal(EnvConfig("Pendulm-v1"))


def test_what_a_file_cannot_hold_has_to_be_given_again():
    recorded = EnvConfig.from_dict(EnvConfig(Sized).to_dict())
    assert refusal(recorded).startswith("Sized was given from Python, and no file can hold it")


class Unsorted(Sized):
    def __init__(self):
        super().__init__([-1], [1])
        self.observation_space = Dict(OrderedDict(b=Box(0, 9, (1,)), a=Box(0, 9, (2,))))

    def reset(self, *, seed=None, options=None):
        return {"b": np.array([3.0]), "a": np.array([1.0, 2.0])}, {}


def test_named_parts_lie_in_the_order_of_their_names():
    env = make_env(EnvConfig(Unsorted))
    assert env.reset()[0].tolist() == [1, 2, 3]
    assert [field.name for field in schema_of(env).fields] == ["a", "b"]


def test_an_environment_shipped_to_another_process_is_the_same(monkeypatch):
    by_value = type("Sized", (Sized,), {"__module__": "__main__"})
    for config in (
        EnvConfig(Sized, {"low": [-1], "high": [2]}),
        EnvConfig(by_value, {"low": [-1], "high": [2]}),
    ):
        sent = pickle.loads(pickle.dumps(ship(config)))
        assert sent.name.endswith("Sized>") and make_env(sent).unwrapped.action_space.high == 2
    monkeypatch.setitem(gymnasium.registry, "Mine-v0", EnvSpec("Mine-v0", entry_point=Sized))
    sent = ship(EnvConfig("Mine-v0", {"low": (-1,), "high": (3,)}))
    monkeypatch.delitem(gymnasium.registry, "Mine-v0")
    assert sent.is_named and make_env(sent).unwrapped.action_space.high == 3
    assert "there is no environment" in refusal(replace(sent, shipped=None))


def test_what_cannot_be_sent_is_refused():
    with pytest.raises(ConfigError, match="cannot be sent to the other processes"):
        ship(EnvConfig("Pendulum-v1", {"lock": threading.Lock()}))
