"""Layouts that people have: D4RL's, pickled trajectories, robomimic's filter keys and done modes, Dicts."""

import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from demo_files import assert_sound, make, rows

from sac_dist.data.schema import Schema
from sac_dist.formats import files
from sac_dist.formats.check import digest
from sac_dist.settings import ConfigError

h5py = pytest.importorskip("h5py")


def refusal(name) -> str:
    with pytest.raises(ConfigError) as caught:
        files.read(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def walk(*lengths: int) -> list[np.ndarray]:
    """Observations of episodes, one more than transitions: 100 × episode + step, and its negative."""
    counts = [100.0 * number + np.arange(length + 1) for number, length in enumerate(lengths)]
    return [np.stack([count, -count], axis=1).astype(np.float32) for count in counts]


def d4rl(*ends: str, following: bool = True) -> dict[str, np.ndarray]:
    """Flat arrays of episodes of four steps; each ends by a "terminal", a "timeout" or not at all."""
    episodes = walk(*[4] * len(ends))
    last = np.arange(4) == 3
    arrays = {
        "observations": np.concatenate([episode[:-1] for episode in episodes]),
        "next_observations": np.concatenate([episode[1:] for episode in episodes]),
        "actions": np.zeros((4 * len(ends), 1)),
        "rewards": np.arange(4.0 * len(ends)),
        "terminals": np.concatenate([last & (end == "terminal") for end in ends]),
        "timeouts": np.concatenate([last & (end == "timeout") for end in ends]),
    }
    if not following:
        del arrays["next_observations"]
    return arrays


def hdf5(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
        file["infos/qpos"] = np.zeros(9)
        file["metadata/algorithm"] = "SAC"
    return path


def pickled(path: Path, *objects: object) -> Path:
    with open(path, "wb") as file:
        for value in objects:
            pickle.dump(value, file)
    return path


def npz(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(path, **arrays)
    return path


WRITE = {"a.hdf5": hdf5, "a.npz": npz, "a.pickle": pickled}


# D4RL


@pytest.mark.parametrize("name", WRITE)
def test_d4rls_layout(name, tmp_path):
    demos = files.read(WRITE[name](tmp_path / name, d4rl("terminal", "timeout", "terminal")))
    assert_sound(demos)
    assert demos.lengths.tolist() == [4, 4, 4] and demos.reward.tolist() == list(range(12))
    assert demos.terminated[demos.ends - 1].tolist() == [True, False, True]
    assert demos.next_observation[3].tolist() == [4, -4] and demos.next_observation[7].tolist() == [104, -104]


@pytest.mark.parametrize("name", WRITE)
def test_d4rls_layout_without_next_observations(name, tmp_path):
    arrays = d4rl("timeout", "terminal", "", following=False)
    demos = files.read(WRITE[name](tmp_path / name, arrays))
    assert_sound(demos)
    assert demos.reward.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10]  # what came before the cuts is unknown
    assert demos.lengths.tolist() == [3, 4, 3]
    assert np.flatnonzero(demos.truncated).tolist() == [2, 9] and np.flatnonzero(demos.terminated) == [6]
    assert demos.next_observation[2].tolist() == [3, -3]  # not the next episode's first
    assert "2 transitions without a next observation" in files.notes(demos, name)


def test_both_marks_at_once_are_a_terminal(tmp_path):
    arrays = d4rl("terminal", "timeout")
    arrays["timeouts"] = arrays["timeouts"] | arrays["terminals"]
    demos = files.read(hdf5(tmp_path / "a.h5", arrays))
    assert not (demos.terminated & demos.truncated).any() and demos.terminated[3]


def test_d3rlpy_1s_file(tmp_path):
    """Its MDPDataset.dump: episode_terminals in place of timeouts (d3rlpy#312)."""
    arrays = d4rl("terminal", "timeout", following=False)
    ends = arrays.pop("timeouts") | arrays["terminals"]
    path = hdf5(tmp_path / "v1.h5", {**arrays, "episode_terminals": ends, "discrete_action": np.False_})
    demos = files.read(path)
    assert demos.lengths.tolist() == [4, 3] and demos.terminated[3] and demos.truncated[6]


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (("actions", "rewards"), ["lacks actions and rewards"]),
        (("terminals",), ["lacks terminals"]),
        (("timeouts", "next_observations"), ["add timeouts"]),
    ],
)
def test_a_bad_d4rl_file_is_refused(missing, words, tmp_path):
    arrays = {name: values for name, values in d4rl("terminal", "timeout").items() if name not in missing}
    message = refusal(hdf5(tmp_path / "a.hdf5", arrays))
    assert "a.hdf5" in message and all(word in message for word in words), message


