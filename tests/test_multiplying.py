"""More demonstrations from few, and choosing and cutting them."""

from __future__ import annotations

import numpy as np
import pytest

from envs.tasks.moved import Moved, path_of
from sac_dist.acting.environment import make_env
from sac_dist.acting.episode import Episode
from sac_dist.acting.multiplying import multiply
from sac_dist.acting.recording import RecordingInterrupted, record
from sac_dist.cli import main as cli
from sac_dist.data.schema import Field, Schema
from sac_dist.data.transitions import Transitions
from sac_dist.engine.settling import recorded_env
from sac_dist.formats import files
from sac_dist.formats.editing import edited
from sac_dist.settings import ConfigError, EnvConfig

pytestmark = pytest.mark.timeout(120)


def task(name: str, **kwargs) -> EnvConfig:
    return EnvConfig(name, {"backend": "mujoco", **kwargs})


@pytest.mark.parametrize(
    "config",
    [
        task("SawyerLift-v0"),
        task("SawyerGrasp-v0"),
        task("PickAndPlace-v0"),
        task("PickAndPlace-v0", goal_conditioned=True, reward="sparse"),
        task("SawyerLift-v0", control="end_position", objects="cylinder"),
    ],
    ids=lambda config: " ".join(map(str, [config.id, *list(config.kwargs.values())[1:]])),
)
def test_three_demonstrations_make_ten(config):
    demos, lines, tried = record(config, "expert", 3), [], []
    made = multiply(
        demos, "x.npz", config, 10, on_episode=lambda *each: tried.append(each[1].success), note=lines.append
    )
    assert len(made.starts) == 10 and made.success.all()
    np.testing.assert_array_equal(made.rows[: len(demos)], demos.rows)
    assert sum(tried) / len(tried) >= 0.7, "most of what is moved succeeds"
    assert lines == [f"{sum(tried)} of {len(tried)} moved episodes succeeded ({sum(tried) / len(tried):.0%})"]
    offset = 6 if config.kwargs.get("goal_conditioned") else 0
    where = made.observation[made.starts][:, offset + 14 : offset + 16]
    assert len(np.unique(where.round(3), axis=0)) == 10, "every object lies elsewhere"
    ended = made.schema.ended(made.rows)
    assert ended[made.ends - 1].all() and ended.sum() == 10
    again = multiply(demos, "x.npz", config, 10)
    np.testing.assert_array_equal(again.rows, made.rows)


def test_ctrl_c_keeps_what_has_been_moved():
    config = task("SawyerGrasp-v0")
    demos, successes = record(config, "expert", 3), []

    def interrupt(index: int, episode: Episode) -> None:
        if sum(successes) == 2:
            raise KeyboardInterrupt
        successes.append(episode.success)

    with pytest.raises(RecordingInterrupted) as interrupted:
        multiply(demos, "x.npz", config, 10, on_episode=interrupt)
    made = interrupted.value.demos
    assert len(made.starts) == 5 and made.success.all()
    np.testing.assert_array_equal(made.rows, multiply(demos, "x.npz", config, 5).rows)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (task("Reach-v0"), "for Grasp, Lift and PickAndPlace, not for ReachEnv"),
        (task("Clutter-v0"), "not for ClutterEnv"),
        (task("SawyerLift-v0", observation="book"), "do not tell where the tool is"),
    ],
)
def test_what_cannot_be_moved_is_told(config, reason):
    demos = record(config, "random", 1)
    demos = Transitions(demos.schema, demos.rows, demos.starts, np.array([True]))
    with pytest.raises(ConfigError, match=reason):
        multiply(demos, "x.npz", config, 4)


def test_demonstrations_without_a_grasp_are_told():
    config = task("SawyerLift-v0")
    demos = record(config, "random", 2)
    with pytest.raises(
        ConfigError, match=r"x\.npz has no episode to be moved: none of its episodes succeeds"
    ):
        multiply(demos, "x.npz", config, 4)
    unknown = Transitions(demos.schema, demos.rows, demos.starts)
    with pytest.raises(ConfigError, match="nothing is grasped in it"):
        multiply(unknown, "x.npz", config, 4)


