"""Training runs with real processes: what they produce, repeat, survive and leave behind."""

import contextlib
import csv
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sac_dist.book.replay_manager import ReplayManager
from sac_dist.cli.given import parse
from sac_dist.cli.main import main
from sac_dist.engine.outcome import TargetReached, TrainingFailed
from sac_dist.engine.train import _check_unfinished, resume, train
from sac_dist.execution.compiled import compile_obstacle
from sac_dist.settings import AgentConfig, Config, ConfigError, EnvConfig, TrainConfig
from sac_dist.settings.resuming import changed
from sac_dist.storage import checkpoint
from sac_dist.system.files import replacing

pytestmark = pytest.mark.timeout(120)
AGENT = AgentConfig(hidden_width=16, hidden_depth=1)
STARTED: list[subprocess.Popen] = []  # conftest.py ends what a test that failed has left of them
OFTEN_LOGGED = (  # a program for start()
    "-c",
    "import sys, sac_dist.engine.supervisor as s; s.LOG_INTERVAL = 200; "
    "from sac_dist.cli.main import main; sys.exit(main())",
)


def config(tmp_path: Path, env: str = "toy_envs:Point-v0", **settings) -> Config:
    small = {
        "workers": 1,
        "warmup_steps": 20,
        "batch_size": 16,
        "buffer_size": 5000,
        "eval_interval": 0,
        "compile": "off",
    }
    defaults = small | {"update_ratio": 1.0, "run_dir": str(tmp_path / "run")}
    return Config(EnvConfig(env), AGENT, TrainConfig(**(defaults | settings)))


def policy_of(run) -> dict[str, torch.Tensor]:
    return checkpoint.read(run.folder.last).agent


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def shared_memory() -> set[str]:
    """The named shared memory on this machine; semaphores are other programs', as this one makes none."""
    return (
        {name for name in os.listdir("/dev/shm") if not name.startswith("sem.")}
        if os.path.isdir("/dev/shm")
        else set()
    )


def descendants(parent: int) -> list[int]:
    """Process ids below ``parent``, from /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [parent]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def role_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def start(
    tmp_path: Path,
    *flags: str,
    env: str = "toy_envs:Slow-v0",
    program: Sequence[str] = ("-m", "sac_dist"),
    **variables: str,
) -> subprocess.Popen:
    """The command line in a process of its own; its workers leave their ids in ``tmp_path/pids``."""
    pids = tmp_path / "pids"
    pids.mkdir()
    (tmp_path / "c.yaml").write_text(
        "hidden_width: 16\nwarmup_steps: 20\nupdate_ratio: 1\nbatch_size: 16\nbuffer_size: "
        "5000\neval_interval: 0\ncompile: 'off'\ntuned: false"
    )
    command = [
        sys.executable,
        *program,
        "--train",
        "--env",
        env,
        "--run-dir",
        "run",
        "--config",
        "c.yaml",
        *flags,
    ]
    variables = {**os.environ, "TOY_PIDS": str(pids), **variables}
    STARTED.append(
        subprocess.Popen(
            command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=variables, start_new_session=True
        )
    )
    return STARTED[-1]


def worker_ids(tmp_path: Path, process: subprocess.Popen, count: int) -> list[int]:
    """Process ids of the first ``count`` workers, once each has trained for a while."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        found = [int(path.name) for path in (tmp_path / "pids").iterdir() if alive(int(path.name))]
        if len(found) >= count:
            time.sleep(1.0)
            return found
        time.sleep(0.05)
    raise AssertionError("the workers did not start")


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def assert_all_gone(pids: list[int], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in pids if alive(pid)]


def test_run_folder_holds_everything_the_run_knows(tmp_path):
    run = train(config(tmp_path, steps=600, eval_interval=200, eval_episodes=3))
    folder = run.folder.path
    assert run.outcome.reason == "steps" and run.outcome.steps >= 600
    assert run.outcome.evaluation is not None and len(run.outcome.evaluation.returns) == 100
    files = "config.yaml metrics.csv reward_log.npy learning_curve.png checkpoints/last.safetensors checkpoints/best.safetensors"
    for name in files.split():
        assert (folder / name).stat().st_size > 0, name
    assert list(folder.glob("events.out.tfevents*"))
    assert len(np.load(folder / "reward_log.npy")) == run.outcome.episodes
    with open(folder / "metrics.csv") as file:
        last = list(csv.DictReader(file))[-1]
    assert int(last["step"]) == run.outcome.steps and float(last["updates"]) == run.outcome.updates
    with pytest.raises(RuntimeError), replacing(folder / "policy.safetensors") as temporary:
        temporary.touch()
        assert temporary in set(folder.rglob(".*")), "this is how a half-written file is found"
        raise RuntimeError
    assert not list(folder.rglob(".*")) and not (folder / "replay-manager.json").exists()


