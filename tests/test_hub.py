"""Sharing policies, by huggingface_hub's own client against a stand-in of the hub on this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

huggingface_hub = pytest.importorskip("huggingface_hub")
from hub_server import TOKEN, Hub  # noqa: E402
from policies import untrained  # noqa: E402

from sac_dist.acting.playback import find_policy  # noqa: E402
from sac_dist.cli import main as cli  # noqa: E402
from sac_dist.reporting.sharing import base_name, share, without_folders  # noqa: E402
from sac_dist.settings import Config, ConfigError, DataConfig, EnvConfig, TrainConfig  # noqa: E402
from sac_dist.storage import checkpoint  # noqa: E402

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The stand-in, to which the library speaks, with a token and an empty cache."""
    with Hub() as server:
        constants = "huggingface_hub.constants."
        monkeypatch.setattr(f"{constants}ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(f"{constants}HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", server.url)
        monkeypatch.setattr(
            "huggingface_hub.utils._http.time.sleep", lambda seconds: None
        )  # between its tries
        monkeypatch.setattr(f"{constants}HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(f"{constants}HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(f"{constants}HF_HUB_DISABLE_XET", True)  # its storage is no plain HTTP
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("sac_dist.reporting.sharing.FILM_FRAMES", 5)
        monkeypatch.chdir(tmp_path)
        yield server


@pytest.fixture
def policy(tmp_path) -> Path:
    path = tmp_path / "mine.safetensors"
    checkpoint.write(path, untrained("Pendulum-v1"))
    return path


def refused(capsys, *arguments: str) -> str:
    assert cli.main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("sac-dist: "), lines
    return lines[0]


def test_a_shared_policy_comes_back_as_it_was_with_its_card(hub, policy, capsys):
    assert cli.main(["--push-to-hub", "me/swing", "--model", str(policy), "--episodes", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[-2] == f"shared as {hub.url}/me/swing"
    files = hub.files["me/swing"]
    assert {"policy.safetensors", "README.md", "config.yaml", "replay.mp4"} == set(files)
    assert "policy.safetensors" in hub.by_lfs and "README.md" not in hub.by_lfs, "both ways were gone"
    path, found = find_policy("hf://me/swing", "auto")
    mine = checkpoint.read(policy)
    assert path == "hf://me/swing" and found.config == mine.config
    assert all(found.agent[name].equal(tensor) for name, tensor in mine.agent.items())
    card = files["README.md"].decode()
    front = yaml.safe_load(card.split("---")[1])
    assert front["model-index"][0]["results"][0]["metrics"][0]["type"] == "mean_reward"
    for part in (
        "2 episodes",
        "seed 0",
        "replay.mp4",
        "--config config.yaml",
        "--model hf://me/swing",
        "torch 2",
    ):
        assert part in card, part
    assert "learning_curve" not in card
    # once more: the repository is there already, and what has not changed keeps its place
    assert cli.main(["--push-to-hub", "me/swing", "--model", str(policy), "--episodes", "1"]) == 0
    assert cli.main(["--test", "--model", "hf://me/swing", "--episodes", "1", "--no-render"]) == 0
    assert capsys.readouterr().out.splitlines()[-3].startswith("policy hf://me/swing: Pendulum-v1")


def test_a_copy_of_before_serves_where_the_hub_is_away(hub, policy, monkeypatch):
    share(policy, "me/swing", episodes=1)
    find_policy("hf://me/swing", "auto")
    hub.shutdown()
    hub.server_close()
    assert find_policy("hf://me/swing", "auto")[1].config.env.id == "Pendulum-v1"
    with pytest.raises(
        ConfigError, match=r"me/other cannot be reached and no copy of policy.safetensors is kept"
    ):
        find_policy("hf://me/other", "auto")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hf://me", ["'hf://me' names no policy", "hf://owner/name"]),
        ("hf:///x", ["names no policy"]),
        ("hf://me/no--thing..", ["is no name of a repository"]),
        ("hf://me/nothing", ["there is no repository me/nothing", "HF_TOKEN"]),
        ("hf://me/swing/other.safetensors", ["there is no file other.safetensors in me/swing"]),
        ("hf://me/swing/README.md", ["hf://me/swing/README.md is not a checkpoint"]),
    ],
)
def test_what_is_no_policy_is_refused_in_a_line(hub, capsys, name, words):
    hub.files["me/swing"] = {"README.md": b"# Not a policy, which would be longer than that"}
    line = refused(capsys, "--test", "--model", name, "--no-render")
    assert all(word in line for word in words), line
    assert "cache" not in line


def test_what_stops_an_upload_does_so_before_anything_is_measured(hub, policy, capsys, monkeypatch):
    monkeypatch.setattr("sac_dist.reporting.sharing.play", lambda *_, **__: pytest.fail("was measured"))
    given = ("--model", str(policy))
    assert "give owner/name" in refused(capsys, "--push-to-hub", "swing", *given)
    assert "the token may not write there" in refused(capsys, "--push-to-hub", "you/swing", *given)
    assert "is no name of a repository" in refused(capsys, "--push-to-hub", "me/a b", *given)
    assert "above 0" in refused(capsys, "--push-to-hub", "me/swing", "--episodes", "0", *given)
    assert "no such checkpoint" in refused(capsys, "--push-to-hub", "me/swing", "--model", "none.safetensors")
    assert hub.files == {}
    monkeypatch.setenv("HF_TOKEN", "wrong")
    assert "the token may not write there" in refused(capsys, "--push-to-hub", "me/swing", *given)
    monkeypatch.delenv("HF_TOKEN")
    assert "needs a token" in refused(capsys, "--push-to-hub", "me/swing", *given)
    hub.shutdown()
    hub.server_close()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "me/swing at http://127.0.0.1" in refused(capsys, "--push-to-hub", "me/swing", *given)


def test_without_the_library_a_line_says_how_to_get_it(policy, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for arguments in (
        ["--test", "--model", "hf://me/swing"],
        ["--push-to-hub", "me/swing", "--model", str(policy)],
    ):
        assert "pip install 'sac-dist[hub]'" in refused(capsys, *arguments)


def test_settings_that_are_shared_name_no_folder_of_this_machine():
    env = EnvConfig("Lift-v0", {"robot": "/home/me/arm.xml+/home/me/hand.xml@tip", "control": "end_position"})
    data = DataConfig(demos=("/home/me/secret/lift.npz",))
    config = without_folders(Config(env, train=TrainConfig(run_dir="/home/me/runs/1"), data=data))
    assert config.env.kwargs == {"robot": "arm.xml+hand.xml@tip", "control": "end_position"}
    assert config.data.demos == ("lift.npz",) and config.train.run_dir is None
    assert base_name("sawyer") == "sawyer"
