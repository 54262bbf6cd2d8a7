"""compute_reward as hindsight calls it, what is said of it before a run, and runs with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_engine import config, policy_of, same

from sac_dist.acting.environment import make_env
from sac_dist.acting.episode import EnvironmentFault
from sac_dist.acting.goals import GoalRewards, settle_her
from sac_dist.acting.recording import record
from sac_dist.cli.given import parse
from sac_dist.engine.train import resume, train
from sac_dist.formats import files
from sac_dist.settings import Config, ConfigError, DataConfig, EnvConfig
from sac_dist.storage import checkpoint

pytestmark = pytest.mark.timeout(120)
RNG = np.random.default_rng(0)
ACHIEVED, DESIRED = RNG.uniform(-0.2, 0.2, (2, 50, 2)).astype(np.float32)
NEAR = (np.linalg.norm(ACHIEVED - DESIRED, axis=1) < 0.2).astype(np.float32)


def goals_of(name: str) -> GoalRewards:
    return GoalRewards(make_env(EnvConfig(f"toy_goals:{name}-v0")), name)


def settled(name: str, **data: Any) -> tuple[str, list[str]]:
    env = make_env(EnvConfig(name if ":" in name else f"toy_goals:{name}-v0"))
    return settle_her(env, name, DataConfig(**data))


@pytest.mark.parametrize("name", ["Goal", "OneByOne", "NoneInfo", "Ends", "Abstract"])
def test_rewards_of_a_batch_are_those_of_its_pairs(name: str) -> None:
    goals = goals_of(name)
    assert goals.reward.takes_batches is (name != "OneByOne")
    rewards = goals.rewards(ACHIEVED, DESIRED)
    assert rewards.dtype == np.float32 and 5 < NEAR.sum() < 45
    np.testing.assert_array_equal(rewards, NEAR - 1)
    assert goals.sparse and not goals_of("Dense").sparse


def test_an_end_that_answers_for_a_batch_as_a_whole_is_asked_pair_by_pair() -> None:
    goals = goals_of("Ends")
    assert goals.end is not None and not goals.end.takes_batches and goals.reward.takes_batches
    np.testing.assert_array_equal(goals.terminated(ACHIEVED, DESIRED), NEAR)
    assert "compute_reward takes whole batches, compute_terminated takes one transition at a time (" in str(
        goals
    )
    for none in ("Goal", "Abstract"):
        assert goals_of(none).terminated(ACHIEVED, DESIRED) is None


def test_what_goes_wrong_later_is_told_in_a_line() -> None:
    goals = goals_of("Later")
    with pytest.raises(
        EnvironmentFault, match=r"^Later: compute_reward returns an array of the shape \(49,\) for 50"
    ):
        goals.rewards(ACHIEVED, DESIRED)
    goals.reward.function = lambda *_: np.full(50, np.nan)
    with pytest.raises(EnvironmentFault, match=r"^Later: compute_reward returns nan for a pair of goals$"):
        goals.rewards(ACHIEVED, DESIRED)
    goals.reward.function = lambda *_: {}[1]
    with pytest.raises(EnvironmentFault, match=r"^Later: compute_reward fails: KeyError"):
        goals.rewards(ACHIEVED, DESIRED)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "toy_envs:Point-v0",
            r"--her is for environments with goals: .* has no Dict observation with achieved_goal",
        ),
        (
            "NoReward",
            r"--her needs compute_reward\(achieved_goal, desired_goal, info\), which NoReward does not",
        ),
        (
            "ManyRewards",
            r"ManyRewards: compute_reward returns an array of the shape \(2,\) for one pair of goals, not",
        ),
        ("InfiniteReward", r"InfiniteReward: compute_reward returns inf for a pair of goals$"),
        (
            "NeedsInfo",
            r"--her cannot work: compute_reward of NeedsInfo fails without the info of a step, .*KeyError",
        ),
        (
            "UsesInfo",
            r"--her cannot work: compute_reward of UsesInfo needs the info of its step, which is not stored$",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_if_it_is_asked_for_and_else_done_without(name: str, line: str) -> None:
    with pytest.raises(ConfigError, match=f"^{line}") as raised:
        settled(name, her="future")
    assert "\n" not in str(raised.value)
    her, notes = settled(name)
    assert her == "none"
    assert notes == ([] if ":" in name else [f"no goals in hindsight: {raised.value}"])


def test_it_comes_by_itself_where_the_reward_is_sparse_and_is_told() -> None:
    her, (line,) = settled("Goal")
    assert her == "future"
    assert line == (
        "80% of each batch get a goal in hindsight (--her future, as its reward is sparse): compute_reward takes "
        "whole batches, ends stay as they were"
    )
    assert settled("Goal", her="final", her_ratio=0.5)[1][0].startswith(
        "50% of each batch get a goal in hind"
    )
    assert settled("Dense") == ("none", []) and settled("Dense", her="future")[0] == "future"
    assert settled("Goal", her="none") == ("none", [])
    assert (
        settled("Goal", offline=("x",)) == settled("Goal", demos=("x",), demo_mode="append") == ("none", [])
    )
    assert settled("Goal", offline=("x",), her="final")[0] == "final"
    with pytest.raises(
        ConfigError, match=r"^--her-ratio would do nothing: Dense has no goals with a sparse reward"
    ):
        settled("Dense", her_ratio=0.5)


def test_a_reward_that_is_more_than_compute_reward_is_told() -> None:
    her, (_, line) = settled("Effort")
    assert her == "future"
    assert line.startswith("Effort: a step's reward is -1.25 and that of compute_reward -1: ")


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--her-ratio", "1.5"], "her_ratio is 1.5: it is a share"),
        (
            ["--her", "final", "--demos", "x", "--demo-mode", "append"],
            "her final is for demo_mode mix or prefill",
        ),
        (["--her", "none", "--her-ratio", "0.5"], "--her-ratio would do nothing: --her none"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(flags: list[str], line: str) -> None:
    with pytest.raises(ConfigError, match=f"^{line}"):
        Config.of_settings(parse(["--train", *flags]))


# Runs


def goals_run(
    tmp_path: Path, env: str = "toy_goals:Goal-v0", data: DataConfig | None = None, **more: Any
) -> Config:
    return replace(config(tmp_path, env, **more), data=data or DataConfig())


@pytest.mark.slow
def test_a_resumed_run_gives_the_bits_of_one_that_never_stopped(tmp_path: Path) -> None:
    """It stops in the middle of an episode, with batches drawn ahead."""
    whole = train(goals_run(tmp_path / "whole", steps=150))
    half = train(goals_run(tmp_path / "half", steps=83))
    saved = checkpoint.read(half.folder.last)
    assert saved.config.data.her == "future" and "batches_ahead" in saved.run["workers"][0]
    resumed = resume(half.folder.path, replace(saved.config, train=replace(saved.config.train, steps=150)))
    assert same(policy_of(whole), policy_of(resumed))


@pytest.mark.slow
@pytest.mark.parametrize("env", ["Goal", "Ends", "OneByOne"])
def test_it_learns_the_toy_with_workers_and_with_a_learner(tmp_path: Path, env: str) -> None:
    for number, learner in enumerate((None, "central")):
        more = {
            "eval_interval": 500,
            "eval_episodes": 10,
            "success_target": 0.9,
            "workers": 2,
            "warmup_steps": 200,
        }
        of_run = goals_run(
            tmp_path / str(number), f"toy_goals:{env}-v0", learner=learner, steps=15_000, **more
        )
        assert train(of_run).outcome.reason == "success_target"


@pytest.mark.slow
def test_offline_phases_and_demonstrations_of_a_goal_environment(tmp_path: Path) -> None:
    demos = str(tmp_path / "demos.npz")
    files.write(record(EnvConfig("toy_goals:Goal-v0"), "random", 10), demos)
    for number, data in enumerate(
        (
            DataConfig(offline=(demos,), bc_steps=10, offline_steps=30, her="future"),
            DataConfig(demos=(demos,), offline_steps=30, offline_every=50),
            DataConfig(demos=(demos,), demo_mode="prefill", demo_overwrite=True),
        )
    ):
        run = train(goals_run(tmp_path / str(number), data=data, steps=100))
        assert checkpoint.read(run.folder.last).config.data.her == "future"
        again = train(goals_run(tmp_path / f"again{number}", data=data, steps=100))
        assert same(policy_of(run), policy_of(again))


@pytest.mark.slow
def test_a_reward_that_breaks_ends_the_run_with_its_line(tmp_path: Path, capfd: Any) -> None:
    from sac_dist.engine.outcome import TrainingFailed

    with pytest.raises(TrainingFailed):
        train(goals_run(tmp_path, "toy_goals:Later-v0", steps=500))
    assert "compute_reward returns an array of the shape" in capfd.readouterr().err