# Pickled trajectories


def trajectory(length: int, number: int = 0, **more: object) -> dict[str, object]:
    episode = walk(*[length] * (number + 1))[number]
    path = {"observations": episode[:-1], "actions": np.zeros((length, 1)), "rewards": np.ones(length)}
    return {**path, "env_infos": {"time": np.zeros(length), "note": "any"}, **more}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("listed", [False, True])
def test_a_list_of_trajectories(listed, protocol, tmp_path):
    done = {"dones": [False, False, True]}
    paths = [OrderedDict(trajectory(3, **done)), trajectory(2, 1, terminated=True)]
    for path in paths if listed else ():
        path["observations"], path["rewards"] = path["observations"].tolist(), list(path["rewards"])
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(paths, protocol))
    demos = files.read(tmp_path / "a.pkl")
    assert_sound(demos)
    assert demos.lengths.tolist() == [3, 2] and demos.terminated.tolist() == [False, False, True, False, True]
    assert demos.observation[3].tolist() == [100, -100] and files.notes(demos, "a") is None


def test_trajectories_that_were_cut(tmp_path):
    """One observation more than rewards keeps the last transition; without it there is no next observation."""
    whole = trajectory(3)
    whole["observations"] = walk(3)[0]
    demos = files.read(pickled(tmp_path / "a.pkl", [whole, trajectory(3, 1), trajectory(1, 2)]))
    assert demos.lengths.tolist() == [3, 2] and demos.next_observation[2].tolist() == [3, -3]
    assert not demos.terminated.any() and np.flatnonzero(demos.truncated).tolist() == [2, 4]
    noted = files.notes(demos, "a.pkl")
    assert "1 episodes without a whole transition" in noted and "1 transitions without a next" in noted


def test_one_trajectory_is_one_episode(tmp_path):
    """Also when it is done in its middle."""
    demos = files.read(pickled(tmp_path / "a.pkl", [trajectory(4, dones=[0, 1, 1, 1])]))
    assert demos.lengths.tolist() == [4] and demos.terminated.tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ([{"observations": np.zeros((2, 1))}], ["trajectory 0", "'observations'", "actions, rewards"]),
        ([trajectory(2), 3], ["trajectory 1 is one int instead of a dict"]),
        ([trajectory(2, rewards=np.ones(3), terminated=True)], ["trajectory 0", "2 actions for 3 rewards"]),
        ([trajectory(2, terminals=[0, 5])], ["trajectory 0", "terminated is 5"]),
        ([trajectory(2, actions=[[0.0], [0.0, 0.0]])], ["transition 1: actions has 2 entries", "first 1"]),
        ([trajectory(2)] * 2, ["repeats a trajectory"]),
    ],
)
def test_a_bad_trajectory_is_named(paths, words, tmp_path):
    message = refusal(pickled(tmp_path / "a.pkl", paths))
    assert all(word in message for word in words), message


def test_a_trajectory_that_names_an_array_often_is_refused(tmp_path):
    """The file holds it once; unfolded it would be 40 GB."""
    step = np.zeros(10_000)
    path = trajectory(10**6, observations=[step] * 10**6, rewards=[0.0] * 10**6)
    assert "claims 40," in refusal(pickled(tmp_path / "a.pkl", [path]))


# Several pickles in one file


def test_a_pickle_that_was_appended_to(tmp_path):
    lists = [rows(make((4, 4), seed=seed)) for seed in range(3)]
    demos = files.read(pickled(tmp_path / "a.pickle", *lists))
    np.testing.assert_array_equal(
        demos.observation, np.concatenate([[row[0] for row in part] for part in lists])
    )
    singles = files.read(pickled(tmp_path / "b.pickle", *lists[0]))
    assert len(singles) == 8 and singles.lengths.tolist() == [4, 4]
    paths = files.read(pickled(tmp_path / "c.pickle", trajectory(3, terminated=True), [trajectory(2, 1)]))
    assert paths.lengths.tolist() == [3, 1]


def test_what_follows_a_pickle_is_not_lost(tmp_path):
    path = pickled(tmp_path / "a.pickle", rows(make()))
    path.write_bytes(path.read_bytes() + b"rest")
    assert "is no pickle" in refusal(path) or "cut off" in refusal(path)
    path = pickled(tmp_path / "a.pickle", rows(make()), "a note")
    assert "holds text, not a list" in refusal(path)


def test_dict_observations_of_the_books_transitions(tmp_path):
    seen = [{"b": [float(step)], "a": np.array([10.0, step])} for step in range(3)]
    listed = [(seen[step], [0.0], 1.0, seen[step + 1], step == 1) for step in range(2)]
    demos = files.read(pickled(tmp_path / "a.pickle", listed))
    assert demos.observation.tolist() == [[10, 0, 0], [10, 1, 1]]


