"""Recorded demonstrations are what happened, can be made again, and the shipped ones are what their cards
say.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import gymnasium
import numpy as np
import pytest
import toy_envs
from corridor import Corridor

from sac_dist.acting import recording
from sac_dist.acting.episode import TRAINING_SEEDS, Episode
from sac_dist.acting.evaluation import evaluation_seed
from sac_dist.acting.playback import find_policy, play
from sac_dist.acting.recording import RecordingInterrupted, demonstration_seed, record
from sac_dist.algorithms.agent import SACAgent
from sac_dist.data.schema import Schema
from sac_dist.data.transitions import Transitions
from sac_dist.formats.files import read
from sac_dist.settings import AgentConfig, Config, ConfigError, EnvConfig
from sac_dist.storage.checkpoint import save_policy
from sac_dist.system.files import demons_dir, models_dir

ARRAYS = ("observation", "action", "reward", "next_observation", "terminated", "truncated")
POINT = EnvConfig("toy_envs:Point-v0")
GRASP, LIFT = EnvConfig("SawyerGrasp-v0"), EnvConfig("SawyerLift-v0")
SHIPPED = sorted(demons_dir().glob("*.npz"))


class Reusing(toy_envs.Point):
    """Point that returns the same array each time, and spoils the action it is given."""

    def __init__(self) -> None:
        self.place_of_all = np.zeros(2, np.float32)

    def reset(self, **arguments: Any) -> tuple[np.ndarray, dict[str, Any]]:
        self.place_of_all[:] = super().reset(**arguments)[0]
        return self.place_of_all, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        place, *rest = super().step(action)
        self.place_of_all[:] = place
        action[:] = 7
        return self.place_of_all, *rest


class NotFinite(toy_envs.Point):
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        place, _, *rest = super().step(action)
        return place, float("nan"), *rest


gymnasium.register("Reusing-v0", entry_point=Reusing)
gymnasium.register("NotFinite-v0", entry_point=NotFinite)
gymnasium.register("Silent-v0", entry_point=lambda: Corridor(says_success=False))


@pytest.fixture
def made(monkeypatch) -> list[gymnasium.Env]:
    """The environments that record makes; each gets the attribute ``closed``."""
    environments: list[Any] = []
    make = recording.make_env

    def make_env(config: EnvConfig) -> gymnasium.Env:
        env: Any = make(config)
        env.closed, env.close = False, lambda: setattr(env, "closed", True)
        environments.append(env)
        return env

    monkeypatch.setattr(recording, "make_env", make_env)
    return environments


def to_bytes(demos: Transitions) -> bytes:
    return b"".join(getattr(demos, name).tobytes() for name in ARRAYS)


def episodes_of(demos: Transitions) -> list[bytes]:
    """Each episode's observations, actions and rewards."""
    return [
        b"".join(
            array[end - length : end].tobytes() for array in (demos.observation, demos.action, demos.reward)
        )
        for end, length in zip(demos.ends, demos.lengths, strict=True)
    ]


# What happened


@pytest.mark.parametrize("id", ["toy_envs:Point-v0", "Reusing-v0"])
def test_each_transition_is_what_the_environment_did_also_the_last_of_an_episode(id):
    demos = record(EnvConfig(id), "random", 40)
    np.testing.assert_allclose(
        demos.next_observation, demos.observation + np.float32(0.3) * demos.action, atol=1e-6
    )
    distance = np.linalg.norm(demos.next_observation, axis=1)
    np.testing.assert_allclose(demos.reward, 5.0 * (distance < 0.2) - distance, atol=1e-6)
    follows = np.flatnonzero(~(demos.terminated | demos.truncated))
    np.testing.assert_array_equal(demos.next_observation[follows], demos.observation[follows + 1])
    assert (
        (demos.next_observation[demos.ends[:-1] - 1] != demos.observation[demos.ends[:-1]]).any(axis=1).all()
    )
    assert [getattr(demos, name).dtype for name in ARRAYS] == [np.float32] * 4 + [np.bool_] * 2


def test_the_goal_and_the_time_limit_are_told_apart():
    demos = record(POINT, "random", 40)
    reached = np.linalg.norm(demos.next_observation, axis=1) < 0.2
    step = np.concatenate([np.arange(1, length + 1) for length in demos.lengths])
    np.testing.assert_array_equal(demos.terminated, reached)
    np.testing.assert_array_equal(demos.truncated, step == 10)
    np.testing.assert_array_equal(demos.success, reached[demos.ends - 1])
    assert 0 < demos.terminated.sum() < 40


