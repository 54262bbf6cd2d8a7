"""The command line as a user meets it: one clear line and status 2 for every mistake, and nothing
overwritten.
"""

import errno
import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from safetensors.torch import save_file

import envs
from envs.options import PATHS
from sac_dist.acting.playback import find_policy
from sac_dist.algorithms.agent import SACAgent
from sac_dist.cli import main as cli
from sac_dist.cli.flags import build_parser, file_name, file_or_remote, file_path, task_options
from sac_dist.cli.given import parse, take_environment
from sac_dist.data.schema import Schema
from sac_dist.engine.train import resume
from sac_dist.formats import files
from sac_dist.settings import (
    AgentConfig,
    Config,
    ConfigError,
    CQLSettings,
    DataConfig,
    EnvConfig,
    TrainConfig,
)
from sac_dist.settings.config import SECTIONS
from sac_dist.settings.option import flag_of, options_of
from sac_dist.storage.checkpoint import save_policy
from sac_dist.storage.run_folder import RunFolder

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(capsys, *arguments: str) -> str:
    """The one line a mistake is answered with."""
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("sac-dist: "), captured.err
    return lines[0]


def pendulum_policy(path: Path) -> Path:
    config = AgentConfig(hidden_width=8, hidden_depth=1, layer_norm=False)
    save_policy(
        path, SACAgent(Schema.vector(3, 1), config), Config(EnvConfig("Pendulum-v1"), config), {"steps": 0}
    )
    return path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--train", "none"]),
        (["--train", "--test"], ["--train", "--test", "exactly one"]),
        (["--train", "--wrkers", "2"], ["--wrkers"]),
        (["--train", "--workers", "0"], ["workers is 0"]),
        (["--train", "--workers", "two"], ["--workers", "two"]),
        (["--train", "--critics", "1"], ["critics is 1"]),
        (["--train", "--backend", "gazebo"], ["--backend", "gazebo", "mujoco"]),
        (["--train", "--success-target", "95"], ["success_target is 95"]),
        (["--train", "--success-target", "0.9", "--eval-interval", "0"], ["success_target", "eval-interval"]),
        (["--train", "--model", "x"], ["--model", "--train"]),
        (["--test", "--workers", "2"], ["--workers", "--test"]),
        (["--train", "--env", "SawyerGrisp-v0"], ["SawyerGrisp-v0", "SawyerGrasp-v0"]),
        (["--train", "--env", "CartPole-v1"], ["Discrete(2)", "continuous"]),
        (
            ["--train", "--env", "Pendulum-v1", "--no-tuned", "--control", "end_position"],
            ["Pendulum-v1", "control"],
        ),
        (["--train", "--env", "SawyerGrasp-v0", "--backend", "coppelia"], ["coppelia"]),
        (["--train", "--config", "none.yaml"], ["none.yaml", "No such file"]),
        (["--resume", "nowhere"], ["nowhere", "last.safetensors"]),
        (["--resume", "nowhere", "--hidden-width", "3"], ["--hidden-width", "cannot change"]),
        (["--test", "--model", "nowhere.safetensors"], ["nowhere.safetensors", "no such checkpoint"]),
        (["--test", "--episodes", "0"], ["episodes is 0"]),
        (["--test", "--video", "v.mp4", "--no-render"], ["--video", "--no-render"]),
    ],
)
def test_mistakes_get_one_line_and_status_2(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.delenv("COPPELIASIM_ROOT", raising=False)  # where it works, --backend coppelia is no mistake
    line = refused(capsys, *arguments)
    assert all(word in line for word in words), line
    assert not (tmp_path / "runs").exists(), "a refused command leaves nothing behind"


def test_foreign_and_damaged_checkpoints_are_refused_by_name(capsys, tmp_path):
    (tmp_path / "noise.safetensors").write_bytes(os.urandom(1000))
    assert "noise.safetensors is not a checkpoint" in refused(
        capsys, "--test", "--model", "noise.safetensors"
    )
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    assert "something else" in refused(capsys, "--test", "--model", "foreign.safetensors")
    whole = pendulum_policy(tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    assert "cut.safetensors" in refused(capsys, "--test", "--model", "cut.safetensors")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "model.pt")
    assert "model.pt is not a checkpoint" in refused(capsys, "--test", "--model", "model.pt")


def test_policy_that_does_not_fit_the_environment_is_refused(capsys, tmp_path):
    pendulum_policy(tmp_path / "p.safetensors")
    line = refused(
        capsys, "--test", "--model", "p.safetensors", "--env", "SawyerGrasp-v0", "--video", "v.mp4"
    )
    assert "the policy has 3 observations, SawyerGrasp-v0 with these options has 31" in line
    assert not (tmp_path / "v.mp4").exists()


@pytest.mark.slow
def test_run_folder_that_is_full_or_unwritable_is_refused_untouched(capsys, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("precious")
    assert "full is not empty" in refused(
        capsys, "--train", "--env", "Pendulum-v1", "--no-tuned", "--run-dir", "full"
    )
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("precious")
    assert "cannot write the run folder" in refused(
        capsys, "--train", "--env", "Pendulum-v1", "--no-tuned", "--run-dir", "file/run"
    )
    assert (tmp_path / "file").read_text() == "precious"


def test_every_field_of_the_configuration_is_a_flag_with_help():
    flags = {action.dest: action for action in build_parser()._actions}
    for section in SECTIONS.values():
        for option in options_of(section):
            assert flags[flag_of(option)].help
    assert all(flags[name].help for name in task_options())


def test_config_file_gives_settings_and_flags_win(capsys, tmp_path):
    (tmp_path / "c.yaml").write_text("workers: 3\nactor_lr: 1e-3\nrandom-target: false\nalpha: null\n")
    given = parse(["--train", "--config", "c.yaml", "--workers", "5"])
    assert given == {
        "train": True,
        "workers": 5,
        "actor_lr": 1e-3,
        "env_kwargs": {"random_target": False},
    }
    (tmp_path / "bad.yaml").write_text("wrkers: 3\n")
    assert "--wrkers" in refused(capsys, "--train", "--config", "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 3\n")
    assert "list.yaml holds no settings" in refused(capsys, "--train", "--config", "list.yaml")


def test_config_of_a_run_can_be_given_to_the_next(tmp_path):
    from sac_dist.storage.run_folder import RunFolder

    train = TrainConfig(workers=2, seed=7, success_target=0.5)
    data = DataConfig(demos=("a.npz", "b c.npz"), bc_steps=5, offline_steps=7)
    algorithms = {"cql": CQLSettings(cql_samples=3, cal_ql=True)}
    agent = AgentConfig(alpha=0.2, hidden_width=32)
    config = Config(EnvConfig("Pendulum-v1"), agent, train, data, algorithms=algorithms)
    RunFolder(tmp_path).write_config(config)
    given = parse(["--train", "--config", "config.yaml"])
    given.pop("train")
    env = take_environment(given)
    assert replace(Config.of_settings(given), env=env) == config
    assert not given


@pytest.mark.parametrize(
    "lines", ["seed: 1\nseed: 2\n", "demo-ratio: 1\ndemo_ratio: 0\n", "env_kwargs:\n  size: 1\n  size: 2\n"]
)
def test_a_name_that_stands_twice_in_a_settings_file_is_refused(capsys, tmp_path, lines):
    (tmp_path / "c.yaml").write_text(lines)
    assert "stands there twice" in refused(capsys, "--train", "--config", "c.yaml")


def test_the_merges_of_yaml_may_be_overridden():
    Path("c.yaml").write_text("env_kwargs: &a {size: 1}\nenv-kwargs: {<<: *a, size: 2}\n")
    with pytest.raises(ConfigError, match="env_kwargs stands there twice"):
        parse(["--train", "--config", "c.yaml"])
    Path("c.yaml").write_text("env_kwargs: {<<: {size: 1}, size: 2}\n")
    assert parse(["--train", "--config", "c.yaml"])["env_kwargs"] == {"size": 2}


@pytest.mark.timeout(20)
def test_what_never_ends_and_what_is_huge_is_no_settings_file_and_no_policy(capsys, tmp_path):
    os.mkfifo("pipe")
    Path("huge.yaml").touch()
    os.truncate("huge.yaml", 2**40)
    os.symlink("/dev/zero", "book_policy")
    for name in ("/dev/zero", "pipe"):
        assert "no regular file" in refused(capsys, "--train", "--config", name)
        assert "no regular file" in refused(capsys, "--test", "--model", name)
        assert name in refused(capsys, "--inspect", name)
    assert "too large" in refused(capsys, "--train", "--config", "huge.yaml")
    assert "too large" in refused(capsys, "--test", "--model", "huge.yaml")
    refused(capsys, "--test", "--model", "book")


PATH_FLAGS = {
    "--config": ["--train"],
    "--ranges": ["--optimize", "3"],
    "--run-dir": ["--train", "--env", "Pendulum-v1", "--no-tuned"],
    "--demos": ["--train"],
    "--scene": ["--train", "--env", "SawyerGrasp-v0"],
    "--robot": ["--train", "--env", "Grasp-v0"],
    "--objects": ["--train", "--env", "Grasp-v0"],
    "--randomize": ["--train", "--env", "Grasp-v0"],
    "--check-robot": [],
    "--offline": [],
    "--resume": [],
    "--model": ["--test"],
    "--video": ["--test"],
    "--out": ["--record-demos", "1"],
    "--policy": ["--record-demos", "1", "--out", "x.npz"],
    "--inspect": [],
    "--multiply-demos": ["--to", "3", "--out", "x.npz"],
    "--edit-demos": ["--keep", "0", "--out", "x.npz"],
    "--export": [],
    "--export-book": [],
    "--convert": [],
}


def test_every_flag_that_names_a_file_is_known_to_the_test_below():
    named = {
        action.option_strings[0]
        for action in build_parser()._actions
        if action.type in (file_name, file_path, file_or_remote) or action.dest in ("run_dir", *PATHS)
    }
    assert named == set(PATH_FLAGS)


@pytest.mark.parametrize("flag", PATH_FLAGS)
@pytest.mark.parametrize("name", ["a\0b.npz", "x" * 5000, "x" * 300 + "/y"])
def test_what_cannot_be_the_name_of_a_file_is_told(capsys, tmp_path, flag, name):
    line = refused(capsys, *PATH_FLAGS[flag], flag, name, *(["x.npz"] if flag == "--convert" else []))
    assert "cannot be the name of a file" in line and len(line) < 300, line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "x" * 250])