@pytest.mark.slow
def test_policies_are_kept_at_intervals(tmp_path):
    run = train(config(tmp_path, steps=400, keep_interval=120, env="toy_envs:Slow-v0"))
    kept = sorted(run.folder.checkpoints.glob("step-*"))
    steps = [checkpoint.read(path).info["steps"] for path in kept]
    assert [step // 120 for step in steps] == [1, 2, 3] and kept == [run.folder.kept(step) for step in steps]
    policies = [checkpoint.read(path).agent["policy.linear1.weight"] for path in kept]
    assert not torch.equal(policies[0], policies[1])


@pytest.mark.slow
def test_learns_the_toy_stops_at_the_success_target_and_says_so_when_resumed(tmp_path, capfd):
    run = train(
        config(tmp_path, workers=2, steps=20_000, success_target=0.9, eval_interval=500, eval_episodes=10)
    )
    assert run.outcome.reason == "success_target"
    assert run.outcome.steps < 20_000 and run.outcome.evaluation.success_rate >= 0.9
    folder = str(run.folder.path)
    before = run.folder.last.read_bytes()
    assert main(["--resume", folder]) == 0
    said = capfd.readouterr().err.splitlines()[-1]
    assert "has reached its success target 0.9" in said and "--no-success-target" in said
    with pytest.raises(TargetReached):
        resume(folder, quiet=True)
    assert run.folder.last.read_bytes() == before, "nothing was trained"
    saved = checkpoint.read(run.folder.last)
    parsed = parse(["--resume", folder, "--no-success-target"])
    parsed.pop("resume")
    _check_unfinished(changed(saved.config, parsed), saved, run.folder.path)


@pytest.mark.slow
def test_one_worker_with_a_seed_repeats_bit_for_bit(tmp_path):
    first = train(config(tmp_path / "a", steps=300, seed=3))
    again = train(
        config(tmp_path / "b", steps=300, seed=3, eval_interval=50, eval_episodes=2, checkpoint_interval=70)
    )
    other = train(config(tmp_path / "c", steps=300, seed=4))
    assert same(policy_of(first), policy_of(again)), "evaluations and checkpoints must not touch the run"
    assert not same(policy_of(first), policy_of(other))


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "ratio"), [(1, 1.0), (2, 1.0), (2, 0.25), (3, 2.5)])
def test_update_ratio_holds_over_all_workers(tmp_path, workers, ratio):
    run = train(config(tmp_path, workers=workers, steps=400, update_ratio=ratio, warmup_steps=100))
    assert run.outcome.updates == pytest.approx(ratio * (run.outcome.steps - 100), abs=workers * (ratio + 1))


@pytest.mark.slow
def test_step_budget_is_kept_by_many_workers(tmp_path):
    run = train(config(tmp_path, workers=3, steps=500))
    assert 500 <= run.outcome.steps <= 502


@pytest.mark.slow
def test_episode_and_time_budgets(tmp_path):
    run = train(config(tmp_path / "episodes", episodes=7))
    assert (run.outcome.reason, run.outcome.episodes) == ("episodes", 7)
    run = train(config(tmp_path / "time", env="toy_envs:Slow-v0", time=3.0))
    assert run.outcome.reason == "time" and 3.0 <= run.outcome.seconds < 15.0


@pytest.mark.slow
def test_environment_that_raises_is_shown_once_and_replaced(tmp_path, capfd):
    Path(os.environ["TOY_FLAG"]).unlink(missing_ok=True)
    run = train(config(tmp_path, env="toy_envs:RaisesOnce-v0", workers=2, steps=300))
    assert run.outcome.steps >= 300
    errors = capfd.readouterr().err
    assert errors.count("Traceback") == 1 and errors.count("ZeroDivisionError: the toy broke") == 1


@pytest.mark.slow
def test_simulator_that_dies_by_signal_is_replaced(tmp_path, capfd):
    Path(os.environ["TOY_FLAG"]).unlink(missing_ok=True)
    run = train(config(tmp_path, env="toy_envs:KillsItself-v0", workers=2, steps=300))
    assert run.outcome.steps >= 300
    assert "was killed by SIGSEGV; restarting it" in capfd.readouterr().err


