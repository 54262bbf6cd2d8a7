"""What a run asks of its demonstrations: that they are of its environment, and the same when it goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sac_dist.acting.recording import record
from sac_dist.data.schema import Schema
from sac_dist.data.transitions import Transitions
from sac_dist.engine import train as engine
from sac_dist.engine.settling import settle
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
from sac_dist.settings.resuming import changed
from sac_dist.storage import checkpoint

ENV = "toy_envs:Point-v0"
SCHEMA = Schema.vector(2, 2)
TRAIN = TrainConfig(
    **{"workers": 1, "batch_size": 8, "eval_interval": 0, "compile": "off", "buffer_size": 500}
)
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def recorded() -> Transitions:
    return record(EnvConfig(ENV), "random", 4)


def named(demos: Transitions, env: str) -> Transitions:
    return replace(demos, source={"env": {"env": env}})


# Environments of packages


@pytest.mark.parametrize("theirs", ["Point-v0", "toy_envs:Point-v0"])
@pytest.mark.parametrize("ours", ["Point-v0", "toy_envs:Point-v0"])
def test_an_id_with_and_without_its_module_is_one_environment(theirs, ours, recorded):
    """Minari writes the id without it."""
    config = Config(EnvConfig(ours), data=DataConfig(demos=("a.npz",)))
    engine._check_demos(config, [named(recorded, theirs)], SCHEMA)


@pytest.mark.parametrize("ours", ["toy_envs:Slow-v0", "other:Point-v0", "Slow-v0"])
def test_another_environment_is_refused(ours, recorded):
    config = Config(EnvConfig(ours), data=DataConfig(demos=("a.npz",)))
    with pytest.raises(ConfigError, match=f"recorded with env {ENV}, this run has {ours}"):
        engine._check_demos(config, [named(recorded, ENV)], SCHEMA)


def test_an_id_without_its_package_says_what_to_give(recorded):
    config = Config(data=DataConfig(demos=("a.npz",)))
    with pytest.raises(ConfigError, match=r"a\.npz was recorded in MyReach-v0.*give --env MODULE:MyReach-v0"):
        settle(config, [named(recorded, "MyReach-v0")])
    for known in ("Pendulum-v1", ENV):
        assert settle(config, [named(recorded, known)])[0].env.id == known


@pytest.mark.filterwarnings("ignore")
def test_a_minari_dataset_of_a_packages_environment(tmp_path, monkeypatch):
    """Minari writes the id alone; the run names the module."""
    minari = pytest.importorskip("minari")
    import gymnasium

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    monkeypatch.setitem(gymnasium.registry, "Mine-v0", None)  # taken out again at the end
    del gymnasium.registry["Mine-v0"]
    gymnasium.register("Mine-v0", "toy_envs:Point", max_episode_steps=10)
    from minari.data_collector import EpisodeBuffer

    episode = EpisodeBuffer(
        observations=np.zeros((2, 2), np.float32),
        actions=np.zeros((1, 2), np.float32),
        rewards=np.zeros(1),
        terminations=np.array([True]),
        truncations=np.array([False]),
    )
    minari.create_dataset_from_buffers("toy/point-v0", [episode], env=gymnasium.make("Mine-v0"))
    demos = files.read("minari:toy/point-v0")
    assert demos.source["env"]["env"] == "Mine-v0"
    data = DataConfig(demos=("minari:toy/point-v0",))
    engine._check_demos(Config(EnvConfig("toy_envs:Mine-v0"), data=data), [demos], SCHEMA)


# Data that has moved


def finished(data: DataConfig, tmp_path: Path) -> Path:
    train = replace(TRAIN, run_dir=str(tmp_path / "run"))
    algorithms = {"cql": CQLSettings(cql_samples=2)}
    agent = AgentConfig(hidden_width=8)
    engine.train(Config(EnvConfig(ENV), agent, train, data, algorithms=algorithms), quiet=True)
    return tmp_path / "run"


def rewarded(demos: Transitions, path: Path) -> None:
    """The same steps with other rewards."""
    names = ("observation", "action", "next_observation", "terminated", "truncated")
    np.savez(path, **{name: getattr(demos, name) for name in names}, reward=demos.reward + 1)


def go_on(run: Path, **settings: object) -> checkpoint.Checkpoint:
    """As ``--resume``."""
    engine.resume(run, changed(engine.read_run(run).config, settings), quiet=True)
    return engine.read_run(run)


@pytest.mark.slow
def test_a_run_goes_on_with_its_data_wherever_it_lies(recorded, tmp_path, monkeypatch):
    old, other = tmp_path / "old.npz", tmp_path / "other.npz"
    files.write(recorded, old)
    rewarded(recorded, other)
    run = finished(DataConfig(offline=(str(old),), offline_steps=5), tmp_path)
    files.write(recorded, tmp_path / "new.hdf5")
    old.unlink()
    with pytest.raises(ConfigError, match=rf"no such file: {old}; if it has moved: --resume {run} --demos"):
        go_on(run, offline_steps=10)
    for wrong in ([str(other)], [str(tmp_path / "new.hdf5")] * 2):
        with pytest.raises(ConfigError, match="holds other transitions than this run began with"):
            go_on(run, offline_steps=10, demos=wrong)
    monkeypatch.chdir(tmp_path)
    saved = go_on(run, offline_steps=10, demos=["new.hdf5"])  # of another kind, even
    assert saved.run is not None and saved.run["counters"][3] >= 10
    assert saved.config.data.offline == (str(tmp_path / "new.hdf5"),) and saved.config.data.demos == ()
    rewarded(recorded, old)
    (tmp_path / "new.hdf5").unlink()
    files.write(files.read(old), tmp_path / "new.hdf5")  # the same name, another content
    with pytest.raises(ConfigError, match="holds other transitions"):
        go_on(run, offline_steps=15)


def test_a_run_without_data_takes_none(tmp_path):
    with pytest.raises(ConfigError, match="began without demonstrations"):
        changed(Config(), {"demos": ["a.npz"]})
    config = changed(Config(data=DataConfig(demos=("a.npz",))), {"demos": ["b.npz"], "steps": 5})
    assert config.data.demos == ("b.npz",) and config.train.steps == 5
