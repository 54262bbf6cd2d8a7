"""Minari's datasets (https://minari.farama.org), by id or folder. Minari says what the spaces are; the arrays
are read here.

Minari's own loading makes an environment from the file's ``env_spec`` if the spaces are missing, which can
name any code, and unpacks everything a file claims. So a file is checked first, and its arrays come through
``hdf5.opened``.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from sac_dist.data.schema import STATE, is_picture, named_parts
from sac_dist.data.transitions import Transitions
from sac_dist.formats.check import TOLERANCE, joined
from sac_dist.formats.format import Format
from sac_dist.formats.hdf5 import Reader, opened
from sac_dist.formats.trajectories import completed
from sac_dist.settings import ConfigError

PREFIX, PICTURES = "minari:", "/pictures"
NEW_ID = re.compile(PREFIX + r"([-\w]{2,}/)*[-\w]{2,}-v\d+")
SOURCE = "sac_dist_source"  # our key among Minari's metadata
SUCCESS = "success", "is_success"  # keys of infos
CLIPPED = "actions outside their Box, clipped to it"
MOST_CHOICES = 4096  # of a Discrete: it becomes one number each
LARGEST_METADATA = 2**24  # bytes


def is_dataset(folder: Path) -> bool:
    return (folder / "data" / "main_data.hdf5").is_file()


def read_id(name: str) -> Transitions:
    """``minari:ID``, or with its pictures ``minari:ID/pictures``, from Minari's own folder; nothing is
    downloaded. Raises ConfigError.
    """
    folder = _folder(name.removesuffix(PICTURES))
    if not is_dataset(folder):
        raise ConfigError(
            f"no dataset {name.removeprefix(PREFIX)} in HDF5 at {folder}: minari download "
            f"{name.removeprefix(PREFIX)}"
        )
    return read_folder(folder, name, name.endswith(PICTURES))


def read_folder(folder: Path, name: str, pictures: bool) -> Transitions:
    """All episodes of the dataset in ``folder``. Raises ConfigError.

    Observations are flattened in the order of their names, ``pictures`` apart. Actions are scaled to [-1, 1]
    from a bounded Box; those outside were recorded before the environment clipped them, and are clipped. An
    episode is a success if its infos' ``success`` or ``is_success`` ever is. The last transition of one that
    lacks its last observation is left out unless it terminated.
    """
    minari = _library(name)
    path = folder / "data" / "metadata.json"
    if path.stat().st_size > LARGEST_METADATA:
        raise ConfigError(f"{path} has more than {LARGEST_METADATA} bytes: it is not Minari's")
    metadata = json.loads(path.read_text(encoding="utf-8"))
    for key in ("observation_space", "action_space"):
        if not isinstance(metadata, dict) or not isinstance(metadata.get(key), str):
            raise ConfigError(f"{path} does not say the {key}: only datasets that do are read")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = minari.MinariDataset(folder / "data")
    observation_space, action_space = dataset.observation_space, dataset.action_space
    if not isinstance(action_space, spaces.Box):
        raise ConfigError(f"{name} has actions of {str(action_space)[:60]}: only a Box is read")
    source = metadata.get(SOURCE)
    if not isinstance(source, dict):
        known = {
            "env": {"env": dataset.env_spec.id} if dataset.env_spec else None,
            "policy": metadata.get("algorithm_name"),
        }
        source = {key: value for key, value in known.items() if value is not None}
    with opened(folder / "data" / "main_data.hdf5") as reader:
        labels = sorted(
            (key for key in reader.root if key.startswith("episode_")),
            key=lambda key: int(key[len("episode_") :]),
        )
        if len(labels) != metadata.get("total_episodes"):
            raise ConfigError(
                f"{name} has {len(labels)} episodes and its metadata says "
                f"{metadata.get('total_episodes')}: it is damaged"
            )
        seen = named_pictures(observation_space, name) if pictures else {}
        parts = [
            (label, _episode(reader, label, observation_space, action_space, name, seen)) for label in labels
        ]
        return joined(name, parts, source)


def check_new(name: str) -> None:
    """Raise ConfigError if Minari has a dataset ``minari:ID``, or the id is none."""
    folder = _folder(name)
    if folder.exists():
        raise ConfigError(f"{name} exists at {folder}: remove it or choose another name")
    if not NEW_ID.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no id for a Minari dataset: write minari:NAMESPACE/NAME-v0, with two letters "
            "at least in each"
        )


def write(demos: Transitions, name: str) -> None:
    """The new dataset ``minari:ID`` (see :func:`check_new`), with boxes as spaces."""
    minari = _library(name)
    folder = _folder(name)
    buffers = []
    for index, (stop, length) in enumerate(zip(demos.ends, demos.lengths, strict=True)):
        rows = slice(stop - length, stop)
        infos = (
            {}
            if demos.success is None
            else {"success": np.append(np.zeros(length, np.bool_), demos.success[index])}
        )
        buffers.append(
            minari.data_collector.EpisodeBuffer(
                observations=_written(demos, index, rows),
                actions=demos.action[rows],
                rewards=demos.reward[rows],
                terminations=demos.terminated[rows],
                truncations=demos.truncated[rows],
                infos=infos,
            )
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it wants an author and a link
            dataset = minari.create_dataset_from_buffers(
                name.removeprefix(PREFIX),
                buffers,
                algorithm_name=demos.source["policy"]
                if isinstance(demos.source.get("policy"), str)
                else None,
                action_space=spaces.Box(-1, 1, demos.action.shape[1:], np.float32),
                observation_space=_space(demos),
                data_format="hdf5",
            )
        dataset.storage.update_metadata({SOURCE: demos.source})
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # it was not there before
        raise


def _written(demos: Transitions, episode: int, rows: slice) -> Any:
    """The observations of an episode, as Minari has them: one more than its transitions."""
    numbers = np.append(demos.observation[rows], demos.next_observation[rows.stop - 1 : rows.stop], axis=0)
    if demos.frames is None:
        return numbers
    parts = demos.pictures(rows.start + episode, rows.stop + episode + 1)
    return {**parts, STATE: numbers} if numbers.shape[1] else parts


def _space(demos: Transitions) -> spaces.Space:
    numbers = spaces.Box(-np.inf, np.inf, demos.observation.shape[1:], np.float32)
    if demos.frames is None:
        return numbers
    parts: dict[str, spaces.Space] = {
        field.name: spaces.Box(0, 255, field.shape, np.uint8) for field in demos.schema.pictures
    }
    return spaces.Dict({**parts, STATE: numbers} if numbers.shape[0] else parts)


def _library(name: str) -> Any:
    try:
        import minari
        import minari.data_collector
    except ImportError:
        raise ConfigError(f"{name} needs minari and h5py: pip install 'sac-dist[data]'") from None
    return minari


def _folder(name: str) -> Path:
    _library(name)
    from minari.storage.datasets_root_dir import get_dataset_path

    dataset = name.removeprefix(PREFIX)
    if not dataset or dataset.startswith("/") or ".." in dataset:
        raise ConfigError(f"{name!r} is no Minari dataset: write minari:NAMESPACE/NAME-v0")
    return get_dataset_path(dataset)


def _episode(
    reader: Reader,
    label: str,
    observation_space: gymnasium.Space,
    action_space: spaces.Box,
    name: str,
    seen: Mapping[str, tuple[str, spaces.Box]],
) -> Transitions | None:
    group, name = reader.root[label], f"{name}: {label}"
    rewards = reader.array(group, "rewards")
    shown = {camera: _picture(reader, group, place, space, name) for camera, (place, space) in seen.items()}
    count = len(next(iter(shown.values()))) if shown else 0
    columns = _columns(reader, group, "observations", observation_space, name)
    if not columns and not shown:
        raise ConfigError(f"{name} has nothing but pictures as observations: add {PICTURES} to its name")
    observations = np.concatenate(columns or [np.empty((count, 0), np.float32)], axis=1)
    if len(observations) not in (len(rewards), len(rewards) + 1):
        raise ConfigError(
            f"{name} has {len(observations)} observations for {len(rewards)} rewards: there must be one more"
        )
    actions = reader.array(group, "actions")
    actions = _scaled(actions.reshape(len(actions), -1), action_space, name)
    outside = int((np.abs(actions) > 1 + TOLERANCE).any(1).sum()) if _bounded(action_space) else 0
    infos = group.get("infos")
    marks = [key for key in SUCCESS if infos is not None and key in infos]
    return completed(
        name,
        observation=observations,
        action=np.clip(actions, -1, 1) if outside else actions,
        reward=rewards,
        next_observation=None,
        terminated=reader.array(group, "terminations"),
        truncated=reader.array(group, "truncations"),
        one_episode=True,
        success=any(reader.array(infos, key).any() for key in marks) if marks else None,
        notes={CLIPPED: outside},
        pictures=shown,
    )


def named_pictures(space: gymnasium.Space, name: str) -> dict[str, tuple[str, spaces.Box]]:
    """Where the pictures of a dataset lie, by their cameras. Raises ConfigError if there are none."""
    places = {
        camera: ("observations" if part is space else f"observations/{camera}", part)
        for camera, part in sorted(named_parts(space).items())
        if isinstance(part, spaces.Box) and is_picture(part)
    }
    if not places:
        raise ConfigError(f"{name} has no pictures")
    return places


def _picture(reader: Reader, group: Any, place: str, space: spaces.Box, name: str) -> npt.NDArray[Any]:
    """(T + 1, height, width, channels)"""
    values = reader.array(group, place)
    if values.dtype != np.uint8 or values.shape[1:] != space.shape:
        raise ConfigError(f"{name}: {place} is {values.dtype} {values.shape}, not of {space}")
    return values[..., None] if values.ndim == 3 else values


def _columns(
    reader: Reader, group: Any, key: str, space: gymnasium.Space, name: str
) -> list[npt.NDArray[Any]]:
    """(T + 1, …) arrays that side by side are what ``Schema.flatten`` gives, step by step."""
    parts = _parts(space)
    if parts is not None:
        return [column for child, part in parts for column in _columns(reader, group[key], child, part, name)]
    if isinstance(space, spaces.Box) and len(space.shape) > 1 and space.dtype == np.uint8:
        return []  # a picture
    values = reader.array(group, key)
    if isinstance(space, spaces.Discrete) and space.n <= MOST_CHOICES:
        return [(values.reshape(-1, 1) - space.start == np.arange(space.n)).astype(np.float32)]
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.sum() <= MOST_CHOICES:
        choices = (values.reshape(len(values), -1) - space.start.ravel()).T
        return [
            (chosen[:, None] == np.arange(n)).astype(np.float32)
            for chosen, n in zip(choices, space.nvec.ravel(), strict=True)
        ]
    if isinstance(space, (spaces.Box, spaces.MultiBinary)) and values.shape[1:] == space.shape:
        return [values.reshape(len(values), -1)]
    raise ConfigError(f"{name}: {key} is of {str(space)[:60]}, which does not become a vector here")


def _parts(space: gymnasium.Space) -> list[tuple[str, gymnasium.Space]] | None:
    if isinstance(space, spaces.Dict):
        return sorted(space.spaces.items())
    if isinstance(space, spaces.Tuple):
        return [(f"_index_{index}", part) for index, part in enumerate(space.spaces)]
    return None


def _scaled(actions: npt.NDArray[Any], space: spaces.Box, name: str) -> npt.NDArray[Any]:
    low, high = space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)
    if actions.shape[1] != low.size:
        raise ConfigError(f"{name}: action has {actions.shape[1]} entries and the action space {low.size}")
    if not _bounded(space) or ((low == -1) & (high == 1)).all():
        return actions
    if (low >= high).any():
        raise ConfigError(
            f"{name} has an action space whose low is not below its high: its actions cannot be scaled"
        )
    scaled: npt.NDArray[Any] = 2 * (actions - low) / (high - low) - 1
    return scaled


def _bounded(space: spaces.Box) -> bool:
    return bool(np.isfinite([space.low, space.high]).all())


def _matches(name: str) -> bool:
    return name.startswith(PREFIX) or is_dataset(Path(name.removesuffix(PICTURES)))


def _read(name: str) -> Transitions:
    if name.startswith(PREFIX):
        return read_id(name)
    return read_folder(Path(name.removesuffix(PICTURES)), name, name.endswith(PICTURES))


FORMAT = Format(_matches, _read, (PREFIX,), check_new, write)