@pytest.mark.slow
def test_environment_that_never_works_ends_the_run_saved(tmp_path, capfd):
    before = shared_memory()
    with pytest.raises(TrainingFailed, match="times in a row; saved to"):
        train(config(tmp_path, env="toy_envs:AlwaysRaises-v0", steps=300))
    assert capfd.readouterr().err.count("ZeroDivisionError: the toy never works") == 1
    assert load_file(tmp_path / "run/checkpoints/last.safetensors")
    assert shared_memory() <= before


@pytest.mark.slow
def test_killed_worker_is_replaced_and_training_goes_on(tmp_path):
    process = start(tmp_path, "--workers", "2", "--steps", "1500")
    os.kill(worker_ids(tmp_path, process, 2)[0], signal.SIGKILL)
    errors = process.communicate(timeout=90)[1]
    assert process.returncode == 0, errors
    assert errors.count("was killed by SIGKILL; restarting it") == 1
    assert len(list((tmp_path / "pids").iterdir())) == 3
    saved = checkpoint.read(tmp_path / "run/checkpoints/last.safetensors")
    steps, updates, _, _ = saved.run["counters"]
    assert steps >= 1500 and updates >= 0.98 * (steps - 20)
    assert sum(saved.run["replay"]["segments"][-1]["stop"]) == steps, (
        "every counted transition is in the replay"
    )


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_signal_saves_and_leaves_nothing_behind(tmp_path, number, status):
    before = shared_memory()
    process = start(tmp_path, "--workers", "2", "--steps", "1000000")
    worker_ids(tmp_path, process, 2)
    family = descendants(process.pid)
    process.send_signal(number)
    errors = process.communicate(timeout=30)[1]
    assert process.returncode == status, errors
    assert "Traceback" not in errors, errors
    assert checkpoint.read(tmp_path / "run/checkpoints/last.safetensors").run["counters"][0] > 0
    assert_all_gone(family)
    assert shared_memory() <= before


@pytest.mark.slow
def test_ctrl_c_reaches_the_whole_group_and_still_saves(tmp_path):
    """A terminal sends SIGINT to every process of the group: the children must leave it to the supervisor."""
    process = start(
        tmp_path, "--workers", "2", "--eval-interval", "100", "--eval-episodes", "2", "--steps", "100000"
    )
    worker_ids(tmp_path, process, 2)
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=30)[1]
    assert process.returncode == 130, errors
    assert "Traceback" not in errors and "failed" not in errors
    assert checkpoint.read(tmp_path / "run/checkpoints/last.safetensors").run["workers"][0]["sampling"]


@pytest.mark.slow
def test_a_batch_system_that_ends_the_whole_group_still_finds_it_saved(tmp_path):
    process = start(tmp_path, "--workers", "2", "--steps", "1000000", "--checkpoint-interval", "100000")
    worker_ids(tmp_path, process, 2)
    os.killpg(process.pid, signal.SIGTERM)
    errors = process.communicate(timeout=30)[1]
    assert process.returncode == 143 and "Traceback" not in errors, errors
    saved = checkpoint.read(tmp_path / "run/checkpoints/last.safetensors").run
    assert 0 < saved["counters"][0] <= sum(saved["replay"]["segments"][-1]["stop"])


@pytest.mark.parametrize(
    "victim", ["main", pytest.param("main, while a worker is stopped", marks=pytest.mark.slow)]
)
def test_death_of_a_central_process_ends_all_within_seconds(tmp_path, victim):
    before = shared_memory()
    with tempfile.TemporaryDirectory(prefix="sac-") as temporary:
        flags = "--workers", "2", "--steps", "1000000", "--checkpoint-interval", "50"
        process = start(tmp_path, *flags, TMPDIR=temporary)
        assert_dies_clean(tmp_path, process, victim)
        assert not os.listdir(temporary)
    assert shared_memory() <= before


def assert_dies_clean(tmp_path: Path, process: subprocess.Popen, victim: str) -> None:
    workers = worker_ids(tmp_path, process, 2)
    family = descendants(process.pid)
    wait_for(tmp_path / "run/checkpoints/last.safetensors", process)
    if victim != "main":
        os.kill(workers[0], signal.SIGSTOP)
    process.kill()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == -9, errors
    assert_all_gone(family)
    assert checkpoint.read(tmp_path / "run/checkpoints/last.safetensors").run["counters"][0] > 0


