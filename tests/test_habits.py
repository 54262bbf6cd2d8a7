"""Environments with habits: complaints to other trainers, each tried on this one."""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from agents import SCHEMA, SMALL, flat, make_batch
from gymnasium.spaces import Box, Dict, Discrete
from test_engine import config
from toy_envs import Point

from sac_dist.acting.environment import close, make_env
from sac_dist.acting.episode import Episode, NoPicture, Play, run_episode
from sac_dist.acting.failures import reason
from sac_dist.acting.interface import check_interface
from sac_dist.acting.recording import record
from sac_dist.algorithms.agent import SACAgent
from sac_dist.engine import train as engine
from sac_dist.engine.ends import ALIKE, EndWatch
from sac_dist.settings import ConfigError, DataConfig, EnvConfig

pytestmark = pytest.mark.timeout(60)


class Habit(Point):
    """A Point that can be given a habit by overriding one method."""


def refusal(function: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What it does to the actions that it is given (mees/calvin#29, rlworkgroup/garage#273)


class ScalesInPlace(Habit):
    def step(self, action: np.ndarray) -> Any:
        result = super().step(action)
        action *= 0.0
        return result


def test_an_action_that_the_environment_changes_is_stored_as_it_was_chosen():
    play, action = Play(make_env(EnvConfig(ScalesInPlace)), 0), np.full(2, 0.5, np.float32)
    play.step(action)
    assert action.tolist() == [0.5, 0.5]


# Actions of another shape (DLR-RM/stable-baselines3#971, d3rlpy#282)


class Matrix(Habit):
    action_space = Box(-2, 2, (2, 1), np.float32)

    def step(self, action: np.ndarray) -> Any:
        self.taken = action
        return super().step(action[:, 0])


class Single(Habit):
    action_space = Box(0, 4, (), np.float64)  # type: ignore[arg-type]

    def step(self, action: np.ndarray) -> Any:
        self.taken = action
        return super().step(np.array([float(action), 0]))


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(("kind", "action", "taken"), [(Matrix, [0.5, -1], [[1], [-2]]), (Single, [0.5], 3)])
def test_an_array_or_a_single_number_of_actions_is_a_vector_to_the_policy(kind, action, taken):
    env = make_env(EnvConfig(kind))
    assert env.action_space.shape == (len(action),) and env.action_space.low.tolist() == [-1] * len(action)
    env.reset()
    env.step(np.array(action, np.float32))
    bare = env.unwrapped
    assert np.array_equal(bare.taken, taken) and bare.action_space.contains(bare.taken)


# A wrapper that the environment cannot do without (stable-baselines3#2241; Meta-World's choose the task)


class Steps(Habit):
    action_space = Discrete(3)  # type: ignore[assignment]

    def step(self, action: Any) -> Any:
        assert action in (0, 1, 2)
        return super().step(np.array([action - 1, 0]))


class BoxOverDiscrete(gymnasium.ActionWrapper):
    def __init__(self) -> None:
        super().__init__(Steps())
        self.action_space = Box(-1, 1, (1,), np.float32)

    def action(self, action: np.ndarray) -> int:
        return round(float(action[0])) + 1


class NeedsTask(Habit):
    task = None

    def reset(self, **arguments: Any) -> Any:
        assert self.task is not None
        return super().reset(**arguments)


class ChoosesTask(gymnasium.Wrapper):
    def __init__(self) -> None:
        super().__init__(NeedsTask())

    def reset(self, **arguments: Any) -> Any:
        self.unwrapped.task = 1  # type: ignore[attr-defined]
        return super().reset(**arguments)


@pytest.mark.parametrize("kind", [BoxOverDiscrete, ChoosesTask])
def test_an_environment_may_need_its_wrappers(kind):
    check_interface(make_env(EnvConfig(kind)), "X")


def test_an_assertion_without_words_says_what_it_asserts(tmp_path, monkeypatch):
    (tmp_path / "asserts.py").write_text("def reset(task=None):\n    assert task is not None\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AssertionError) as caught:
        importlib.import_module("asserts").reset()
    assert reason(caught.value).startswith("AssertionError: assert task is not None (")


# A suite that fails under this machine's mujoco (robosuite#814; docs/suites.md)


@pytest.mark.parametrize(("package", "mujoco"), [("robosuite", "3.3.7"), ("dm_control", "3.17.0")])
def test_the_mujoco_that_a_suite_works_with_is_named(package, mujoco, tmp_path, monkeypatch):
    (tmp_path / package).mkdir()
    (tmp_path / package / "binding.py").write_text("def make():\n    return object().flex_vertedge\n")
    spec = importlib.util.spec_from_file_location("binding", tmp_path / package / "binding.py")
    assert spec is not None and spec.loader is not None
    binding = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(binding)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "4.0.0")
    with pytest.raises(AttributeError) as caught:
        binding.make()
    line = reason(caught.value)
    assert f"{package}/binding.py:2); {package} " in line
    assert line.endswith(f"works with mujoco {mujoco}, this is 4.0.0: pip install mujoco=={mujoco}")


# Spaces that are missing or another package's (Gymnasium#648, stable-baselines3#1714)


class WithoutSpaces(gymnasium.Env):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.zeros(1), {}


class Foreign:
    pass


def test_a_space_that_is_missing_or_of_another_package_is_named():
    assert "has no observation_space: its constructor has to set" in refusal(
        make_env, EnvConfig(WithoutSpaces)
    )
    kind = type("Old", (Habit,), {"action_space": Foreign()})
    assert "has the test_habits.Foreign as its action_space" in refusal(make_env, EnvConfig(kind))


# Parts of an observation that are not those of its space (stable-baselines3#944)


class Parts(Habit):
    observation_space = Dict(a=Box(-9, 9, (2,)), b=Box(-9, 9, (1,)))  # type: ignore[assignment]
    given: ClassVar[dict[str, Any]] = {}

    def step(self, action: np.ndarray) -> Any:
        return self.given, *super().step(action)[1:]

    def reset(self, **arguments: Any) -> Any:
        super().reset(**arguments)
        return {"a": np.zeros(2), "b": np.zeros(1)}, {}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"a": np.zeros(2), "c": np.zeros(1)},
            "Parts: the observation has no b, as its space has; it has a, c",
        ),
        ({"a": np.zeros(3), "b": np.zeros(0)}, "Parts: the observation's a has 3 numbers, in its space 2"),
        (np.zeros(3), "Parts: the observation has no a, as its space has; it has a ndarray"),
    ],
)
def test_parts_that_only_add_up_to_the_right_size_are_refused(given, words):
    kind = type("Parts", (Parts,), {"given": given})
    assert refusal(Play(make_env(EnvConfig(kind)), 0).step, np.zeros(2, np.float32)) == words