def test_random_actions_fill_the_range_and_do_not_repeat_the_environments_draws():
    demos = record(POINT, "random", 60)
    assert (
        -1 <= demos.action.min() < -0.95 and 0.95 < demos.action.max() <= 1 and abs(demos.action.mean()) < 0.1
    )
    starts, firsts = demos.observation[demos.ends - demos.lengths], demos.action[demos.ends - demos.lengths]
    assert len(np.unique(firsts, axis=0)) == 60
    assert abs(np.corrcoef(starts.ravel(), firsts.ravel())[0, 1]) < 0.4


def test_any_environment_can_be_recorded_and_one_that_knows_no_success_says_none():
    demos = record(EnvConfig("corridor:Parts-v0"), "random", 2)
    assert demos.observation.shape == (20, 4) and demos.action.min() < -0.5, (
        "flattened, and not in the environment's own ±0.5"
    )
    silent = record(EnvConfig("Silent-v0"), "random", 2)
    assert silent.success is None and len(silent.ends) == 2


@pytest.mark.parametrize("name", ["SawyerGrasp-v0", "SawyerLift-v0", "Pendulum-v1"])
def test_a_policys_recording_is_what_play_shows(name, monkeypatch):
    path = models_dir() / f"{name}.safetensors"
    demos = record(EnvConfig(), path, 3, seed=5)
    monkeypatch.setattr(
        "sac_dist.acting.playback.evaluation_seed", lambda index: demonstration_seed(5, index)
    )
    policy = find_policy(path, "auto")[1]
    shown = play(policy, EnvConfig(), 3)
    np.testing.assert_array_equal(demos.lengths, shown.lengths)
    np.testing.assert_allclose(demos.returns, shown.returns, rtol=1e-5)
    np.testing.assert_equal(demos.success, shown.successes)
    act = policy.build_agent().act
    np.testing.assert_array_equal(
        demos.action, [act(observation, deterministic=True) for observation in demos.observation]
    )
    assert demos.source["policy"] == path.name and demos.source["env"]["env"] == name


def test_the_source_names_the_real_environment_and_simulator():
    demos = record(EnvConfig(kwargs={"random_yaw": False}), "expert", 1, seed=3)
    assert demos.source == {
        "env": {"env": "SawyerGrasp-v0", "backend": "mujoco", "random_yaw": False},
        "policy": "expert",
        "seed": 3,
        "episodes tried": 1,
        "sac_dist": recording.__version__,
    }
    assert "backend" not in record(POINT, "random", 1).source["env"]


# Made again


@pytest.mark.parametrize(
    ("config", "policy"),
    [(POINT, "random"), (LIFT, "expert"), (GRASP, models_dir() / "SawyerGrasp-v0.safetensors")],
)
def test_the_same_call_gives_the_same_bytes_and_another_seed_others(config, policy):
    first, again, more, other = (
        record(config, policy, n, seed) for n, seed in ((3, 1), (3, 1), (4, 1), (3, 2))
    )
    assert to_bytes(first) == to_bytes(again) and first.source == again.source
    assert episodes_of(more)[:3] == episodes_of(first)
    assert not set(episodes_of(first)) & set(episodes_of(other))


def test_no_seed_is_one_of_trainings_or_evaluations():
    seeds = {demonstration_seed(seed, index) for seed in range(4) for index in range(500)}
    assert len(seeds) == 2000
    assert min(seeds) >= 2**31 > max(TRAINING_SEEDS, evaluation_seed(10**9))
    assert max(seeds) < 2**32, "what simulators take as a seed"
    assert demonstration_seed(0, 1) != demonstration_seed(1, 0)


def test_each_try_starts_from_its_own_seed(made):
    record(EnvConfig("corridor:Fitting-v0"), "random", 4, seed=9)
    assert made[0].unwrapped.seeds == [demonstration_seed(9, index) for index in range(4)]


# Which episodes are kept


@pytest.mark.parametrize(
    ("config", "policy"), [(POINT, "random"), (EnvConfig("SawyerLift-v0", horizon=26), "expert")]
)
def test_only_success_keeps_the_successes_of_all_tries_in_their_order(config, policy):
    tries: list[tuple[int, Episode]] = []
    chosen = record(config, policy, 4, only_success=True, on_episode=lambda *told: tries.append(told))
    everything = record(config, policy, len(tries), only_success=False)
    assert [index for index, _ in tries] == list(range(len(tries)))
    assert chosen.source["episodes tried"] == len(tries) > 4
    assert chosen.success.all() and [episode.success for _, episode in tries] == everything.success.tolist()
    wanted = [
        episode
        for episode, success in zip(episodes_of(everything), everything.success, strict=True)
        if success
    ]
    assert episodes_of(chosen) == wanted


