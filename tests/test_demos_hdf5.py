"""HDF5 as robomimic writes it, Minari's datasets, and a run's replay as demonstrations."""

import json
import os
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from demo_files import FIELDS, assert_equal, changed, make
from gymnasium import spaces

from sac_dist.acting.environment import make_env
from sac_dist.algorithms.agent import SACAgent
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.schema import Schema
from sac_dist.formats import files
from sac_dist.settings import AgentConfig, Config, ConfigError, EnvConfig
from sac_dist.storage import checkpoint
from sac_dist.storage.segments import ReplayFiles

h5py = pytest.importorskip("h5py")


def refusal(path) -> str:
    with pytest.raises(ConfigError) as caught:
        files.read(path)
    message = str(caught.value)
    assert "\n" not in message and str(path).removeprefix("minari:") in message
    return message


# robomimic: what its dataset_states_to_obs.py writes


def robomimic_file(path: Path, demos: int = 12, compression: str | None = None) -> Path:
    """Demo k has k + 2 transitions, and every other one is done at its end; observations are 10 k + step."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        for k in reversed(range(demos)):
            steps = k + 2
            walk = 10.0 * k + np.arange(steps + 1)
            demo = data.create_group(f"demo_{k}")
            demo["states"] = np.zeros((steps, 5))
            demo["actions"] = np.full((steps, 2), k / 100)
            demo["rewards"] = np.zeros(steps)
            demo["dones"] = (np.arange(steps) == steps - 1).astype(int) * (k % 2)
            for name, rows in (("obs", walk[:-1]), ("next_obs", walk[1:])):
                demo.create_dataset(
                    f"{name}/robot0_eef_pos",
                    data=np.stack([rows, -rows, rows], axis=1),
                    compression=compression,
                )
                demo.create_dataset(
                    f"{name}/agentview_image",
                    data=np.zeros((steps, 8, 8, 3), np.uint8),
                    compression=compression,
                )
                demo[f"{name}/gripper"] = 100 + rows
            demo.attrs["num_samples"] = steps
            demo.attrs["model_file"] = "<mujoco/>"
        data.attrs["total"] = sum(k + 2 for k in range(demos))
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {}})
        file["mask/train"] = np.array([b"demo_0", b"demo_1"])
    return path


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_robomimics_layout(compression, tmp_path):
    demos = files.read(robomimic_file(tmp_path / "low_dim.hdf5", compression=compression))
    assert demos.lengths.tolist() == [k + 2 for k in range(12)]  # demo_10 after demo_9
    assert demos.terminated[demos.ends - 1].tolist() == [bool(k % 2) for k in range(12)]
    assert demos.truncated[demos.ends - 1].tolist() == [not k % 2 for k in range(12)]
    assert demos.observation[2].tolist() == [110, 10, -10, 10]  # gripper before robot0_eef_pos, no picture
    assert demos.next_observation[1].tolist() == [102, 2, -2, 2]
    assert demos.source == {} and demos.success is None


def test_what_is_written_has_robomimics_layout(tmp_path):
    demos = make()
    files.write(demos, tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert file["data"].attrs["total"] == 13 and sorted(file["data"]) == ["demo_0", "demo_1", "demo_2"]
        assert json.loads(file["data"].attrs["env_args"]) == {
            "env_name": "SawyerLift-v0",
            "type": 2,
            "env_kwargs": {"horizon": 5},
        }
        demo = file["data/demo_1"]
        assert demo.attrs["num_samples"] == 3 and demo["dones"][:].tolist() == [0, 0, 1]
        assert demo["obs/flat"].shape == (3, 3) == demo["next_obs/flat"].shape and demo["actions"].shape == (
            3,
            2,
        )


def change(path: Path, action) -> Path:
    with h5py.File(path, "a") as file:
        action(file)
    return path


def swap(file, place: str, **dataset) -> None:
    del file[place]
    file.create_dataset(place, **dataset)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda file: file.__delitem__("data"), ["no group data"]),
        (lambda file: file["data"].clear(), ["no transitions"]),
        (
            lambda file: file.__delitem__("data/demo_1/rewards"),
            ["demo_1 has no rewards: write it with robomimic"],
        ),
        (lambda file: file.__delitem__("data/demo_1/obs"), ["demo_1 has no group obs"]),
        (
            lambda file: file.__delitem__("data/demo_0/next_obs"),
            ["demo_0 has no next_obs and does not end done", "dataset_states_to_obs"],
        ),
        (
            lambda file: file.__delitem__("data/demo_1/next_obs/gripper"),
            ["demo_1/next_obs/gripper is missing"],
        ),
        (
            lambda file: swap(file, "data/demo_1/rewards", data=np.zeros(2)),
            ["demo_1", "num_samples is 3", "2"],
        ),
        (
            lambda file: swap(file, "data/demo_1/actions", data=np.zeros((4, 2))),
            ["demo_1", "action has the shape (4, 2)"],
        ),
        (
            lambda file: swap(file, "data/demo_1/actions", data=np.zeros((3, 5))),
            ["demo_1: action has 5 entries", "demo_0's has 2"],
        ),
        (
            lambda file: swap(file, "data/demo_1/actions", data=np.full((3, 2), 2.0)),
            ["demo_1: transition 0: action entry 0 is 2"],
        ),
        (
            lambda file: swap(file, "data/demo_1/obs/gripper", data=np.zeros(3)),
            ["demo_1: transition 0: next_observation is not transition 1's"],
        ),
        (
            lambda file: swap(file, "data/demo_1/obs/gripper", data=np.zeros(2)),
            ["demo_1", "different lengths"],
        ),
        (
            lambda file: swap(file, "data/demo_1/dones", data=[0, 0, 3]),
            ["demo_1: transition 2: terminated is 3"],
        ),
        (
            lambda file: swap(file, "data/demo_1/rewards", data=np.array([b"a"] * 3)),
            ["rewards is of the type"],
        ),
        (lambda file: swap(file, "data/demo_1/rewards", data=["a"] * 3), ["rewards is of the type object"]),
        (
            lambda file: swap(file, "data/demo_1/rewards", data=[file.ref] * 3, dtype=h5py.ref_dtype),
            ["rewards is of the type object"],
        ),
        (lambda file: swap(file, "data/demo_1/rewards", data=np.zeros(3, complex)), ["complex128"]),
        (lambda file: swap(file, "data/demo_1/rewards", data=np.zeros(3, [("a", "f4")])), ["not numbers"]),
        (
            lambda file: swap(file, "data/demo_1/rewards", shape=(10**12,), dtype="f4", chunks=(1000,)),
            ["rewards claims 4,000,000,000,000 bytes"],
        ),
        (
            lambda file: swap(
                file, "data/demo_1/rewards", shape=(3,), maxshape=(None,), dtype="f4", chunks=(10**9,)
            ),
            ["rewards claims 4,0"],
        ),
        (
            lambda file: swap(file, "data/demo_1/rewards", data=np.zeros(3), chunks=(3,), scaleoffset=2),
            ["rewards is packed in a way"],
        ),
        (
            lambda file: swap(
                file, "data/demo_1/rewards", shape=(3,), dtype="f4", external=[("/etc/passwd", 0, 12)]
            ),
            ["lies in another file"],
        ),
        (
            lambda file: file.__setitem__("data/demo_1/states2", h5py.ExternalLink("/etc/passwd", "/")),
            ["states2 is a link"],
        ),
        (lambda file: file.__setitem__("data/demo_1/soft", h5py.SoftLink("/data")), ["soft is a link"]),
    ],
)
def test_a_bad_file_of_robomimics_is_refused(action, words, tmp_path):
    message = refusal(change(robomimic_file(tmp_path / "a.hdf5", 3), action))
    assert all(word in message for word in words), message


def test_a_virtual_dataset_is_refused(tmp_path):
    (tmp_path / "other").mkdir()
    robomimic_file(tmp_path / "other" / "b.hdf5", 3)

    def virtual(file):
        layout = h5py.VirtualLayout((3,), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other" / "b.hdf5"), "data/demo_1/rewards", (3,))
        del file["data/demo_1/rewards"]
        file.create_virtual_dataset("data/demo_1/rewards", layout)

    assert "lies in another file" in refusal(change(robomimic_file(tmp_path / "a.hdf5", 3), virtual))


def test_links_in_a_circle_end(tmp_path):
    path = change(
        robomimic_file(tmp_path / "a.hdf5", 3),
        lambda file: file.__setitem__("data/demo_1/circle", file["data"]),
    )
    assert len(files.read(path)) == 9


def test_a_gzip_bomb_is_refused(tmp_path):
    """A chunk that unpacks to 1000 times what it should."""
    import zlib

    def bomb(file):
        del file["data/demo_1/rewards"]
        dataset = file.create_dataset(
            "data/demo_1/rewards", (3,), "f4", maxshape=(None,), chunks=(3,), compression="gzip"
        )
        dataset.id.write_direct_chunk((0,), zlib.compress(bytes(2**26)))

    assert "packed bytes for a chunk of 12" in refusal(change(robomimic_file(tmp_path / "a.hdf5", 3), bomb))


def test_no_hdf5_at_all(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert "no HDF5 file, or damaged" in refusal(tmp_path / "a.h5")


# Minari


@pytest.fixture
def minari(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return pytest.importorskip("minari")


def record(minari, dataset_id, observation_space, action_space, episodes):
    from minari.data_collector import EpisodeBuffer

    return minari.create_dataset_from_buffers(
        dataset_id,
        [EpisodeBuffer(**episode) for episode in episodes],
        observation_space=observation_space,
        action_space=action_space,
    )


@pytest.mark.filterwarnings("ignore")
def test_a_dataset_that_minari_wrote(minari, tmp_path):
    space = spaces.Dict(
        {
            "goal": spaces.Discrete(3, start=1),
            "arm": spaces.Tuple([spaces.Box(-5, 5, (2,)), spaces.MultiBinary(2)]),
        }
    )
    action_space = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))
    space.seed(0)
    action_space.seed(0)
    episodes, observed, acted = [], [], []
    for steps in (4, 2):
        seen = [space.sample() for _ in range(steps + 1)]
        acts = np.array([action_space.sample() for _ in range(steps)])
        arm = tuple(np.array([each["arm"][part] for each in seen]) for part in range(2))
        last = np.arange(steps) == steps - 1
        episodes.append(
            {
                "observations": {"goal": np.array([each["goal"] for each in seen]), "arm": arm},
                "actions": acts,
                "rewards": np.arange(steps, dtype=float),
                "terminations": last & (steps == 2),
                "truncations": last & (steps == 4),
                "infos": {"success": np.arange(steps + 1) == (1 if steps == 2 else -1)},
            }
        )
        observed.append(np.array([spaces.flatten(space, each) for each in seen]))
        acted.append(acts)
    record(minari, "made/dict-v0", space, action_space, episodes)
    for path in ("minari:made/dict-v0", tmp_path / "minari" / "made" / "dict-v0"):
        demos = files.read(path)
        np.testing.assert_array_equal(demos.observation, np.concatenate([each[:-1] for each in observed]))
        np.testing.assert_array_equal(demos.next_observation, np.concatenate([each[1:] for each in observed]))
        np.testing.assert_allclose(demos.action * [2, 0.5] + [0, 0.5], np.concatenate(acted), atol=1e-6)
        assert (
            demos.terminated.tolist() == [False] * 5 + [True]
            and demos.truncated.tolist() == [False] * 3 + [True] + [False] * 2
        )
        assert demos.reward.tolist() == [0, 1, 2, 3, 0, 1] and demos.success.tolist() == [False, True]


class Nested(gymnasium.Env):
    """Observations of dicts whose names are in no order, on every level."""

    box = spaces.Box(-1, 1, (1,))
    observation_space = spaces.Dict(
        z=spaces.Tuple([spaces.Dict(y=box, x=spaces.Dict(b=box, a=box)), box]), c=spaces.Dict(q=box, p=box)
    )
    action_space = spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}


@pytest.mark.filterwarnings("ignore")
def test_a_minari_dataset_of_nested_dicts_has_the_rows_of_its_environment(minari):
    env, inner = make_env(EnvConfig(Nested, horizon=5)), Nested()
    seen = [inner.reset(seed=seed)[0] for seed in range(4)]
    assert list(seen[0]) == ["z", "c"] and list(seen[0]["c"]) == ["q", "p"], "gymnasium sorts them by itself"
    action = np.zeros((3, 1), np.float32)
    ends = {"terminations": np.zeros(3, bool), "truncations": np.arange(3) == 2}
    episode = {"observations": stacked(seen), "actions": action, "rewards": np.zeros(3), **ends, "infos": {}}
    record(minari, "made/nested-v0", inner.observation_space, inner.action_space, [episode])
    expected = [env.reset(seed=seed)[0] for seed in range(4)]
    assert len(set(expected[0].tolist())) == 6
    demos = files.read("minari:made/nested-v0")
    np.testing.assert_array_equal(demos.observation, expected[:3])
    np.testing.assert_array_equal(demos.next_observation, expected[1:])


def stacked(values):
    if isinstance(values[0], dict):
        return {name: stacked([value[name] for value in values]) for name in values[0]}
    if isinstance(values[0], tuple):
        return tuple(map(stacked, map(list, zip(*values, strict=True))))
    return np.array(values)


@pytest.mark.filterwarnings("ignore")
def test_minari_reads_what_is_written(minari):
    demos = make()
    files.write(demos, "minari:made/ours-v1")
    dataset = minari.load_dataset("made/ours-v1")
    assert (
        dataset.total_episodes == 3
        and dataset.total_steps == 13
        and dataset.action_space.high.tolist() == [1, 1]
    )
    for episode, stop, length in zip(dataset, demos.ends, demos.lengths, strict=True):
        np.testing.assert_array_equal(episode.observations[:-1], demos.observation[stop - length : stop])
        np.testing.assert_array_equal(episode.observations[-1], demos.next_observation[stop - 1])
        np.testing.assert_array_equal(episode.actions, demos.action[stop - length : stop])
        np.testing.assert_array_equal(episode.terminations, demos.terminated[stop - length : stop])


def metadata(folder: Path, **changes) -> None:
    path = folder / "data" / "metadata.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"observation_space": None}, "does not say the observation_space"),
        (
            {"action_space": json.dumps({"type": "Discrete", "n": 2, "start": 0, "dtype": "int64"})},
            "actions of Discrete(2)",
        ),
        (
            {
                "action_space": json.dumps(
                    {"type": "Box", "shape": [3], "dtype": "float32", "low": [-1] * 3, "high": [1] * 3}
                )
            },
            "2 entries",
        ),
        ({"total_episodes": 2}, "3 episodes and its metadata says 2"),
        ({"minari_version": "99.0"}, "99.0"),
        (
            {
                "observation_space": json.dumps(
                    {"type": "Text", "max_length": 9, "min_length": 1, "charset": "a"}
                )
            },
            "observations is of Text",
        ),
    ],
)
def test_a_bad_minari_dataset_is_refused(changes, word, minari, tmp_path):
    files.write(make(), "minari:made/bad-v0")
    metadata(tmp_path / "minari" / "made" / "bad-v0", **changes)
    assert word in refusal("minari:made/bad-v0")


def test_a_minari_dataset_cannot_name_code(minari, tmp_path, monkeypatch):
    """Minari itself makes the environment that the metadata name, if the spaces are missing."""
    files.write(make(), "minari:made/evil-v0")
    spec = {
        "id": "Evil-v0",
        "entry_point": "pathlib:Path.touch",
        "kwargs": {"self": "canary"},
        "additional_wrappers": [],
        "vector_entry_point": None,
    }
    metadata(
        tmp_path / "minari" / "made" / "evil-v0",
        observation_space=None,
        action_space=None,
        env_spec=json.dumps(spec),
    )
    monkeypatch.setattr("gymnasium.make", lambda *_, **__: os.mkdir(tmp_path / "canary"))
    with pytest.raises(ConfigError, match="does not say the observation_space"):
        files.read("minari:made/evil-v0")
    assert not (tmp_path / "canary").exists()
    with pytest.raises(AttributeError):
        minari.load_dataset("made/evil-v0")
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("minari:made/none-v0", "minari download made/none-v0"),
        ("minari:", "no Minari dataset"),
        ("minari:../../etc", "no Minari dataset"),
    ],
)
def test_a_missing_minari_dataset_is_a_line(name, word, minari):
    with pytest.raises(ConfigError, match=word):
        files.read(name)


@pytest.mark.parametrize("name", ["no version", "name", "x/y-v0", "made/../../up-v0", "/made/up-v0"])
def test_a_bad_minari_id_is_not_written(name, minari, tmp_path):
    with pytest.raises(ConfigError, match="write minari:NAMESPACE/NAME-v0"):
        files.write(make(), f"minari:{name}")
    assert not list(tmp_path.rglob("main_data.hdf5"))


def test_a_failed_write_to_minari_leaves_nothing(minari, tmp_path, monkeypatch):
    demos = make()
    with pytest.raises(IndexError):
        files.write(replace(demos, success=np.array([True])), "minari:made/half-v0")
    monkeypatch.setattr(
        "minari.dataset.minari_storage.MinariStorage.update_metadata",
        lambda *_: os.listdir("/no such folder"),
    )
    with pytest.raises(ConfigError, match="cannot write minari:made/half-v0: No such file"):
        files.write(demos, "minari:made/half-v0")
    assert not (tmp_path / "minari" / "made" / "half-v0").exists()


# A run's folder


def run_folder(path: Path, replay: ReplayBuffer) -> Path:
    for part in ("checkpoints", "replay"):
        (path / part).mkdir(parents=True)
    agent = SACAgent(Schema.vector(3, 2), AgentConfig(hidden_width=4))
    stored = ReplayFiles(path / "replay", replay.schema)
    run = {"replay": stored.write(stored.copy_new(replay))}
    config = Config(EnvConfig("Point-v0", horizon=5))
    checkpoint.write(
        path / "checkpoints" / "last.safetensors",
        checkpoint.Checkpoint(agent.state_dict(), agent.schema, config, {}, run),
    )
    return path


def fill(replay: ReplayBuffer, demos, shard: int = 0) -> None:
    replay.for_shard(shard).extend(
        demos.observation,
        demos.action,
        demos.reward,
        demos.next_observation,
        demos.terminated,
        demos.truncated,
    )


def test_a_runs_replay_is_demonstrations(tmp_path):
    first, second = make(), make((4, 4), seed=1)
    replay = ReplayBuffer(100, Schema.vector(3, 2), shards=3)
    fill(replay, first, 0)
    fill(replay, second, 2)
    demos = files.read(run_folder(tmp_path / "run", replay))
    assert_equal(demos, type(first).concatenate([first, second]), but=("success", "source"))
    assert (
        demos.success is None
        and demos.source["env"]["env"] == "Point-v0"
        and demos.source["env"]["horizon"] == 5
    )
    assert not (tmp_path / "run" / "lock").exists()


def test_a_run_cuts_episodes(tmp_path):
    demos = make((5, 3, 5))
    kept = np.r_[
        0:4, 5:7, 8:12
    ]  # a worker was killed in each episode, and another went on; the last one is at it
    parts = {
        name: getattr(demos, name)[kept]
        for name in ("observation", "action", "reward", "next_observation", "terminated", "truncated")
    }
    replay = ReplayBuffer(9, Schema.vector(3, 2))  # the first transition is overwritten
    fill(replay, changed(demos, **parts))
    found = files.read(run_folder(tmp_path / "run", replay))
    assert len(found) == 9 and found.lengths.tolist() == [3, 2, 4]
    assert found.truncated[found.ends - 1].all() and not found.terminated.any()
    np.testing.assert_array_equal(found.observation, demos.observation[kept[1:]])


def test_the_end_of_a_workers_rows_ends_an_episode(tmp_path):
    """Also where the next worker's happen to go on from there."""
    demos, replay = make((5,)), ReplayBuffer(10, Schema.vector(3, 2), shards=2)
    for shard, kept in enumerate((slice(0, 2), slice(2, 5))):
        parts = {name: getattr(demos, name)[kept] for name in FIELDS}
        fill(replay, changed(demos, **parts), shard)
    assert files.read(run_folder(tmp_path / "run", replay)).lengths.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda path: next((path / "replay").glob("*.npy")).write_bytes(b"\x93NUMPY"), "damaged"),
        (lambda path: next((path / "replay").glob("*.npy")).unlink(), "missing or damaged"),
        (lambda path: (path / "checkpoints" / "last.safetensors").write_bytes(b"x"), "not a checkpoint"),
    ],
)
def test_a_damaged_run_is_refused(damage, word, tmp_path):
    replay = ReplayBuffer(100, Schema.vector(3, 2))
    fill(replay, make())
    damage(run_folder(tmp_path / "run", replay))
    assert word in refusal(tmp_path / "run")


def test_a_run_without_transitions_is_refused(tmp_path):
    assert "no transitions" in refusal(run_folder(tmp_path / "run", ReplayBuffer(100, Schema.vector(3, 2))))
    path = tmp_path / "run" / "checkpoints" / "last.safetensors"
    saved = checkpoint.read(path)
    outside = {"capacity": 9, "segments": [{"file": "../secret.npy", "start": [0], "stop": [1]}]}
    for replay, word in ((outside, "names the file"), ({"segments": 3}, "damaged"), (None, "no transitions")):
        checkpoint.write(path, replace(saved, run={"replay": replay}))
        with pytest.raises(ConfigError, match=word):
            files.read(tmp_path / "run")