# robomimic


def robomimic(path: Path, dones: list[list[int]], following: bool = True) -> Path:
    """Demos with these dones, of obs "z" and "a"."""
    with h5py.File(path, "w") as file:
        for number, (done, episode) in enumerate(zip(dones, walk(*map(len, dones)), strict=True)):
            demo, count = file.create_group(f"data/demo_{number}"), len(done)
            demo["actions"], demo["rewards"] = np.zeros((count, 2)), np.zeros(count)
            demo["dones"] = np.array(done, np.int64)
            for name, part in (("obs", episode[:-1]), ("next_obs", episode[1:])):
                if following or name == "obs":
                    demo[f"{name}/z"], demo[f"{name}/a"] = part, 1000 + part[:, 0]
            demo.attrs["num_samples"] = count
        file["mask/train"] = np.array([b"demo_2", b"demo_0"])
        file["mask/wrong"] = np.array([b"demo_7"])
    return path


def test_one_demo_is_one_episode(tmp_path):
    """``done_mode`` 0 and 2 write done at every state of success."""
    demos = files.read(robomimic(tmp_path / "a.hdf5", [[0, 1, 1, 1], [1, 1, 0], [0, 0, 1]]))
    assert demos.lengths.tolist() == [4, 3, 3]
    assert np.flatnonzero(demos.terminated).tolist() == [3, 9] and np.flatnonzero(demos.truncated) == [6]


def test_an_empty_demo_is_left_out(tmp_path):
    demos = files.read(robomimic(tmp_path / "a.hdf5", [[0, 1], [], [0, 1]]))
    assert demos.lengths.tolist() == [2, 2] and "1 episodes without a whole" in files.notes(demos, "a")
    assert "no transitions" in refusal(robomimic(tmp_path / "b.hdf5", [[]]))


def test_mimicgens_files_have_no_next_obs(tmp_path):
    """Nothing is lost where the demo ends done (mimicgen#6): its last next observation is never used."""
    demos = files.read(robomimic(tmp_path / "a.hdf5", [[0, 0, 1], [0, 1]], following=False))
    assert_sound(demos)
    assert demos.lengths.tolist() == [3, 2] and demos.next_observation[1].tolist() == [1002, 2, -2]
    message = refusal(robomimic(tmp_path / "b.hdf5", [[0, 0, 1], [0, 0]], following=False))
    assert "demo_1 has no next_obs and does not end done" in message


def test_robosuites_raw_demos_say_what_to_do(tmp_path):
    """States and actions alone (robomimic#238)."""
    with h5py.File(tmp_path / "demo.hdf5", "w") as file:
        file["data/demo_1/states"], file["data/demo_1/actions"] = np.zeros((3, 5)), np.zeros((3, 2))
    assert "demo_1 has no group obs: write it with robomimic's" in refusal(tmp_path / "demo.hdf5")


def test_filter_keys(tmp_path, monkeypatch):
    path = robomimic(tmp_path / "a.hdf5", [[0, 1], [0, 0, 1], [0, 0, 0, 1]])
    assert files.read(f"{path}/mask/train").lengths.tolist() == [2, 4]
    assert "has the filter keys train, wrong, and not valid" in refusal(f"{path}/mask/valid")
    assert "names 'demo_7', which is not there" in refusal(f"{path}/mask/wrong")
    assert "no such file" in refusal(f"{tmp_path}/b.hdf5/mask/train")
    monkeypatch.chdir(tmp_path)
    name = files.absolute("a.hdf5/mask/train")
    monkeypatch.chdir("/")
    assert len(files.read(name)) == 6
    with h5py.File(path, "a") as file:
        del file["mask"]
    assert "has no filter keys" in refusal(f"{path}/mask/train")


# Minari