def test_failures_are_dropped_by_themselves_except_from_chance(tmp_path):
    short = EnvConfig("SawyerLift-v0", horizon=26)
    assert record(short, "expert", 4).success.all()
    assert not record(short, "random", 4).success.any()
    lift = record(short, models_dir() / "SawyerLift-v0.safetensors", 4)
    assert lift.success.all()
    with pytest.raises(ConfigError, match=r"only \d of 20 episodes"):
        record(EnvConfig(horizon=8), models_dir() / "SawyerLift-v0.safetensors", 2)
    agent = SACAgent(Schema.vector(2, 1), AgentConfig(hidden_width=4, hidden_depth=1))
    save_policy(tmp_path / "silent.safetensors", agent, Config(EnvConfig("Silent-v0"), agent.config), {})
    assert record(EnvConfig(), tmp_path / "silent.safetensors", 3).source["episodes tried"] == 3


def test_a_script_of_the_users_acts_in_the_environment_and_loses_what_fails():
    demos = record(POINT, "scripts:Home", 5, seed=4)
    assert demos.source["policy"] == "scripts:Home" and demos.source["episodes tried"] > 5
    assert demos.success.all() and (demos.observation[demos.starts, 0] <= 0).all()
    assert np.array_equal(demos.action, np.clip(-4 * demos.observation, -1, 1))
    assert to_bytes(demos) == to_bytes(record(POINT, "scripts:Home", 5, seed=4))
    assert not record(POINT, "scripts:Home", 5, seed=4, only_success=False).success.all()


# Refusals


@pytest.mark.parametrize(
    ("config", "policy", "options", "line"),
    [
        (
            POINT,
            "expert",
            {},
            r"^no expert for toy_envs:Point-v0: there are scripts for Reach, .*, not for Point$",
        ),
        (
            POINT,
            "no/such/run",
            {},
            r"^there is no policy no/such/run: give expert, random, a script of yours as package.module:Name, "
            r"or a run folder, a checkpoint or the book's prefix$",
        ),
        (
            POINT,
            "no_module:Home",
            {},
            r"^the policy no_module:Home does not load: ModuleNotFoundError: No module named 'no_module'$",
        ),
        (POINT, "scripts:Away", {}, r"^the policy scripts:Away does not load: AttributeError: .* 'Away'$"),
        (
            POINT,
            "scripts:short",
            {},
            r"short gives list of shape \(1,\): an action is numbers of shape \(2,\)$",
        ),
        (
            POINT,
            "scripts:silent",
            {},
            r"^the policy scripts:silent gives NoneType of shape \(\): an action is",
        ),
        (
            POINT,
            "scripts:far",
            {},
            r"^the policy scripts:far gives -3.2 … 0.5: an action lies in \[-1, 1\], which",
        ),
        (POINT, "scripts:nowhere", {}, r"^the policy scripts:nowhere gives nan … nan: an action lies in"),
        (POINT, "scripts:failing", {}, r"^the policy scripts:failing fails: IndexError: only integers"),
        (POINT, "scripts:leaving", {}, r"^the policy scripts:leaving fails: SystemExit: 0$"),
        (
            POINT,
            "scripts:direct",
            {},
            r"direct fails: TypeError: it gives ndarray, not a function, for an env",
        ),
        (
            POINT,
            "scripts:stepping",
            {},
            r"^the policy scripts:stepping steps or resets the environment itself",
        ),
        (
            POINT,
            "scripts:resetting",
            {},
            r"^the policy scripts:resetting steps or resets the environment itself",
        ),
        (GRASP, "scripts:Home", {}, r"^the policy scripts:Home fails: AttributeError: "),
        (
            POINT,
            models_dir() / "Pendulum-v1.safetensors",
            {},
            r"^the policy has 3 observations, toy_envs:Point-v0 with these options has 2$",
        ),
        (
            GRASP,
            models_dir() / "SawyerLift-v0.safetensors",
            {},
            r"^the policy has 8 actions, SawyerGrasp-v0 with these options has 7$",
        ),
        (
            GRASP,
            "random",
            {"only_success": True},
            r"^only 0 of 20 episodes of SawyerGrasp-v0 succeed with the policy random, and 2 are",
        ),
        (
            EnvConfig("Silent-v0"),
            "random",
            {"only_success": True},
            r"^Silent-v0 does not say whether an episode succeeds: .*--no-only-success$",
        ),
        (
            EnvConfig("NotFinite-v0"),
            "random",
            {},
            r"^NotFinite-v0: reward is nan, not a number up to 1e\+15 after step 1 of an episode with "
            r"seed \d+$",
        ),
        (EnvConfig("Nowhere-v0"), "random", {}, r"^there is no environment Nowhere-v0"),
        (
            EnvConfig("SawyerGrasp-v0", {"backend": "coppelia"}),
            "expert",
            {},
            r"^SawyerGrasp-v0 does not start: backend coppelia does not work",
        ),
        (POINT, "random", {"episodes": 0}, r"^episodes is 0: it must be above 0$"),
        (POINT, "random", {"seed": -1}, r"^seed is -1: it must not be negative$"),
    ],
)
def test_what_cannot_be_recorded_gets_one_line_and_the_environment_is_closed(
    config, policy, options, line, made
):
    with pytest.raises(ConfigError, match=line) as refusal:
        record(config, policy, **({"episodes": 2} | options))
    assert "\n" not in str(refusal.value)
    assert all(env.closed for env in made)