# Pictures (ManiSkill#399: tensors of a batch of one; openai/gym#3040: lists of frames)

PICTURE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


class Paints(Habit):
    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}  # type: ignore[misc]

    def __init__(self, picture: Any, render_mode: str | None = None) -> None:
        self.picture, self.render_mode = picture, render_mode

    def render(self) -> Any:
        return self.picture


def painted(picture: Any) -> np.ndarray:
    frames: list[np.ndarray] = []
    env = make_env(EnvConfig(Paints, {"picture": picture}, horizon=1), "rgb_array")
    run_episode(env, lambda observation: np.zeros(2, np.float32), 0, frames.append)
    return frames[0]


@pytest.mark.parametrize(
    "picture",
    [
        PICTURE,
        [PICTURE * 0, PICTURE],
        PICTURE[None],
        torch.from_numpy(PICTURE)[None],
        np.concatenate([PICTURE, PICTURE[..., :1]], axis=2),
    ],
)
def test_the_picture_is_found_in_what_render_returns(picture):
    assert np.array_equal(painted(picture), PICTURE)


@pytest.mark.parametrize(
    ("picture", "words"), [(None, "draws None"), (PICTURE / 255, "draws float64 arrays")]
)
def test_what_is_no_picture_is_said(picture, words):
    with pytest.raises(NoPicture, match=words):
        painted(picture)


