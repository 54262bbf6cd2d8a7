"""Bad simulators and bad numbers: each is met, reported, kept out of replay and checkpoints, and survived
where that is possible.
"""

import csv
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sac_dist.acting.environment import make_env
from sac_dist.acting.episode import EnvironmentFault, Play, run_episode
from sac_dist.algorithms.agent import SACAgent
from sac_dist.cli import main as cli
from sac_dist.data.schema import Schema
from sac_dist.engine import guard, machine
from sac_dist.engine.control import STEPS, Control
from sac_dist.engine.divergence import Diverged, origin
from sac_dist.engine.evaluator import EvaluatorTask, NotFinite, Request, serve
from sac_dist.engine.guard import Guard, private_memory
from sac_dist.engine.outcome import TrainingFailed
from sac_dist.engine.processes import Child
from sac_dist.engine.train import train
from sac_dist.settings import AgentConfig, Config, ConfigError, EnvConfig, TrainConfig
from sac_dist.storage import checkpoint

pytestmark = pytest.mark.timeout(120)
AGENT = AgentConfig(hidden_width=16, hidden_depth=1)
HANG = 3.0  # s for --step-timeout: far more than a toy needs to start


@pytest.fixture(autouse=True)
def flag():
    Path(os.environ["TOY_FLAG"]).unlink(missing_ok=True)


def config(tmp_path: Path, env: str = "Point", agent: AgentConfig = AGENT, **settings) -> Config:
    small = {
        "workers": 1,
        "warmup_steps": 20,
        "batch_size": 16,
        "buffer_size": 5000,
        "eval_interval": 0,
        "compile": "off",
        "steps": 300,
    }
    return Config(
        EnvConfig(f"toy_envs:{env}-v0"),
        agent,
        TrainConfig(**(small | {"update_ratio": 1.0, "run_dir": str(tmp_path / "run")} | settings)),
    )


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv") as file:
        return list(csv.DictReader(file))


def assert_sound(folder: Path) -> None:
    """Nothing in the last checkpoint or the replay beside it is NaN or infinite."""
    assert all(
        bool(tensor.isfinite().all())
        for tensor in checkpoint.read(folder / "checkpoints/last.safetensors").agent.values()
    )
    assert all(np.isfinite(np.load(path)).all() for path in (folder / "replay").glob("*.npy"))


# What an environment returns


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ({"observation": np.array([0, np.nan], np.float32)}, r"observation\[1\] is nan"),
        ({"observation": np.array([-np.inf, 0], np.float32)}, r"observation\[0\] is -inf"),
        ({"observation": np.zeros(3, np.float32)}, r"observation has the shape \(3,\) instead of \(2,\)"),
        ({"observation": None}, r"observation has the shape \(\)"),
        ({"observation": ["a", "b"]}, "observation is no array of numbers"),
        ({"observation": np.array([0, -1e16], np.float32)}, r"observation\[1\] is -1e\+16, beyond 1e\+15,"),
        ({"reward": np.nan}, r"reward is nan, not a number up to 1e\+15"),
        ({"reward": -1e30}, r"reward is -1e\+30, not a number up to 1e\+15"),
        ({"reward": "1.0"}, "reward is '1.0', not a number"),
        ({"reward": None}, "reward is None"),
        ({"reward": 1j}, "reward is 1j"),
        ({"reward": np.zeros((20, 20))}, r"reward is array.*…, not"),
        ({"terminated": None}, "terminated is None, neither true nor false"),
        ({"truncated": np.array([True, False])}, "truncated is array.* neither true nor false"),
        ({"truncated": np.nan}, "truncated is nan"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_place(bad, what):
    env = make_env(EnvConfig("toy_envs:Point-v0"))
    good = {"observation": np.zeros(2, np.float32), "reward": 0.5, "terminated": False, "truncated": False}
    play = Play(env, 123)
    play.step(np.zeros(2, np.float32))
    env.unwrapped.step = lambda action: (*(good | bad).values(), {})
    with pytest.raises(
        EnvironmentFault, match=rf"^Point-v0: {what}.* after step 2 of an episode with seed 123$"
    ) as caught:
        play.step(np.zeros(2, np.float32))
    assert "\n" not in str(caught.value)


def test_a_reset_that_gives_nan_is_met_before_anyone_acts():
    env = make_env(EnvConfig("toy_envs:Point-v0"))
    env.unwrapped.reset = lambda **_: (np.array([np.nan, 0], np.float32), {})
    with pytest.raises(EnvironmentFault, match=r"observation\[0\] is nan after the reset with seed 5"):
        run_episode(env, lambda observation: pytest.fail("acted"), 5)


def test_usual_variants_of_numbers_and_flags_are_taken():
    env = make_env(EnvConfig("toy_envs:Point-v0"))
    play = Play(env, 0)
    env.unwrapped.step = lambda action: (
        [9e14, -9e14],
        np.float64(2),
        np.bool_(False),
        1,
        {"success": np.True_},
    )
    assert play.step(np.zeros(2)) == (2.0, False, True)
    assert play.over and play.observation.dtype == np.float32
    assert (play.episode().total_reward, play.episode().success, play.episode().terminated) == (
        2.0,
        True,
        False,
    )


def test_an_environment_that_writes_into_one_array_does_not_change_earlier_observations():
    env = make_env(EnvConfig("toy_envs:Point-v0"))
    place = np.zeros(2, np.float32)

    def step(action):
        place[:] += 1
        return place, 0.0, False, False, {}

    play = Play(env, 0)
    env.unwrapped.step = step
    play.step(np.zeros(2))
    before = play.observation
    play.step(np.zeros(2))
    np.testing.assert_array_equal(before, [1, 1])


# Runs with a simulator that goes wrong once


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "line"),
    [
        ("NanObservation", "worker-0 failed:\nNanObservation-v0: observation[1] is nan after step"),
        ("HugeReward", "HugeReward-v0: reward is 1e+30, not a number up to 1e+15 after step"),
        ("WrongShape", "observation has the shape (3,) instead of (2,) after step"),
        ("Exits", "SystemExit: 0"),
        ("ExitsAtOnce", "worker-0 ended with status 0; restarting it"),
        ("Interrupts", "KeyboardInterrupt"),
        ("HangsInStep", f"worker-0 has not finished a step for {HANG:g} s: killed"),
        ("HangsInConstructor", f"worker-0 has not finished a step for {HANG:g} s: killed"),
        ("StopsItself", f"worker-0 has not finished a step for {HANG:g} s: killed"),
    ],
)
def test_a_simulator_that_goes_wrong_is_reported_and_replaced(tmp_path, capfd, env, line):
    run = train(config(tmp_path, env, step_timeout=HANG))
    assert run.outcome.reason == "steps" and run.outcome.steps >= 300
    errors = capfd.readouterr().err
    assert line in errors and errors.count("restarting it") == 1, errors
    assert_sound(run.folder.path)
    last = checkpoint.read(run.folder.last).run
    assert sum(last["replay"]["segments"][-1]["stop"]) == run.outcome.steps, (
        "what was counted, and nothing else, is in the replay"
    )


