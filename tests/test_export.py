"""Exported policies act as the trainer's do: every format, network, space, and what is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from policies import exported, untrained
from robot_files import write_arm

import sac_dist
from sac_dist.acting.environment import as_vectors, make_own_env
from sac_dist.acting.evaluation import evaluation_seed
from sac_dist.acting.playback import find_policy, play
from sac_dist.algorithms.sac import AVERAGE
from sac_dist.cli.main import main
from sac_dist.exporting import export as exporting
from sac_dist.exporting.check import TOLERANCE, Differences
from sac_dist.exporting.export import export
from sac_dist.exporting.torch_file import DESCRIPTION_FILE
from sac_dist.exporting.trace import Trace, TracedOperations
from sac_dist.networks.blocks import Block, Linear
from sac_dist.networks.network import Network
from sac_dist.runner import Loop, ObservationError, Policy
from sac_dist.runner.replay import replay, seen_by_policy
from sac_dist.settings import ConfigError, EnvConfig
from sac_dist.system.files import models_dir

pytestmark = pytest.mark.timeout(120)
POLICIES = sorted(models_dir().glob("*.safetensors"))
GOAL = EnvConfig("Push-v0", {"backend": "mujoco", "goal_conditioned": True})


def steps_together(policy: Policy, checkpoint, episodes: int) -> float:
    """The largest difference between the file's and the trainer's actions, in the unit of the environment's
    action, over episodes that the file plays in the environment as it is.
    """
    agent, largest = checkpoint.build_agent(), 0.0
    inner, own = make_own_env(checkpoint.config.env), make_own_env(checkpoint.config.env)
    trained = as_vectors(inner, "it", checkpoint.config.env.frame_stack)
    for index in range(episodes):
        seen, _ = trained.reset(seed=evaluation_seed(index))
        observation, _ = own.reset(seed=evaluation_seed(index))
        policy.begin()
        over = False
        while not over:
            action, expected = policy(seen_by_policy(observation)), agent.act(seen, deterministic=True)
            layer = trained
            while layer is not inner:
                expected = layer.action(expected) if hasattr(layer, "action") else expected
                layer = layer.env
            assert action.dtype == own.action_space.dtype and own.action_space.contains(action)
            largest = max(largest, float(np.abs(action - expected).max()))
            observation, _, terminated, truncated, _ = own.step(action)
            seen, *_ = trained.step(agent.act(seen, deterministic=True))
            over = terminated or truncated
    return largest


@pytest.mark.parametrize("suffix", ["npz", "onnx"])
@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_a_shipped_policy_acts_from_its_file_as_in_the_trainer(
    path: Path, suffix: str, tmp_path: Path
) -> None:
    checkpoint = find_policy(path, "auto")[1]
    written = export(checkpoint, tmp_path / f"p.{suffix}", str(path))
    policy = Policy.load(tmp_path / f"p.{suffix}")
    episodes = 3 if "Sawyer" in path.stem else 1
    assert steps_together(policy, checkpoint, episodes) <= TOLERANCE * float(policy.card.action.high.max())
    assert written.differences.small and policy.card.parts["measured"] == checkpoint.info["evaluation"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("suffix", ["npz", "onnx"])
@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_a_shipped_policy_succeeds_from_its_file_as_in_the_trainer(
    path: Path, suffix: str, tmp_path: Path
) -> None:
    checkpoint = find_policy(path, "auto")[1]
    export(checkpoint, tmp_path / f"p.{suffix}")
    episodes = 200 if "Sawyer" in path.stem else 50
    found = replay(Policy.load(tmp_path / f"p.{suffix}"), EnvConfig(), episodes)
    expected = play(checkpoint, EnvConfig(), episodes)
    assert found.success_rate == expected.success_rate
    np.testing.assert_allclose(found.mean_return, expected.mean_return, rtol=0.01)


@pytest.mark.parametrize(
    "network",
    ["mlp", "crossq", *(pytest.param(each, marks=pytest.mark.slow) for each in ("simba", "xqc", "flashsac"))],
)
def test_every_network_in_an_environment_with_a_goal(network: str, tmp_path: Path) -> None:
    checkpoint = untrained("toy_goals:Goal-v0", network=network, normalize_observations=True)
    found = export(checkpoint, tmp_path / "p.onnx").differences
    assert 0 < found.largest <= TOLERANCE and found.rounding > 0
    assert export(checkpoint, tmp_path / "p.npz").differences.largest == 0, "numpy computes the same bits"
    policy = Policy.load(tmp_path / "p.onnx")
    assert [field.name for field in policy.card.fields] == ["achieved_goal", "desired_goal", "observation"]
    assert policy.card.fields[0].dtype == np.float64
    assert steps_together(policy, checkpoint, 2) <= TOLERANCE


@pytest.mark.parametrize("suffix", ["npz", "onnx", pytest.param("pt2", marks=pytest.mark.slow)])
def test_every_kind_of_space_in_its_own_shape_dtype_and_range(suffix: str, tmp_path: Path) -> None:
    checkpoint = untrained("toy_spaces:Odd-v0", normalize_observations=True)
    found = export(checkpoint, tmp_path / f"p.{suffix}")
    assert found.differences.largest <= TOLERANCE
    names = ["both", "flags", "gear", "inner/x", "inner/y", "level", "pair/0", "pair/1", "sonar/left", "zoo"]
    assert [field.name for field in found.card.fields] == names and found.card.control_period == 0.04
    if suffix != "pt2":
        policy = Policy.load(tmp_path / f"p.{suffix}")
        assert steps_together(policy, checkpoint, 5) <= TOLERANCE * 500  # half of the widest range


@pytest.mark.parametrize("suffix", ["npz", "onnx", pytest.param("pt2", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("env", "stack"),
    [
        ("Told", 2),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("Painted", 3), ("Photographed", None))),
    ],
)
def test_pictures_stacks_of_them_and_what_is_privileged(
    env: str, stack: int | None, suffix: str, tmp_path: Path
) -> None:
    config = EnvConfig(f"toy_envs:{env}-v0", frame_stack=stack)
    checkpoint = untrained(config, normalize_observations=True)
    found = export(checkpoint, tmp_path / f"p.{suffix}")
    assert found.differences.largest <= TOLERANCE
    names = {"Painted": ["gone", "picture"], "Photographed": ["picture"], "Told": ["gone", "picture"]}
    assert [field.name for field in found.card.fields] == names[env]
    picture = found.card.fields[-1]
    assert picture.dtype == np.uint8 and picture.stack == (stack or 1)
    if suffix == "pt2":
        return
    policy = Policy.load(tmp_path / f"p.{suffix}")
    assert steps_together(policy, checkpoint, 3) <= TOLERANCE
    assert len(replay(policy, EnvConfig(), 1).returns) == 1


def test_a_picture_alone_is_the_newest_of_a_stack(tmp_path: Path) -> None:
    config = EnvConfig("toy_envs:Photographed-v0", frame_stack=3)
    export(untrained(config), tmp_path / "p.npz")
    policy, frames = Policy.load(tmp_path / "p.npz"), np.random.default_rng(0).integers(0, 256, (4, 16, 16))
    frames = frames.astype(np.uint8)
    alone = [policy(frame) for frame in frames]
    assert (alone[0] == policy(frames[[0, 0, 0]])).all() and (alone[3] == policy(frames[1:])).all()
    policy.begin()
    assert (policy(frames[0]) == alone[0]).all() and (alone[0] != alone[1]).any()
    with pytest.raises(ObservationError):
        policy(np.full((16, 16), np.nan))
    assert (policy(frames[1]) == policy(frames[[0, 0, 1]])).all(), "what was refused is forgotten"


def test_wrappers_of_the_environment_itself_stay_its_own(tmp_path: Path) -> None:
    checkpoint = untrained("toy_spaces:Wrapped-v0")
    assert export(checkpoint, tmp_path / "p.npz").differences.largest <= TOLERANCE
    policy = Policy.load(tmp_path / "p.npz")
    assert (policy.card.action.low == np.float32(-0.1)).all() and policy.card.fields[0].high.tolist() == [
        1,
        1,
    ]
    assert steps_together(policy, checkpoint, 3) <= TOLERANCE


def test_an_action_never_leaves_its_range(tmp_path: Path) -> None:
    for suffix in ("npz", "onnx"):
        policy = Policy.load(exported(tmp_path, "toy_spaces:Odd-v0", suffix))
        observation, action = policy.card.random(np.random.default_rng(0)), policy.card.action
        for noise, end in ((1e20, action.high), (-1e20, action.low)):
            found = policy(observation, np.full(4, noise))
            np.testing.assert_allclose(found, end, rtol=1e-6)
            assert (found >= action.low).all() and (found <= action.high).all()


def test_a_loop_grasps(tmp_path: Path) -> None:
    """The runner's loop in place of the trainer's, on the robot in simulation."""
    export(find_policy(models_dir() / "SawyerGrasp-v0.safetensors", "auto")[1], tmp_path / "p.npz")
    policy, sent, ends = Policy.load(tmp_path / "p.npz"), [], []
    env = make_own_env(EnvConfig("SawyerGrasp-v0", {"backend": "mujoco"}))
    seen = [env.reset(seed=evaluation_seed(0))[0]]

    def send(action: np.ndarray) -> None:
        sent.append(action)
        if not ends:
            observation, _, terminated, _, info = env.step(action)
            seen.append(observation)
            if terminated:
                ends.append(info["success"])
                loop.stop()

    loop = Loop(policy, lambda: seen[-1], send, period=0.005, patience=5.0)
    assert loop.run(60) < 60 and ends == [True]
    assert (sent[-1] == 0).all() and np.abs(sent[-2]).max() > 0, "the stop, after the last action"


def test_samples_are_by_noise_about_the_average(tmp_path: Path) -> None:
    checkpoint = untrained("toy_envs:Point-v0")
    agent = checkpoint.build_agent()
    act = agent.policy.actor(agent.tensors.copies[AVERAGE])
    observation, noise = np.array([1.0, -2.0], np.float32), np.array([0.5, -1.5], np.float32)
    for suffix in ("npz", "onnx"):
        export(checkpoint, tmp_path / f"p.{suffix}")
        policy = Policy.load(tmp_path / f"p.{suffix}")
        np.testing.assert_allclose(policy(observation, noise), act(observation, noise), atol=1e-6)
        assert (policy(observation, np.zeros(2)) == policy(observation)).all()
        assert np.abs(policy(observation, noise) - policy(observation)).max() > 0.01


def test_another_runtime_of_onnx_acts_alike(tmp_path: Path) -> None:
    path = exported(tmp_path, "toy_spaces:Odd-v0", "onnx")
    policy, other = Policy.load(path), ReferenceEvaluator(str(path))
    generator = np.random.default_rng(0)
    for _ in range(5):
        observation, noise = policy.card.random(generator), generator.standard_normal(4).astype(np.float32)
        (found,) = other.run(None, {**policy.card.arrays(observation), "noise": noise})
        np.testing.assert_allclose(found, policy(observation, noise), rtol=1e-5, atol=1e-5)
    assert onnx.load(path).opset_import[0].version == 18


@pytest.mark.slow
def test_a_pt2_file_is_for_torch_alone(tmp_path: Path) -> None:
    path = exported(tmp_path, "toy_goals:Goal-v0", "pt2", network="flashsac")
    exported(tmp_path, "toy_goals:Goal-v0", "npz", network="flashsac")
    names = {DESCRIPTION_FILE: ""}
    module = torch.export.load(path, extra_files=names).module()
    policy = Policy.load(tmp_path / "policy.npz")
    assert json.loads(names[DESCRIPTION_FILE])["observation"] == policy.card.parts["observation"]
    observation = policy.card.random(np.random.default_rng(5))
    tensors = {name: torch.from_numpy(array) for name, array in observation.items()}
    np.testing.assert_allclose(module(tensors, torch.zeros(2)).numpy(), policy(observation), atol=1e-6)
    with pytest.raises(ConfigError, match=r"policy.pt2 is for torch.export.load"):
        Policy.load(path)


def test_a_file_says_what_an_arm_observes_and_does(tmp_path: Path) -> None:
    card = export(untrained(GOAL), tmp_path / "p.npz", "runs/7").card
    parts = json.loads(json.dumps(Policy.load(tmp_path / "p.npz").card.parts))
    observed = {part["name"]: part for part in parts["observation"]}
    entries = observed["observation"]["entries"]
    assert sum(entry["size"] for entry in entries) == observed["observation"]["shape"][0]
    assert {"meaning", "unit", "size"} == set(entries[0]) and observed["desired_goal"]["high"] == 2.0
    action = parts["action"]
    assert sum(entry["size"] for entry in action["entries"]) == 7 and action["control"] == "joint_velocity"
    assert action["stop"] == [0.0] * 7 and action["held"] == [], "Push has no gripper to close"
    assert parts["robot"]["name"] == "sawyer" and parts["robot"]["joint_speeds_rad_per_s"] == [1.0] * 7
    assert parts["control_period"] == card.control_period == 0.05
    assert parts["environment"]["env"] == "Push-v0" and parts["environment"]["env_kwargs"]["goal_conditioned"]
    assert parts["training"]["policy"] == "runs/7" and parts["training"]["steps"] == 7
    assert parts["training"]["settings"]["agent"]["hidden_width"] == 16
    assert parts["measured"] == "success 3/4" and parts["sac_dist"] == sac_dist.__version__


def test_a_robot_of_ones_own_has_its_card_in_the_file(tmp_path: Path) -> None:
    env = EnvConfig("Lift-v0", {"backend": "mujoco", "robot": write_arm(tmp_path)})
    export(untrained(env), tmp_path / "p.npz")
    policy = Policy.load(tmp_path / "p.npz")
    robot = json.loads(json.dumps(policy.card.parts))["robot"]
    assert len(robot["arm_joints"]) == len(robot["joint_speeds_rad_per_s"]) == 6 and robot["size"] > 0
    assert policy.card.action.held == (6,) and len(replay(policy, EnvConfig(), 1).returns) == 1


def test_a_gripper_goes_on_holding_in_a_stop(tmp_path: Path) -> None:
    card = export(untrained(EnvConfig("Lift-v0", {"backend": "mujoco"})), tmp_path / "p.npz").card
    assert card.action.held == (7,) and card.action.stop is not None and card.action.stop[7] == 1.0


def test_the_file_is_not_written_if_it_acts_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.npz"

    def write_another(temporary: Path, card, program) -> None:
        constants = list(program.constants)
        constants[0] = constants[0] + np.float32(1e-3)
        exporting.write_npz(temporary, card, replace(program, constants=tuple(constants)))

    monkeypatch.setitem(exporting.WRITERS, ".npz", write_another)
    with pytest.raises(ConfigError, match=r"p.npz is not written: its actions would differ .* is allowed"):
        export(untrained("toy_envs:Point-v0"), path)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    path.write_text("demonstrations")
    with pytest.raises(ConfigError, match=r"p.npz exists: remove it or choose another name"):
        export(untrained("toy_envs:Point-v0"), path)
    assert path.read_text() == "demonstrations"


def test_rounding_excuses_little() -> None:
    assert Differences(1e-5, 0.0).small and not Differences(1.1e-5, 0.0).small
    assert Differences(8e-5, 2e-5).small and not Differences(2e-4, 1.0).small
    assert not Differences(float("nan"), 0.0).small


@dataclass(frozen=True)
class Sorted(Block):
    def bind(self, ops, parameters, name):
        return lambda x: ops.sort(x)


@dataclass(frozen=True)
class Summed(Block):
    def bind(self, ops, parameters, name):
        return lambda x: x / x.sum(-1)


@pytest.mark.parametrize(("block", "what"), [(Sorted(), r"ops\.sort"), (Summed(), r"\.sum")])
def test_a_block_that_no_file_knows_is_refused(block: Block, what: str) -> None:
    trace, network = Trace(), Network((("linear", Linear(2, 2)), ("own", block)))
    forward = network.in_numpy(torch.zeros(network.size), TracedOperations(trace))
    with pytest.raises(ConfigError, match=f"uses {what}, which an exported file does not know"):
        forward(trace.observation)


def test_constants_are_computed_once() -> None:
    trace = Trace()
    weight = np.full(2, 4.0, np.float32)
    ops = TracedOperations(trace)
    result = (trace.observation - weight) * (ops.rsqrt(weight) * weight) + 2
    program = trace.program(result)
    assert [step.operation for step in program.steps] == ["subtract", "multiply", "add"]
    assert program.compiled()(np.ones(2, np.float32), weight).tolist() == [-4.0, -4.0]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["p.h5"], "the name has to end in .npz, .onnx, .pt2"),
        (["nowhere/p.npz"], "there is no folder nowhere"),
        (["p.npz", "--steps", "3"], "--steps has no meaning with --export"),
        (["p.npz", "--env", "CartPole-v1"], "SAC needs continuous actions"),
        (["p.npz", "--env", "toy_goals:Goal-v0"], "the policy has 3 observations"),
    ],
)
def test_a_mistake_is_a_line(arguments: list[str], line: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    model = str(models_dir() / "Pendulum-v1.safetensors")
    assert main(["--export", *arguments, "--model", model]) == 2
    said = capsys.readouterr().err
    assert line in said and len(said.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_the_command_line_writes_and_says_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = models_dir() / "Pendulum-v1.safetensors"
    assert main(["--export", str(tmp_path / "p.npz"), "--model", str(model)]) == 0
    said = capsys.readouterr().out
    assert "state [3] float32 → action [1] float32" in said and "the trainer's within" in said
    assert Policy.load(tmp_path / "p.npz").card.parts["training"]["policy"] == str(model)