def test_the_environment_is_closed_after_a_crash_an_interrupt_and_at_the_end(made):
    def interrupt(index: int, episode: Episode) -> None:
        raise KeyboardInterrupt

    record(POINT, "random", 1)
    with pytest.raises(ZeroDivisionError):
        record(EnvConfig("toy_envs:AlwaysRaises-v0"), "random", 1)
    with pytest.raises(KeyboardInterrupt):
        record(POINT, "random", 1, on_episode=interrupt)
    assert [env.closed for env in made] == [True] * 3


def test_ctrl_c_gives_the_whole_episodes_before_it():
    def interrupt(index: int, episode: Episode) -> None:
        if index == 2:
            raise KeyboardInterrupt

    with pytest.raises(RecordingInterrupted) as interrupted:
        record(POINT, "random", 5, on_episode=interrupt)
    assert episodes_of(interrupted.value.demos) == episodes_of(record(POINT, "random", 2))


def test_a_policy_that_rarely_succeeds_is_given_up_after_ten_tries_per_episode():
    tries = []
    with pytest.raises(ConfigError, match=r"^only 0 of 30 episodes"):
        record(
            EnvConfig("SawyerGrasp-v0", horizon=2),
            "expert",
            3,
            on_episode=lambda index, episode: tries.append(index),
        )
    assert tries == list(range(30))


# The shipped files


def test_each_sawyer_task_has_an_experts_demonstrations_and_each_file_a_card():
    assert {path.stem for path in SHIPPED} >= {"SawyerGrasp-v0-expert", "SawyerLift-v0-expert"}
    assert all(path.with_suffix(".md").is_file() for path in SHIPPED)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_file_is_what_its_card_says(path):
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    card = dict(re.findall(r"^\| (\w+) \| (.+) \|$", text, re.MULTILINE))
    demos, content = read(path), path.read_bytes()
    lengths, returns, episodes, source = demos.lengths, demos.returns, len(demos.ends), demos.source
    assert card["file"] == f"{len(content):,} bytes, sha256 `{hashlib.sha256(content).hexdigest()}`"
    assert (
        card["transitions"]
        == f"{len(demos)}; {lengths.mean():.2f} steps per episode ({lengths.min()} to {lengths.max()})"
    )
    assert card["return"] == f"{returns.mean():.2f} ± {returns.std():.2f} per episode, undiscounted"
    assert demos.terminated.sum() == episodes and not demos.truncated.any()
    assert card["episodes"] == (
        f"{episodes}, all there were in {source['episodes tried']} tries; success "
        f"{demos.success.sum()}/{episodes}; "
        "the last step of each is terminated, none is truncated"
    )
    name = source["env"]["env"]
    assert (
        card["environment"].startswith(f"{name}; ")
        and f"({demos.action.shape[1]} actions)" in card["environment"]
    )
    assert f"({demos.observation.shape[1]})" in card["environment"]
    recorded = f"--record-demos {episodes} --env {name} --policy {source['policy']} --out demons_data/{path.name} --seed {source['seed']}"
    assert card["command"] == f"`python -m sac_dist {recorded}`"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_recording_again_gives_the_shipped_episodes(path):
    """The first steps of three episodes: processors round differently, and contacts make much of little."""
    shipped = read(path)
    again = record(
        EnvConfig.from_dict(shipped.source["env"]), shipped.source["policy"], 3, shipped.source["seed"]
    )
    ours, theirs = ((demos.ends - demos.lengths)[:3, None] + np.arange(5) for demos in (again, shipped))
    for name in ARRAYS:
        np.testing.assert_allclose(
            getattr(again, name)[ours], getattr(shipped, name)[theirs], rtol=0, atol=1e-4
        )