@pytest.mark.slow
def test_the_replay_of_a_run_can_be_sampled_from_outside_and_does_not_need_its_manager(tmp_path):
    process = start(tmp_path, "--workers", "2", "--steps", "1000000", "--checkpoint-interval", "50")
    workers = worker_ids(tmp_path, process, 2)
    published = tmp_path / "run/replay-manager.json"
    wait_for(published, process)
    assert stat.S_IMODE(published.stat().st_mode) == 0o600
    before = ReplayManager.of_run(tmp_path / "run")
    state, action, reward, next_state, done = before.sample(32)
    assert state.shape == next_state.shape == (32, 2) and action.shape == (32, 2)
    assert (reward != 0).all() and reward.shape == done.shape == (32,)
    with pytest.raises(ValueError, match="all 2 shards"):
        before.push(state[0], action[0], reward[0], next_state[0], False)
    with pytest.raises(ValueError, match="shard 0 of the replay buffer is not leased"):
        before.release(0)  # the run's own
    with pytest.raises(ValueError, match="a run's processes alone map its buffer"):
        before.handle()
    (manager,) = [pid for pid in descendants(process.pid) if role_of(pid) == "replay-manager"]
    os.kill(manager, signal.SIGKILL)
    length = before_that = checkpoint.read(tmp_path / "run/checkpoints/last.safetensors").run["counters"][0]
    deadline = time.monotonic() + 30
    while length <= before_that and time.monotonic() < deadline:
        time.sleep(0.2)
        with contextlib.suppress(ConfigError, OSError, EOFError):  # it is being killed or restarted
            length = len(ReplayManager.of_run(tmp_path / "run"))
    assert length > before_that and all(map(alive, workers))
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=30)[1]
    assert process.returncode == 130 and errors.count("restarting it") == 1, errors
    assert "replay-manager was killed by SIGKILL; restarting it" in errors
    with pytest.raises(ConfigError, match="no run on this machine is going on in"):
        ReplayManager.of_run(tmp_path / "run")


IMPATIENT = """
from sac_dist.cli.main import main
from sac_dist.engine import supervisor
supervisor.COMPILE_AFTER = 0.5
raise SystemExit(main())
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_compiles_once_beside_the_workers_which_change_over(tmp_path):
    obstacle = compile_obstacle()
    if obstacle is not None:
        pytest.skip(obstacle)
    cache = {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache/torch"),
    }
    flags = "--workers", "2", "--compile"
    (tmp_path / "cold").mkdir()
    process = start(
        tmp_path / "cold", *flags, "auto", "--steps", "1000000", program=("-c", IMPATIENT), **cache
    )
    workers = worker_ids(tmp_path / "cold", process, 2)
    assert not any(tmp_path.glob("cache/sac_dist/update-*.bin"))  # they have trained for a second
    deadline = time.monotonic() + 180
    while not all(
        str(tmp_path / "cache") in Path(f"/proc/{pid}/maps").read_text() for pid in workers
    ):  # compiled code lies there
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert (
        process.returncode == 130 and errors.count("compiling the update") == 1 and "uncompiled" not in errors
    ), errors
    (tmp_path / "warm").mkdir()
    process = start(tmp_path / "warm", *flags, "on", "--steps", "150", env="toy_envs:Point-v0", **cache)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 0 and "compil" not in errors, errors
    assert len(list(tmp_path.glob("cache/sac_dist/update-*.bin"))) == 1


@pytest.mark.slow
def test_without_a_compiler_auto_goes_on_and_on_is_refused(tmp_path):
    (tmp_path / "auto").mkdir()
    missing = {"CXX": "no-such-compiler", "XDG_CACHE_HOME": str(tmp_path)}
    process = start(
        tmp_path / "auto",
        "--workers",
        "1",
        "--steps",
        "150",
        "--compile",
        "auto",
        env="toy_envs:Point-v0",
        **missing,
    )
    errors = process.communicate(timeout=90)[1]
    assert process.returncode == 0, errors
    assert errors.count("the update stays uncompiled, which is slower: no C++ compiler") == 1, errors
    (tmp_path / "on").mkdir()
    process = start(tmp_path / "on", "--compile", "on", env="toy_envs:Point-v0", **missing)
    errors = process.communicate(timeout=90)[1]
    assert (
        process.returncode == 2 and len(errors.strip().splitlines()) == 1 and "no C++ compiler" in errors
    ), errors
    assert not (tmp_path / "on/run").exists()


@pytest.mark.slow
def test_second_run_in_one_folder_is_refused(tmp_path):
    process = start(tmp_path, "--workers", "1", "--steps", "100000", "--checkpoint-interval", "50")
    worker_ids(tmp_path, process, 1)
    wait_for(tmp_path / "run/checkpoints/last.safetensors", process)
    with pytest.raises(ConfigError, match="not empty"):
        train(config(tmp_path))
    with pytest.raises(ConfigError, match="another run is writing"):
        resume(tmp_path / "run", config(tmp_path))
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