def test_to_fewer_than_there_are_is_told():
    config = task("SawyerGrasp-v0")
    with pytest.raises(ConfigError, match=r"--to is 2, and x\.npz has 2 episodes"):
        multiply(record(config, "expert", 2), "x.npz", config, 2)


def some(lengths=(4, 3, 5), success=(True, False, True)) -> Transitions:
    count = sum(lengths)
    ends = np.cumsum(lengths) - 1
    numbers = np.arange(count, dtype=np.float32)[:, None]
    terminated = np.isin(np.arange(count), ends)
    return Transitions.of_arrays(
        {
            "observation": numbers,
            "action": 0 * numbers,
            "reward": numbers[:, 0],
            "next_observation": numbers + 1,
            "terminated": terminated,
            "truncated": 0 * terminated,
        },
        success=np.array(success),
    )


@pytest.mark.parametrize(
    ("keep", "drop", "rewards"),
    [
        ("success", None, [0, 1, 2, 3, 7, 8, 9, 10, 11]),
        ("2,0", None, [7, 8, 9, 10, 11, 0, 1, 2, 3]),
        ("0-1", "0", [4, 5, 6]),
        (None, "1-2", [0, 1, 2, 3]),
    ],
)
def test_episodes_are_chosen(keep, drop, rewards):
    demos = edited(some(), keep, drop, None)
    assert demos.reward.tolist() == rewards
    assert demos.schema.ended(demos.rows)[demos.ends - 1].all()


@pytest.mark.parametrize(
    ("trim", "rewards", "truncated", "success"),
    [
        ("1:", [1, 2, 3, 5, 6, 8, 9, 10, 11], [0, 0, 0], [True, False, True]),
        (":2", [0, 1, 4, 5, 7, 8], [1, 1, 1], [False, False, False]),
        ("1:-1", [1, 2, 5, 8, 9, 10], [1, 1, 1], [False, False, False]),
        (":4", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [0, 0, 1], [True, False, False]),
    ],
)
def test_episodes_are_cut(trim, rewards, truncated, success):
    demos = edited(some(), None, None, trim)
    assert demos.reward.tolist() == rewards
    assert demos.truncated[demos.ends - 1].tolist() == truncated
    assert demos.success.tolist() == success
    assert demos.schema.ended(demos.rows).sum() == 3


@pytest.mark.parametrize(
    ("keep", "drop", "trim", "reason"),
    [
        ("3", None, None, "--keep 3: 3 is not among the 3 episodes, 0 to 2"),
        ("a", None, None, "give numbers of episodes"),
        (None, "2-1", None, "2-1 is not among"),
        (None, "0-2", None, "no episode is left"),
        (None, None, "3", "give steps as A:B"),
        (None, None, "x:", "give steps as A:B"),
        (None, None, "3:", "leaves nothing of an episode of 3 steps"),
    ],
)
def test_a_wrong_choice_is_told(keep, drop, trim, reason):
    with pytest.raises(ConfigError, match=reason):
        edited(some(), keep, drop, trim)


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files.write(record(task("SawyerGrasp-v0"), "expert", 3), "few.npz")
    assert cli.main(["--multiply-demos", "few.npz", "--to", "6", "--out", "more.npz"]) == 0
    assert "moved episodes succeeded" in capsys.readouterr().out
    assert cli.main(["--edit-demos", "more.npz", "--drop", "0-2", "--out", "new.npz"]) == 0
    assert "new.npz: 3 episodes with" in capsys.readouterr().out
    demos = files.read("new.npz")
    assert len(demos.starts) == 3 and demos.source["policy"] == "moved from 3"
    for arguments in (
        ["--multiply-demos", "few.npz", "--out", "x.npz"],
        ["--multiply-demos", "few.npz", "--to", "9", "--out", "more.npz"],
        ["--edit-demos", "few.npz", "--out", "x.npz"],
        ["--edit-demos", "few.npz", "--keep", "9", "--out", "x.npz"],
        ["--edit-demos", "none.npz", "--keep", "0", "--out", "x.npz"],
    ):
        assert cli.main(arguments) == 2
        captured = capsys.readouterr()
        assert len(captured.err.strip().splitlines()) == 1, captured.err
    assert not (tmp_path / "x.npz").exists()