@pytest.mark.slow
def test_a_simulator_that_hangs_at_once_ends_the_start_in_a_line(tmp_path):
    with pytest.raises(ConfigError, match="starting toy_envs:HangsAtOnce-v0 did not finish in 3 s"):
        train(config(tmp_path, "HangsAtOnce", step_timeout=HANG))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "seconds", "line"),
    [
        (
            "EvaluatedNan",
            5,
            "evaluator failed:\nEvaluatedNan-v0: observation[1] is nan after step 1 of an episode with seed",
        ),
        ("EvaluatedExits", 5, "evaluator ended with status 0; restarting it"),
        ("EvaluatedHangs", 7, f"evaluator has not finished a step for {HANG:g} s: killed"),
    ],
)
def test_an_evaluator_whose_simulator_goes_wrong_is_replaced(tmp_path, capfd, env, seconds, line):
    run = train(
        config(tmp_path, env, steps=None, time=seconds, step_timeout=HANG, eval_interval=100, eval_episodes=2)
    )
    assert run.outcome.evaluation is not None and np.isfinite(run.outcome.evaluation.returns).all()
    assert line in capfd.readouterr().err


@pytest.mark.slow
def test_a_simulator_that_never_returns_numbers_is_given_up_saved_and_named(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(Child, "MAX_FAILURES", 2)
    with pytest.raises(
        TrainingFailed,
        match=r"2 times in a row; saved to .*; the last time: AlwaysNan-v0: observation\[0\] is nan after",
    ):
        train(config(tmp_path, "AlwaysNan"))
    assert_sound(tmp_path / "run")
    assert "Traceback" not in capfd.readouterr().err


def test_exit_in_the_constructor_is_no_silent_success():
    with pytest.raises(ConfigError, match="does not start: SystemExit"):
        make_env(EnvConfig("toy_envs:ExitsInConstructor-v0"))


@pytest.mark.slow
def test_a_leaking_simulator_is_replaced_before_it_takes_the_machine(tmp_path, capfd):
    if private_memory("self") is None:
        pytest.skip("no /proc")
    run = train(
        config(tmp_path, "Leaks", steps=400, worker_memory=1000)
    )  # a worker with torch holds some 300
    assert run.outcome.steps >= 400
    errors = capfd.readouterr().err
    assert "MiB of memory, the limit is 1,000: killed" in errors and "restarting it" in errors, errors


def test_a_memory_limit_is_refused_where_it_cannot_be_held(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "private_memory", lambda process: None)
    with pytest.raises(ConfigError, match="--worker-memory cannot work"):
        train(config(tmp_path, worker_memory=1000))
    assert not (tmp_path / "run").exists()


def test_private_memory_counts_what_a_process_writes_to():
    before = private_memory("self")
    if before is None:
        pytest.skip("no /proc")
    kept = np.ones(2**25)
    assert 200 < private_memory("self") - before < 400 and len(kept)
    assert private_memory(2**30) is None


# Heartbeats


def stop_child(name: str, after: float) -> None:
    """In a thread of its own: SIGSTOP to the child of this process whose name begins so, some seconds after
    it has started.
    """

    def act() -> None:
        found: list = []
        while not found:
            time.sleep(0.05)
            found = [child for child in multiprocessing.active_children() if child.name.startswith(name)]
        time.sleep(after)
        os.kill(found[0].pid, signal.SIGSTOP)

    threading.Thread(target=act, daemon=True).start()


@pytest.mark.slow
def test_an_idle_evaluator_that_is_stopped_is_replaced_and_one_that_waits_is_not(tmp_path, capfd):
    stop_child("evaluator", after=1.0)
    run = train(
        config(tmp_path, "Slow", steps=None, time=8, step_timeout=HANG, eval_interval=10**6, eval_episodes=2)
    )
    assert run.outcome.evaluation is not None
    assert capfd.readouterr().err.count(f"evaluator has not finished a step for {HANG:g} s: killed") == 1


@pytest.mark.slow
def test_a_stopped_worker_among_several_is_replaced(tmp_path, capfd):
    stop_child("worker-1", after=1.0)
    run = train(
        config(tmp_path, "Slow", workers=2, steps=None, time=7, step_timeout=HANG, checkpoint_interval=10**6)
    )
    assert run.outcome.reason == "time"
    errors = capfd.readouterr().err
    assert (
        errors.count(f"worker-1 has not finished a step for {HANG:g} s: killed") == 1
        and "worker-0" not in errors
    ), errors


@pytest.mark.slow
def test_a_stopped_manager_does_not_hold_up_the_end(tmp_path):
    stop_child("replay-manager", after=0.5)
    before = time.monotonic()
    run = train(config(tmp_path, "Slow", steps=None, time=3))
    assert run.outcome.reason == "time" and time.monotonic() - before < 60
    assert not multiprocessing.active_children()


class Clock:
    """A guard over one pretended child, at times that the test sets."""

    def __init__(self, monkeypatch, memory: int | None = None) -> None:
        self.now, self.notes = 1000.0, []
        monkeypatch.setattr(guard, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.control = Control(1)
        process = SimpleNamespace(is_alive=lambda: True, pid="self")
        self.child = SimpleNamespace(
            name="worker-0", generation=0, running=True, process=process, kill=lambda: None, last_words=""
        )
        self.guard = Guard([self.child], self.control, timeout=10, memory=memory, note=self.notes.append)

    def look(self, seconds: float, beat: bool = False, steps: float = 0.5) -> None:
        for _ in range(round(seconds / steps)):
            self.now += steps
            if beat:
                self.control.beat(0)
            self.guard.look()


def test_silence_is_counted_from_the_start_and_ended_by_any_sign_of_life(monkeypatch):
    clock = Clock(monkeypatch)
    clock.look(9)
    clock.control.count(0, STEPS)
    clock.look(9)
    clock.control.beat(0)
    clock.look(9)
    clock.child.generation += 1  # started anew
    clock.look(9)
    assert clock.notes == []
    clock.look(2)
    assert clock.notes == ["worker-0 has not finished a step for 10 s: killed"]
    assert clock.child.last_words == "has not finished a step for 10 s"


def test_a_supervisor_that_was_stopped_itself_kills_nobody(monkeypatch):
    clock = Clock(monkeypatch)
    clock.look(5)
    clock.now += 3600  # Ctrl-Z, and fg an hour later
    clock.look(3)
    assert clock.notes == []


def test_a_child_that_is_waiting_for_its_restart_is_left_alone(monkeypatch):
    clock = Clock(monkeypatch)
    clock.child.running = False
    clock.look(60)
    assert clock.notes == []


# Numbers that run away


@pytest.mark.slow
def test_a_diverging_run_ends_at_its_last_good_checkpoint_and_goes_on_with_smaller_steps(tmp_path):
    # The first update comes after two seconds, so that there are checkpoints from before it.
    settings = {"workers": 2, "steps": 5000, "warmup_steps": 400, "checkpoint_interval": 50}
    run = tmp_path / "run"
    with pytest.raises(
        TrainingFailed,
        match=rf"^training diverged at update \d+: .*; the last good .*--resume {run} --actor-lr 0.02 ",
    ):
        train(config(tmp_path, "Slow", agent=replace(AGENT, critic_lr=1e30, actor_lr=0.2), **settings))
    assert_sound(run)
    assert not all(np.isfinite(float(cell)) for cell in rows(run)[-1].values() if cell)
    before = checkpoint.read(run / "checkpoints/last.safetensors")
    assert (
        cli.main(
            [
                "--resume",
                str(run),
                "--actor-lr",
                "1e-9",
                "--critic-lr",
                "1e-4",
                "--grad-clip",
                "1",
                "--steps",
                "600",
            ]
        )
        == 0
    )
    after = checkpoint.read(run / "checkpoints/last.safetensors")
    assert (after.config.agent.actor_lr, after.config.agent.critic_lr, after.config.agent.grad_clip) == (
        1e-9,
        1e-4,
        1.0,
    )
    assert after.run["counters"][1] > before.run["counters"][1]
    for name in ("policy.linear1.weight", "critics.linear1.weight"):
        moved = float((after.agent[name] - before.agent[name]).abs().max())
        assert moved < 1e-6 if name.startswith("policy") else 1e-4 < moved < 1, (
            "the new sizes of the steps are the ones in use"
        )
    assert_sound(run)


@pytest.mark.slow
def test_the_message_shows_the_batch_and_whether_smaller_steps_would_help(tmp_path):
    pattern = (
        r"^training diverged at update \d+: critic_loss inf.*its batch: reward_min .*reward_max 1e\+12, "
        r"observation_max .*q_mean "
        r".*come from the environment.*the last good checkpoint is .*last.safetensors"
    )
    with pytest.raises(TrainingFailed, match=pattern):
        train(
            config(
                tmp_path,
                "LargeReward",
                agent=replace(AGENT, reward_scale=1e10),
                steps=2000,
                checkpoint_interval=30,
            )
        )
    assert_sound(tmp_path / "run")


@pytest.mark.slow
def test_a_run_that_diverges_at_once_says_so_and_leaves_its_row(tmp_path):
    with pytest.raises(
        TrainingFailed,
        match=r"^training diverged at update \d: .*no checkpoint had been written yet; start anew with",
    ):
        train(config(tmp_path, agent=replace(AGENT, critic_lr=1e30, actor_lr=1e30)))
    (row,) = rows(tmp_path / "run")
    assert not np.isfinite(float(row["actor_loss"])) and np.isfinite(float(row["critic_loss"])), (
        "the critics were bad only after it"
    )
    assert not (tmp_path / "run/checkpoints/last.safetensors").exists()


@pytest.mark.slow
def test_a_checkpoint_of_networks_that_are_not_finite_is_never_written(tmp_path, monkeypatch):
    copy, calls = SACAgent.state_dict, []

    def spoilt(agent):
        calls.append(agent)
        state = copy(agent)
        if len(calls) > 2:
            state["critics.exp_avg_sq.linear1.weight"][0, 0, 0] = torch.inf
        return state

    monkeypatch.setattr(SACAgent, "state_dict", spoilt)
    with pytest.raises(
        TrainingFailed,
        match=r"the networks hold NaN or infinite values; the last good checkpoint is .*--resume",
    ):
        train(config(tmp_path, "Slow", steps=1000, checkpoint_interval=40))
    assert len(calls) == 3
    assert_sound(tmp_path / "run")


def test_an_evaluator_takes_no_policy_that_is_not_finite(tmp_path):
    agent = SACAgent(Schema.vector(2, 2), AGENT)
    agent.policy_parameters[3] = torch.nan
    ours, theirs = multiprocessing.Pipe()
    task = EvaluatorTask(config(tmp_path), agent, Control(1), tmp_path / "best.safetensors", None)
    thread = threading.Thread(target=serve, args=(theirs, task), daemon=True)
    thread.start()
    for steps in (5, 10):
        ours.send(Request(steps, 1))
        assert ours.recv() == NotFinite(steps)
    ours.close()
    thread.join(20)
    assert not thread.is_alive() and not (tmp_path / "best.safetensors").exists()


def test_the_report_nearest_to_the_cause_is_shown():
    batch = {"reward_max": 1e30}
    cause = Diverged(7, {"q_mean": 0.1, "critic_loss": np.inf, "alpha": 0.1}, batch)
    follower = Diverged(7, {"q_mean": np.nan, "critic_loss": np.nan, "alpha": 0.1}, batch)
    actor = Diverged(8, {"q_mean": 0.1, "critic_loss": 0.1, "action": np.nan})
    assert origin([actor, follower, cause]) is cause


@pytest.mark.slow
def test_a_row_holds_the_size_of_gradients_and_weights(tmp_path):
    run = train(config(tmp_path))
    last = rows(run.folder.path)[-1]
    for name in ("critic_grad_norm", "actor_grad_norm", "policy_weight_norm", "critic_weight_norm"):
        assert 0 < float(last[name]) < 1e3, name