# Closing that fails (Metaworld#20; sys.exit in mujoco's window: openai/gym#2930)


class CannotClose(Habit):
    def close(self) -> None:
        raise AttributeError("no attribute finish")


def test_a_close_that_fails_undoes_nothing():
    assert "no attribute finish" in str(close(CannotClose()))
    notes = engine._start_once(EnvConfig(CannotClose, horizon=5), DataConfig(), None, 1).notes
    assert ["CannotClose" in note and "close fails" in note for note in notes] == [True]
    assert len(record(EnvConfig(CannotClose, horizon=5), "random", 1)) == 5


# Defaults of torch that it changes (stable-baselines3#675: "expected Float but found Double")


BATCHES = [make_batch(seed=seed) for seed in range(3)]


@pytest.fixture
def float64_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def trained() -> tuple[list[torch.Tensor], np.ndarray]:
    agent = SACAgent(SCHEMA, SMALL)
    for batch in BATCHES:
        agent.update(batch)
    return flat(agent), agent.act(np.ones(5, np.float32))


def test_an_agent_does_not_depend_on_torchs_default_type(float64_by_default):
    got, action = trained()
    torch.set_default_dtype(torch.float32)
    wanted, same_action = trained()
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    assert np.array_equal(action, same_action)


# A limit of time that is returned as an end (Metaworld#236; robosuite's GymWrapper does it)


def ends(*episodes: tuple[int, bool, bool | None]) -> list[str]:
    watch = EndWatch()
    played = [Episode(0.0, length, success, terminated) for length, terminated, success in episodes]
    return [line for line in map(watch.take, played) if line is not None]


def test_episodes_that_all_terminate_at_one_step_are_told_of_once():
    (line,) = ends(*[(50, True, None)] * 3 * ALIKE)
    assert "after 50 steps" in line and "--horizon 49" in line


@pytest.mark.parametrize("other", [(50, False, None), (49, True, None), (50, True, True)])
def test_an_episode_that_ends_otherwise_settles_it(other):
    assert ends(*[(50, True, None)] * (ALIKE - 1), other, *[(50, True, None)] * 3 * ALIKE) == []
    assert ends(*[(1, True, None)] * 3 * ALIKE) == [], "tasks of one step do end"


# A module that reads the command line while it is imported


def test_a_module_that_ends_the_program_is_told_what_to_change(tmp_path, monkeypatch):
    (tmp_path / "reads_arguments.py").write_text(
        "import argparse\nargparse.ArgumentParser().parse_args(['--x'])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    line = refusal(make_env, EnvConfig("reads_arguments:X-v0"))
    assert "reads_arguments ends the program while it is imported: SystemExit: 2 (" in line
    assert "reads_arguments.py:2)" in line and "__main__" in line


# Processes of its own (pytorch/rl#3198, minerl#378: "daemonic processes are not allowed to have children")


class StartsProcess(Habit):
    def __init__(self) -> None:
        self.helper = multiprocessing.get_context("fork").Process(target=os.getpid)
        self.helper.start()
        self.helper.join()


@pytest.mark.slow
def test_an_environment_may_start_processes(tmp_path):
    schema = engine._try_environment(config(tmp_path, "test_habits:StartsProcess-v0")).schema
    assert schema.observation_size == 2


# Another working folder


class ChangesFolder(Habit):
    def __init__(self) -> None:
        os.chdir("/")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_environment_may_change_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = engine.train(
        config(
            tmp_path,
            "test_habits:ChangesFolder-v0",
            steps=60,
            eval_interval=30,
            eval_episodes=1,
            run_dir="here",
        ),
        quiet=True,
    )
    assert (
        run.outcome.evaluation is not None and (Path("here") / "checkpoints" / "best.safetensors").is_file()
    )


for kind in (StartsProcess, ChangesFolder):
    gymnasium.register(f"{kind.__name__}-v0", entry_point=kind)