@pytest.fixture
def minari(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return pytest.importorskip("minari")


def recorded(minari, observation_space, action_space, observations, actions, name="made/a-v0", **more):
    """One episode that is truncated."""
    from minari.data_collector import EpisodeBuffer

    count = len(actions)
    marks = {"terminations": np.zeros(count, bool), "truncations": np.arange(count) == count - 1}
    episode = {"observations": observations, "actions": actions, "rewards": np.ones(count), **marks, **more}
    minari.create_dataset_from_buffers(
        name, [EpisodeBuffer(**episode)], observation_space=observation_space, action_space=action_space
    )
    return files.read(f"minari:{name}")


@pytest.mark.filterwarnings("ignore")
def test_dict_columns_are_in_the_order_of_their_names(minari):
    """As the environment's are: what a policy learns is then what it sees."""
    from gymnasium import spaces

    space = spaces.Dict(
        OrderedDict((name, spaces.Box(-9, 9, (size,))) for name, size in (("z", 2), ("a", 3)))
    )
    assert list(space.spaces) == ["z", "a"]
    action_space = spaces.Box(-1, 1, (1,))
    space.seed(0)
    seen = [space.sample() for _ in range(5)]
    observations = {name: np.array([each[name] for each in seen]) for name in ("z", "a")}
    demos = recorded(minari, space, action_space, observations, np.zeros((4, 1), np.float32))
    assert [field.name for field in Schema.from_spaces(space, action_space).fields] == ["a", "z"]
    rows = [np.concatenate([each["a"], each["z"]]) for each in seen]
    np.testing.assert_array_equal(demos.observation, rows[:-1])
    np.testing.assert_array_equal(demos.next_observation, rows[1:])
    assert demos.observation[0, :3].tolist() == seen[0]["a"].tolist()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("key", ["success", "is_success"])
@pytest.mark.parametrize("length", [4, 3])
def test_success_in_the_middle_counts(key, length, minari):
    """Adroit's infos have no entry for the reset (minari-dataset-generation-scripts#14)."""
    from gymnasium import spaces

    box = spaces.Box(-9, 9, (1,)), spaces.Box(-1, 1, (1,))
    infos = {key: (np.arange(length) == 1)[:, None]}
    walk = np.arange(4, dtype=np.float32)[:, None]
    demos = recorded(minari, *box, walk, np.zeros((3, 1), np.float32), infos=infos)
    assert demos.success.tolist() == [True]


@pytest.mark.filterwarnings("ignore")
def test_actions_outside_their_box_are_clipped_and_counted(minari):
    from gymnasium import spaces

    action_space = spaces.Box(np.array([-0.1, 0.0]), np.array([0.1, 4.0]), dtype=np.float64)
    actions = np.array([[0.1, 2.0], [0.3, 4.0], [-0.1, -1.0]])
    walk = np.arange(4)[:, None]
    demos = recorded(minari, spaces.Box(0, 9, (1,), np.int64), action_space, walk, actions)
    np.testing.assert_allclose(demos.action, [[1, 0], [1, 1], [-1, -1]], atol=1e-6)
    assert "2 actions outside their Box" in files.notes(demos, "a")
    assert demos.observation.dtype == np.float32 and demos.observation.ravel().tolist() == [0, 1, 2]


@pytest.mark.filterwarnings("ignore")
def test_a_minari_episode_without_its_last_observation(minari, tmp_path):
    """antmaze-umaze-v0 has some (Minari#199)."""
    from gymnasium import spaces

    box = spaces.Box(-9, 9, (1,)), spaces.Box(-1, 1, (1,))
    recorded(minari, *box, np.arange(4.0)[:, None], np.zeros((3, 1), np.float32))
    with h5py.File(tmp_path / "minari" / "made" / "a-v0" / "data" / "main_data.hdf5", "a") as file:
        short = file["episode_0/observations"][:-1]
        del file["episode_0/observations"]
        file["episode_0/observations"] = short
    demos = files.read("minari:made/a-v0")
    assert demos.lengths.tolist() == [2] and demos.truncated.tolist() == [False, True]
    assert "1 transitions without a next observation" in files.notes(demos, "a")


@pytest.mark.filterwarnings("ignore")
def test_a_multi_discrete_is_one_number_a_choice(minari):
    from gymnasium import spaces

    space = spaces.MultiDiscrete([2, 3])
    demos = recorded(
        minari, space, spaces.Box(-1, 1, (1,)), np.array([[0, 2], [1, 0]]), np.zeros((1, 1), "f4")
    )
    assert demos.observation.tolist() == [spaces.flatten(space, np.array([0, 2])).tolist()]


# Content


def test_the_same_transitions_have_the_same_digest(tmp_path):
    demos = make()
    for name in ("a.npz", "b.hdf5", "c.pickle"):
        files.write(demos, tmp_path / name)
        assert digest(files.read(tmp_path / name)) == digest(demos)
    demos.reward[3] += 1e-3
    assert digest(files.read(tmp_path / "a.npz")) != digest(demos)


def test_notes_survive_conversion_once(tmp_path):
    files.write(
        files.read(hdf5(tmp_path / "a.hdf5", d4rl("timeout", "", following=False))), tmp_path / "b.hdf5"
    )
    found = files.read(tmp_path / "b.hdf5")
    assert found.source["notes"] == {"transitions without a next observation, left out": 2}