def test_the_path_lies_around_the_object_as_it_lay_around_the_source():
    config = task("PickAndPlace-v0")
    env = make_env(config)
    demos = record(config, "expert", 1)
    observations = np.append(demos.observation, demos.next_observation[-1:], axis=0)
    path = path_of(env, observations, demos.action)
    assert 0 < path.grasp <= path.held < len(demos)
    np.testing.assert_allclose(path.tool[path.held], path.thing, atol=0.02)
    turns = []
    for seed in range(20):
        env.reset(seed=seed)
        at, mover = env.unwrapped.readings, Moved(env, path)
        points, grasp = mover._points, path.grasp
        np.testing.assert_allclose(points[0], at.tool_position, atol=1e-6)
        exact = path.tool[grasp - 5 : grasp + 1] - path.thing
        moved = points[grasp - 5 : grasp + 1] - at.object_position
        np.testing.assert_allclose(np.linalg.norm(moved, axis=1), np.linalg.norm(exact, axis=1), atol=1e-6)
        in_hand = points[path.held] - at.object_position
        in_hand_then = path.tool[path.held] - path.thing
        left = points[-1] - in_hand - env.unwrapped.goal
        left_then = path.tool[-1] - in_hand_then - path.goal
        np.testing.assert_allclose(left, left_then, atol=1e-6)
        fingers = np.arctan2(at.tool_rotation[1, 1], at.tool_rotation[0, 1])
        turns.append(mover._turns[0] - fingers)
    assert np.abs(turns).max() <= np.pi / 4 + 1e-6, "the nearest side"
    env.close()


def test_pictures_are_cut_with_their_transitions():
    schema = Schema((Field("camera", (2, 2, 1), "uint8"), Field("state", (1,))), 1)
    rows = np.zeros((7, schema.row_width), np.float32)
    rows[:, schema.columns["observation"]] = np.array([[0, 1, 2, 10, 11, 12, 13]]).T
    rows[[2, 6], schema.columns["truncated"]] = 1.0
    frames = np.repeat(np.array([0, 1, 2, 3, 10, 11, 12, 13, 14], np.uint8)[:, None], schema.frame_size, 1)
    cut = edited(Transitions(schema, rows, np.array([0, 3]), frames=frames), None, None, "1:3")
    assert cut.observation[:, 0].tolist() == [1, 2, 11, 12] and cut.starts.tolist() == [0, 2]
    assert cut.frames[:, 0].tolist() == [1, 2, 3, 11, 12, 13]


def test_the_reward_becomes_that_of_the_sparse_task(tmp_path):
    config = task("SawyerLift-v0")
    sparse = record(EnvConfig(config.id, {**config.kwargs, "reward": "sparse"}), "expert", 2)
    demos = record(config, "expert", 2)
    assert not np.array_equal(demos.reward, sparse.reward)
    files.write(demos, tmp_path / "x.npz")
    flags = ["--edit-demos", str(tmp_path / "x.npz"), "--out", str(tmp_path / "y.npz")]
    assert cli.main([*flags, "--reward", "sparse"]) == 0
    changed = files.read(tmp_path / "y.npz")
    np.testing.assert_array_equal(changed.rows, sparse.rows)
    assert recorded_env(changed).kwargs["reward"] == "sparse"


@pytest.mark.parametrize(
    ("env", "reward", "reason"),
    [("SawyerLift-v0", "dense", "sparse alone"), ("Pendulum-v1", "sparse", "arm tasks without goals")],
)
def test_other_rewards_are_refused(env, reward, reason, tmp_path, capsys):
    demos = record(EnvConfig(env), "random", 1, only_success=False)
    files.write(demos, tmp_path / "x.npz")
    flags = ["--edit-demos", str(tmp_path / "x.npz"), "--out", str(tmp_path / "y.npz")]
    assert cli.main([*flags, "--reward", reward]) == 2
    assert reason in capsys.readouterr().err
