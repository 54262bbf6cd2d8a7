"""Files that are made to do harm: each is refused in a line, in bounded memory and time, and none runs
anything.
"""

import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
import torch
from test_engine import config

from sac_dist.algorithms.agent import SACAgent
from sac_dist.book.policy_files import load_book_policy, save_book_policy
from sac_dist.cli import main as cli
from sac_dist.data.schema import Schema
from sac_dist.engine.train import train
from sac_dist.settings import AgentConfig, Config, ConfigError, EnvConfig
from sac_dist.storage import checkpoint

pytestmark = pytest.mark.timeout(120)


class Payload:
    """A pickle that makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def refused(capsys, *arguments: str) -> str:
    """The one line that a command ends with."""
    began = time.monotonic()
    assert cli.main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and len(lines[0]) < 1000 and time.monotonic() - began < 60, lines
    return lines[0]


@pytest.fixture
def policy(tmp_path) -> Path:
    network = AgentConfig(hidden_width=8, hidden_depth=1)
    path = tmp_path / "p.safetensors"
    checkpoint.save_policy(
        path, SACAgent(Schema.vector(3, 1), network), Config(EnvConfig("Pendulum-v1"), network), {"steps": 0}
    )
    return path


WEIGHT = "agent.policy.linear1.weight"


def header_of(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + size]), data[8 + size :]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": "O"}, "unknown variant `O`"),
        ({"dtype": "I32"}, "policy.linear1.weight is torch.int32"),
        ({"data_offsets": [0, 2**60]}, "invalid offset"),
        ({"data_offsets": [-1, 4]}, "invalid"),
        ({"data_offsets": [0, 96]}, "invalid offset"),  # over its neighbour's
        ({"shape": [2**33, 2**33]}, "overflow"),
        ({"shape": [3]}, "invalid"),
    ],
)
def test_a_tensor_that_lies_about_itself(capsys, policy, change, words):
    header, body = header_of(policy)
    write_header(policy, json.dumps(header | {WEIGHT: header[WEIGHT] | change}).encode(), body)
    assert words in refused(capsys, "--test", "--model", str(policy), "--no-render")


def write_header(path: Path, header: bytes, body: bytes, size: int | None = None) -> None:
    path.write_bytes(struct.pack("<Q", len(header) if size is None else size) + header + body)


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (b"{}", 2**63),
        (b"{}", 2**40),
        (b"{}", 0),
        (b'{"a":' * 10**5, None),
        (b"[" * 10**6, None),
        (b'{"a":"' + b"x" * 10**6, None),
    ],
)
def test_a_header_that_is_a_bomb(capsys, policy, header, size):
    write_header(policy, header, b"", size)
    assert "not a checkpoint" in refused(capsys, "--test", "--model", str(policy), "--no-render")


def change_metadata(path: Path, place: str, value: object) -> None:
    header, body = header_of(path)
    found = meta = json.loads(header["__metadata__"]["sac_dist"])
    *parents, last = place.split(".")
    for parent in parents:
        found = found[parent]
    found[last] = value
    write_header(path, json.dumps(header | {"__metadata__": {"sac_dist": json.dumps(meta)}}).encode(), body)


@pytest.mark.parametrize(
    "bomb", ["[" * 10**5, '{"a":' * 10**5, "1" * 10**6, "{}", "[]", "null", "NaN", "\\", '{"version":1}']
)
def test_metadata_that_is_a_bomb(capsys, policy, bomb):
    header, body = header_of(policy)
    write_header(policy, json.dumps(header | {"__metadata__": {"sac_dist": bomb}}).encode(), body)
    assert str(policy) in refused(capsys, "--test", "--model", str(policy), "--no-render")


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("version", 3, "has checkpoint version 3, this sac_dist reads 1 and 2"),
        ("version", 0, "has checkpoint version 0, this sac_dist reads 1 and 2"),
        ("version", 1, "damaged"),
        ("config.env.gravity", 1, "Pendulum-v1 has no option gravity"),
        ("config.env.env_kwargs", {"gravity": 1}, "Pendulum-v1 has no option gravity"),
        ("config.env.env_kwargs", [1], "damaged"),
        ("config.train.gravity", 1, "unknown setting 'gravity': made by another version"),
        ("config.agent.hidden_width", 10**6, "too few"),
        ("config.agent.hidden_width", 1e999, "must be a finite number"),
        ("config.agent.hidden_width", "8", "damaged"),
        ("config.agent.hidden_width", 8.5, "damaged"),
        ("config.agent.hidden_depth", 10**9, "too few"),
        ("config.agent.critic_depth", 10**9, "too few"),
        ("config.agent.critics", 10**7, "too few"),
        ("schema", None, "damaged"),
        ("schema", {}, "damaged"),
        ("schema.action_size", float("nan"), "damaged"),
        ("schema.action_size", 1e999, "damaged"),
        ("schema.action_size", [3], "damaged"),
        ("schema.action_size", 0, "at least one number"),
        ("schema.observation", {}, "needs fields"),
        ("schema.observation", ["state"], "damaged"),
        ("schema.observation.state.dtype", "int32", "a row holds float32"),
        ("schema.observation.state.dtype", "uint8", "the picture state has the shape"),
        ("schema.observation.state.shape", [-3, -1], "at least one number"),
        ("schema.observation.state.shape", 3, "damaged"),
        ("schema.observation.state.shape", [10**12], "the policy has 1000000000000 observations"),
        ("config", [], "damaged"),
        ("config.env", [1], "damaged"),
        ("config.env.env", 5, "an environment is an id or what makes one, not 5"),
        ("info", None, "damaged"),
        ("run", [1], "damaged"),
    ],
)
def test_metadata_of_another_version_or_with_nonsense(capsys, policy, place, value, words):
    change_metadata(policy, place, value)
    assert words in refused(capsys, "--test", "--model", str(policy), "--no-render")


# The book's policies


@pytest.fixture
def book(tmp_path) -> Path:
    save_book_policy(
        SACAgent(Schema.vector(17, 7), AgentConfig(hidden_width=8, hidden_depth=2, layer_norm=False)),
        tmp_path / "b",
    )
    return tmp_path / "b"


def save_changed(book: Path, zipped: bool = True, **changes: object) -> Path:
    path = book.with_name("b_policy")
    state = torch.load(path, weights_only=True) | {
        name.replace("__", "."): value for name, value in changes.items()
    }
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_in_a_book_file_runs_nothing(book, zipped):
    marker = book.with_name("marker")
    path = save_changed(book, zipped, linear1__bias=Payload(marker))
    assert "not a file of tensors" in refusal(book)
    torch.load(path, weights_only=False)  # the payload is a real one
    assert marker.exists()


def test_formats_in_which_torch_has_run_code_are_refused(book):
    """CVE-2025-32434: its oldest format, a tar of pickles, ran code in spite of weights_only. And an archive
    of TorchScript.
    """
    path, marker = book.with_name("b_policy"), book.with_name("marker")
    payload = pickle.dumps(Payload(marker))
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            member.size = len(payload)
            archive.addfile(member, io.BytesIO(payload))
    assert "not a file of tensors" in refusal(book) and not marker.exists()
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "version", "code/__torch__.py"):
            archive.writestr(f"b_policy/{name}", payload)
    assert "not a file of tensors" in refusal(book) and not marker.exists()


def refusal(book: Path) -> str:
    began = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        load_book_policy(book)
    assert "\n" not in str(caught.value) and time.monotonic() - began < 30
    return str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_book_file_whose_tensors_repeat_one_number(book, zipped):
    save_changed(book, zipped, linear1__weight=torch.zeros(1).expand(200_000, 17))
    assert "larger than the files" in refusal(book)


def test_a_book_file_that_unpacks_to_more(book):
    path = save_changed(book, linear1__weight=torch.zeros(10**6))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert path.stat().st_size < 10**5 and "unpacks to more than its size" in refusal(book)


# Settings

LAUGHS = "a: &a [ha]\n" + "".join(
    f"{name}: &{name} [{f'*{last}, ' * 10}]\n" for last, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("env: !!python/object/apply:os.mkdir [marker]", "not YAML"),
        ("env: !!python/name:os.system", "not YAML"),
        ("!!python/object/new:os.mkdir [marker]", "not YAML"),
        ("[" * 20_000, "not YAML"),
        ("workers: " + "9" * 5000, "not YAML"),
        ("workers: \0", "not YAML"),
        ("a: &a [1]\nenv: [[*a]]", "env is neither"),
        ("env: {x: 1}", "env is neither"),
        ("demos: &a [*a]", "demos is neither"),
        (LAUGHS, "is neither"),
    ],
)
def test_settings_that_are_made_to_do_harm(capsys, tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(text)
    assert words in refused(capsys, "--train", "--config", "c.yaml")
    assert not Path("marker").exists()


# A run to go on with


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return train(config(tmp_path_factory.mktemp("finished"), steps=100)).folder.path


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("counters", []),
        ("counters", "abc"),
        ("counters", [100, -1, 10]),
        ("counters", [1e999, 1, 1]),
        ("workers", 3),
        ("workers", ["x"]),
        ("next_generation", []),
        ("next_generation", ["a"]),
        ("best_score", []),
        ("log", []),
        ("log.wall_time_s", "a"),
        ("log.pending", []),
        ("replay", None),
        ("replay.segments", 5),
        ("replay.segments", [{}]),
    ],
)
def test_a_checkpoint_of_a_run_with_nonsense(capfd, tmp_path, finished, place, value):
    shutil.copytree(finished, tmp_path / "run")
    change_metadata(tmp_path / "run/checkpoints/last.safetensors", f"run.{place}", value)
    assert cli.main(["--resume", str(tmp_path / "run"), "--steps", "200"]) == 2
    errors = capfd.readouterr().err
    assert "damaged" in errors.splitlines()[-1] and "Traceback" not in errors, errors