def test_from_python_a_name_that_cannot_be_is_told_too(name):
    for call in (
        lambda: find_policy(Path(name), "auto"),
        lambda: resume(name),
        lambda: files.read(name),
        lambda: files.check_new(name),
        lambda: RunFolder.create(Path(name) / ("y" * 256)),
    ):
        with pytest.raises(ConfigError) as error:
            call()
        assert "\n" not in str(error.value) and "\0" not in str(error.value)


class Closed(io.StringIO):
    """A stream that nobody reads any more."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error, self.file = error, open(os.devnull)  # noqa: SIM115

    def write(self, text: str) -> int:
        raise self.error

    def fileno(self) -> int:
        return self.file.fileno()


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC])
def test_nobody_has_to_read_what_a_command_prints(tmp_path, monkeypatch, capsys, number):
    pendulum_policy(tmp_path / "p.safetensors")
    gone = OSError(number, os.strerror(number))
    commands = [
        ["--test", "--model", "p.safetensors", "--episodes", "1", "--no-render", "--horizon", "5"],
        [
            "--record-demos",
            "1",
            "--env",
            "Pendulum-v1",
            "--policy",
            "random",
            "--out",
            "d.npz",
            "--horizon",
            "5",
        ],
        ["--inspect", "d.npz"],
        ["--convert", "d.npz", "d.hdf5"],
        ["--export", "policy.npz", "--model", "p.safetensors"],
        ["--export-book", "book", "--model", "p.safetensors"],
        ["--help"],
    ]
    for command in commands:
        monkeypatch.setattr(sys, "stdout", Closed(gone))
        try:
            assert cli.main(command) == 0
        except SystemExit as end:
            assert command == ["--help"] and end.code == 0
        said = capsys.readouterr().err
        assert bool(said) is (number == errno.ENOSPC) and "Traceback" not in said, said
    assert (tmp_path / "d.hdf5").exists() and (tmp_path / "book_policy").exists()
    monkeypatch.setattr(sys, "stderr", Closed(gone))
    assert cli.main(["--train", "--wrkers"]) == 2


def test_the_newest_run_that_can_be_shown_is_taken_and_the_others_are_named(capsys):
    paths = {name: RunFolder.create(Path("runs") / name) for name in ("old", "good", "broken", "empty")}
    for number, (name, folder) in enumerate(paths.items()):
        if name != "empty":
            pendulum_policy(folder.last)
            if name == "broken":
                folder.last.write_bytes(b"half")
            os.utime(folder.last, (number, number))
        folder.unlock()
    assert cli.main(["--test", "--episodes", "1", "--no-render", "--horizon", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "runs/empty is passed over: it has no policy yet"
    assert lines[1].startswith("runs/broken is passed over: runs/broken/checkpoints/last.safetensors is not")
    assert lines[2].startswith("policy runs/good/")


def test_what_a_run_says_of_its_environment_is_said_where_a_policy_is_shown_or_recorded(capsys):
    noted = "toy_envs:Endless-v0 has no limit of its own: its episodes are truncated after 1,000 steps"
    arguments = [
        "--record-demos",
        "1",
        "--env",
        "toy_envs:Endless-v0",
        "--policy",
        "random",
        "--out",
        "d.npz",
    ]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.startswith(noted)
    env, agent = EnvConfig("toy_envs:Endless-v0"), AgentConfig(hidden_width=8)
    save_policy(Path("p.safetensors"), SACAgent(Schema.vector(2, 2), agent), Config(env, agent), {})
    assert cli.main(["--test", "--model", "p.safetensors", "--episodes", "1", "--no-render"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(noted)


def test_preset_of_the_book_and_flags_over_it():
    given = parse(["--train", "--preset", "book"])
    assert (given["hidden_width"], given["hidden_depth"], given["critic_depth"]) == (512, 4, 3)
    assert (given["layer_norm"], given["actor_lr"], given["critic_lr"], given["alpha_lr"]) == (
        False,
        3e-4,
        3e-4,
        3e-4,
    )
    assert parse(["--train", "--preset", "book", "--hidden-depth", "2"])["hidden_depth"] == 2


@pytest.mark.slow
def test_shows_a_policy_with_a_line_per_episode_and_a_video(capsys, tmp_path):
    pytest.importorskip("pygame", reason="gymnasium draws the pendulum with pygame")
    pendulum_policy(tmp_path / "p.safetensors")
    assert cli.main(["--test", "--model", "p.safetensors", "--episodes", "2", "--video", "v.mp4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("episode ") for line in lines) == 2
    assert (tmp_path / "v.mp4").stat().st_size > 1000


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_ctrl_c_keeps_the_film_and_the_measure_of_what_was_played(tmp_path, times):
    pytest.importorskip("pygame", reason="gymnasium draws the pendulum with pygame")
    pendulum_policy(tmp_path / "p.safetensors")
    command = [sys.executable, "-m", "sac_dist", "--test", "--model", "p.safetensors", "--video", "v.mp4"]
    process = subprocess.Popen(
        [*command, "--episodes", "500"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        first = next(line for line in iter(process.stdout.readline, "") if line.startswith("episode "))
        for _ in range(times):
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            time.sleep(0.05)
        lines = [first, *process.stdout.read().splitlines()]
        process.wait(60)
    finally:
        process.kill()
    assert process.returncode in (130, -signal.SIGINT), "the latter where the last one meets Python's own end"
    assert (tmp_path / "v.mp4").stat().st_size > 1000 and not list(tmp_path.glob(".*"))
    if times == 1:
        played = sum(line.startswith("episode ") for line in lines)
        assert lines[-2].startswith("return ") and f" {played} episode" in lines[-2], lines[-3:]
        assert lines[-1] == "video v.mp4"


@pytest.mark.slow
def test_ctrl_c_keeps_the_episodes_that_were_recorded(tmp_path):
    command = [
        sys.executable,
        "-m",
        "sac_dist",
        "--record-demos",
        "5000",
        "--env",
        "Reach-v0",
        "--out",
        "d.npz",
    ]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        next(line for line in iter(process.stdout.readline, "") if line.startswith("episode 3"))
        os.killpg(process.pid, signal.SIGINT)
        said = next(line for line in iter(process.stdout.readline, "") if line.startswith("interrupted"))
        os.killpg(process.pid, signal.SIGINT)  # impatient, while the file is written
        process.stdout.read()
        process.wait(60)
    finally:
        process.kill()
    assert process.returncode == 130 and " of 5,000 episodes are kept" in said
    assert len(files.read(tmp_path / "d.npz").ends) >= 3


def test_a_policy_that_cannot_be_seen_is_measured_all_the_same(capsys, tmp_path, monkeypatch):
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    pendulum_policy(tmp_path / "p.safetensors")
    test = ["--test", "--model", "p.safetensors", "--episodes", "2"]

    def black(env):
        raise envs.BackendError("only black:\nsee the docs")

    monkeypatch.setattr(PendulumEnv, "render", black)
    assert cli.main(test) == 0
    out = capsys.readouterr().out
    assert "no picture, the policy is measured without: cannot draw the environment: only black" in out
    assert out.count("episode ") == 2 and "return" in out.splitlines()[-1] and "video" not in out
    assert not list(tmp_path.glob("*.mp4"))
    monkeypatch.setenv("DISPLAY", ":77")  # no such screen
    assert cli.main(test) == 0
    assert "cannot show the environment: only black" in capsys.readouterr().out
    monkeypatch.delenv("DISPLAY")
    monkeypatch.setattr(PendulumEnv, "metadata", {"render_modes": []})
    assert cli.main(test) == 0
    assert "Pendulum-v1 has no render mode rgb_array" in capsys.readouterr().out
    assert cli.main([*test, "--video", "v.mp4"]) == 2, "a video that was asked for is a promise"


def test_policy_goes_to_the_books_files_and_back(capsys, tmp_path):
    pendulum_policy(tmp_path / "p.safetensors")
    assert cli.main(["--export-book", "book/p", "--model", "p.safetensors"]) == 2, "no such folder"
    capsys.readouterr()
    assert cli.main(["--export-book", "p", "--model", "p.safetensors"]) == 0
    assert {path.name for path in tmp_path.iterdir()} >= {"p_q1", "p_q2", "p_policy"}
    assert (
        "the policy has 3 observations" in (cli.main(["--test", "--model", "p"]), capsys.readouterr().err)[1]
    )


def test_module_and_console_script_agree(tmp_path):
    script = Path(sys.executable).with_name("sac-dist")
    for command in ([sys.executable, "-m", "sac_dist"], [str(script)]):
        done = subprocess.run([*command, "--workers", "1"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and "give exactly one of --train" in done.stderr
        assert (
            subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60).returncode == 0
        )
