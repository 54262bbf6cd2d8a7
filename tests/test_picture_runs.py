"""Runs on pictures: they train, go on exactly, and say in a line what cannot work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import toy_envs
from imageio.v3 import imread
from test_engine import config as point_config
from test_engine import policy_of, same

from envs import BackendError
from sac_dist.acting.environment import make_env
from sac_dist.acting.interface import check_interface
from sac_dist.acting.observation import check_policy_fits, schema_of
from sac_dist.acting.recording import record
from sac_dist.data.ring import buffer_bytes
from sac_dist.data.schema import Field, Schema
from sac_dist.engine.machine import check_machine
from sac_dist.engine.train import resume, train
from sac_dist.formats import files
from sac_dist.formats.check import check_fits, digest
from sac_dist.reporting.describe import describe, draw
from sac_dist.settings import AgentConfig, Config, ConfigError, DataConfig, EnvConfig, TrainConfig
from sac_dist.storage import checkpoint
from sac_dist.system import shared

pytestmark = pytest.mark.timeout(150)
EYES: dict[str, Any] = {
    "encoder_channels": 4,
    "encoder_strided": 1,
    "encoder_latent": 6,
    "encoder_depth": 3,
    "shift": 1,
}
AGENT = AgentConfig(hidden_width=16, hidden_depth=1, **EYES)


def config(tmp_path: Path, env: str = "Painted-v0", stack: int | None = None, **settings: Any) -> Config:
    made = point_config(tmp_path, **settings)
    return replace(made, env=EnvConfig(f"toy_envs:{env}", frame_stack=stack), agent=AGENT)


@pytest.mark.parametrize(("env", "stack"), [("Painted-v0", 2), ("Photographed-v0", None)])
def test_observations_of_pictures_are_one_vector(env: str, stack: int | None) -> None:
    made = make_env(EnvConfig(f"toy_envs:{env}", frame_stack=stack))
    first, _ = made.reset(seed=0)
    then = made.step(np.ones(2, np.float32))[0]
    schema = schema_of(made)
    assert first.dtype == np.float32 and made.observation_space.contains(first)
    frames, after = schema.frames_of(first), schema.frames_of(then)
    assert frames.shape == (stack or 1, 256) and (frames == frames[0]).all()
    assert (after[-1] != frames[-1]).any()
    if stack:
        assert (after[0] == frames[-1]).all() and schema.numbers_of(then).tolist() == [1.0]
        assert (schema.frames_of(made.reset(seed=0)[0]) == frames).all(), "frames of the episode before"


@pytest.mark.slow
def test_a_run_on_pictures_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """A step into an episode, whose frames are stacked otherwise than those of the demonstrations; with
    pictures that the ring has overwritten.
    """
    demos = str(tmp_path / "demos.npz")
    files.write(record(EnvConfig("toy_envs:Painted-v0"), "random", 3, only_success=False), demos)

    def settings(name: str, steps: int) -> Config:
        made = config(tmp_path / name, stack=3, steps=steps, buffer_size=60, checkpoint_interval=40)
        return replace(made, data=DataConfig(demos=(demos,), bc_steps=5))

    whole, half = train(settings("whole", 112), quiet=True), train(settings("half", 87), quiet=True)
    saved = checkpoint.read(half.folder.last)
    assert saved.run is not None and saved.run["exact"] == "step"
    assert saved.config.env.frame_stack == 3 and saved.schema.stack == 3
    resumed = resume(
        half.folder.path, replace(saved.config, train=replace(saved.config.train, steps=112)), quiet=True
    )
    assert any(name.startswith("encoder.picture.conv1") for name in policy_of(whole))
    assert same(policy_of(whole), policy_of(resumed))
    replay = files.read(resumed.folder.path)
    assert replay.frames is not None and len(replay.frames) == len(replay) + len(replay.starts)
    assert replay.frames.shape[1] == 256 and replay.frames.max() == 255


@pytest.mark.slow
def test_two_workers_train_and_a_third_resumes(tmp_path: Path) -> None:
    run = train(config(tmp_path, "Photographed-v0", steps=200, workers=2), quiet=True)
    saved = checkpoint.read(run.folder.last)
    more = replace(saved.config, train=replace(saved.config.train, steps=300, workers=3))
    assert resume(run.folder.path, more, quiet=True).outcome.steps >= 300


@pytest.mark.slow
def test_a_run_of_a_camera_of_ours_goes_on_bit_for_bit(tmp_path: Path) -> None:
    env = EnvConfig(
        "Grasp-v0", {"backend": "mujoco", "observation": "camera+state", "cameras": "wrist,scene"}
    )
    try:
        make_env(env).reset(seed=0)
    except BackendError as error:
        pytest.skip(f"no OpenGL: {error}")

    def settings(name: str, steps: int) -> Config:
        return replace(config(tmp_path / name, steps=steps), env=env)

    whole, half = train(settings("whole", 90), quiet=True), train(settings("half", 47), quiet=True)
    saved = checkpoint.read(half.folder.last)
    assert saved.run is not None and saved.run["exact"] == "step"
    more = replace(saved.config, train=replace(saved.config.train, steps=90))
    assert same(policy_of(whole), policy_of(resume(half.folder.path, more, quiet=True)))


def test_recorded_pictures_come_back_from_a_file(tmp_path: Path) -> None:
    env = EnvConfig("toy_envs:Painted-v0")
    demos = record(env, "random", 5, seed=1, only_success=False)
    assert demos.frames is not None and len(demos.frames) == len(demos) + 5
    assert (record(env, "random", 5, seed=1, only_success=False).frames == demos.frames).all()
    file = tmp_path / "demos.npz"
    files.write(demos, file)
    again = files.read(file)
    assert digest(again) == digest(demos) and again.schema == demos.schema
    assert (again.frames == demos.frames).all() and (again.rows == demos.rows).all()
    with pytest.raises(ConfigError, match="pickles hold no pictures"):
        files.write(demos, tmp_path / "demos.pkl")


@pytest.mark.parametrize("env", ["Painted-v0", "Photographed-v0"])
def test_pictures_in_robomimic_s_files(env: str, tmp_path: Path) -> None:
    demos = record(EnvConfig(f"toy_envs:{env}"), "random", 3, seed=1, only_success=False)
    files.write(demos, tmp_path / "demos.hdf5")
    again = files.read(tmp_path / "demos.hdf5/pictures")
    assert (again.frames == demos.frames).all() and (again.rows == demos.rows).all()
    assert again.schema.pictures == demos.schema.pictures
    check_fits(again, schema_of(make_env(EnvConfig(f"toy_envs:{env}"))), "demos.hdf5")
    if env == "Painted-v0":
        assert files.read(tmp_path / "demos.hdf5").frames is None
    else:
        with pytest.raises(ConfigError, match="name it FILE/pictures"):
            files.read(tmp_path / "demos.hdf5")


@pytest.mark.parametrize("env", ["Painted-v0", "Photographed-v0"])
def test_pictures_in_minari_s_datasets(env: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    demos = record(EnvConfig(f"toy_envs:{env}"), "random", 3, seed=1, only_success=False)
    files.write(demos, "minari:toy/seen-v0")
    again = files.read("minari:toy/seen-v0/pictures")
    assert (again.frames == demos.frames).all() and (again.rows == demos.rows).all()
    assert (files.read(f"{tmp_path}/toy/seen-v0/pictures").frames == demos.frames).all()
    if env == "Painted-v0":
        assert files.read("minari:toy/seen-v0").frames is None
    else:
        with pytest.raises(ConfigError, match="add /pictures to its name"):
            files.read("minari:toy/seen-v0")


def test_others_files_have_cameras_by_their_keys_and_may_lack_what_follows(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for number, length in enumerate((3, 2)):
            demo = file.create_group(f"data/demo_{number}")
            demo["obs/robot0_eef_pos"] = random.normal(size=(length, 3))
            demo["obs/b_image"] = random.integers(0, 256, (length, 8, 8, 3), np.uint8)
            demo["obs/a_image"] = random.integers(0, 256, (length, 6, 6, 1), np.uint8)
            demo["actions"], demo["rewards"] = random.uniform(-1, 1, (length, 2)), np.zeros(length)
            demo["dones"] = np.arange(length) == length - 1
    demos = files.read(tmp_path / "a.hdf5/pictures")
    assert [field.name for field in demos.schema.pictures] == ["a_image", "b_image"]
    with h5py.File(tmp_path / "a.hdf5") as file:
        shown = file["data/demo_1/obs/b_image"][()]
    assert (demos.pictures(4, 7)["b_image"] == np.concatenate([shown, shown[-1:]])).all()
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        del file["data/demo_1/obs/b_image"]
    with pytest.raises(ConfigError, match="their pictures differ"):
        files.read(tmp_path / "a.hdf5/pictures")


def test_pictures_alone_are_recorded_read_and_described(tmp_path: Path) -> None:
    demos = record(EnvConfig("toy_envs:Photographed-v0"), "random", 2, only_success=False)
    files.write(demos, tmp_path / "only.npz")
    again = files.read(tmp_path / "only.npz")
    assert again.schema == demos.schema and again.rows.shape[1] == 2 + 3
    assert "observation   0 numbers, picture 16×16×1 uint8" in describe(again, "only.npz")


@pytest.mark.slow
def test_the_picture_of_demonstrations_shows_what_cameras_saw(tmp_path: Path) -> None:
    demos = record(EnvConfig("toy_envs:Photographed-v0"), "random", 2, only_success=False)
    draw(demos, tmp_path / "only.png")
    drawn = imread(tmp_path / "only.png")
    draw(replace(demos, frames=np.zeros_like(demos.frames)), tmp_path / "dark.png")
    assert (imread(tmp_path / "dark.png") != drawn).any(), "it shows no frames"


def test_what_is_damaged_in_a_file_is_refused(tmp_path: Path) -> None:
    demos = record(EnvConfig("toy_envs:Painted-v0"), "random", 2, only_success=False)
    file, bad = tmp_path / "demos.npz", tmp_path / "bad.npz"
    files.write(demos, file)
    arrays = dict(np.load(file))
    for name, value, words in (
        ("frames", arrays["frames"][:-1], "frames is uint8"),
        ("frames", arrays["frames"].astype(np.float32), "frames is float32"),
        ("schema", np.array('{"observation": 3, "action_size": 2}'), "schema is damaged"),
        ("observation", np.zeros((len(demos), 4)), "observation"),
        ("schema", None, "frames and schema"),
    ):
        changed = {**arrays, name: value}
        np.savez(bad, **{key: array for key, array in changed.items() if array is not None})
        with pytest.raises(ConfigError, match=words) as caught:
            files.read(bad)
        assert "\n" not in str(caught.value)


def test_demonstrations_without_the_pictures_that_are_wanted() -> None:
    wanted = Schema((Field("picture", (16, 16, 1), "uint8"), Field("state", (3,))), 2)
    demos = record(EnvConfig("toy_envs:Point-v0"), "random", 1, only_success=False)
    with pytest.raises(
        ConfigError, match=r"d\.npz has no pictures, and the environment observes picture 16×16"
    ):
        check_fits(demos, wanted, "d.npz")
    seen = record(EnvConfig("toy_envs:Painted-v0"), "random", 1, only_success=False)
    with pytest.raises(ConfigError, match="observations of 1 numbers and the environment of 3"):
        check_fits(seen, wanted, "d.npz")


def test_a_policy_of_other_pictures_is_refused() -> None:
    env = make_env(EnvConfig("toy_envs:Photographed-v0"))
    other = Schema((Field("picture", (8, 32, 1), "uint8"),), 2)
    with pytest.raises(ConfigError, match=r"picture 8×32×1 uint8.*is not that of"):
        check_policy_fits(other, env, "Photographed")


class Dark(toy_envs.Photographed):
    def look(self) -> np.ndarray:
        return np.zeros((16, 16), np.uint8)


class Growing(toy_envs.Photographed):
    def look(self) -> np.ndarray:
        return np.ones((16 + self.steps, 16), np.uint8)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (Dark, "the picture picture is black after a reset and after a step"),
        (Growing, r"the picture picture has the shape \(17, 16\), in its space \(16, 16\)"),
    ],
)
def test_cameras_that_cannot_be_learned_from(env: type, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        check_interface(make_env(EnvConfig(env)), env.__name__)
    assert "\n" not in str(caught.value)


def test_a_stack_of_numbers_is_refused() -> None:
    with pytest.raises(ConfigError, match="no pictures that --frame-stack could stack"):
        make_env(EnvConfig("toy_envs:Point-v0", frame_stack=2))


def test_a_buffer_of_pictures_that_exceeds_memory_is_refused_with_what_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schema = Schema((Field("camera", (84, 84, 3), "uint8"), Field("state", (24,))), 8)
    monkeypatch.setattr("sac_dist.engine.machine.available_memory", lambda: 2**30)
    made = Config(EnvConfig("x"), AgentConfig(), TrainConfig(buffer_size=100_000, batch_size=16, steps=1))
    with pytest.raises(
        ConfigError, match=r"100,000 transitions with pictures.*--buffer-size at most"
    ) as caught:
        check_machine(made, schema)
    fits = int(str(caught.value).rsplit(" ", 1)[1])
    assert 0.8 * 2**30 < buffer_bytes(fits, schema, made.train.workers) < 2**30
    assert shared.available_memory() > 0


def test_a_cluster_takes_no_pictures() -> None:
    schema = Schema((Field("camera", (84, 84, 3), "uint8"),), 8)
    made = Config(EnvConfig("x"), AgentConfig(), TrainConfig(engine="ray", steps=1))
    with pytest.raises(ConfigError, match="leave out --engine ray"):
        check_machine(made, schema)


@pytest.mark.slow
def test_it_learns_to_bring_a_spot_that_it_sees_to_the_middle(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"steps": 3000, "warmup_steps": 200, "eval_interval": 1000, "batch_size": 64}
    made = config(tmp_path, "Photographed-v0", **settings)
    agent = AgentConfig(hidden_width=64, actor_lr=1e-3, critic_lr=1e-3, **EYES | {"encoder_channels": 8})
    run = train(replace(made, agent=agent), quiet=True)
    rate = checkpoint.read(run.folder.last).run["best_rate"]  # type: ignore[index]
    assert rate >= 0.8, "it does not see where the spot is"
