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
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from sac_dist.data.transitions import Transitions
from sac_dist.formats.check import checked, joined
from sac_dist.formats.hdf5 import Reader, opened
from sac_dist.settings import ConfigError

PREFIX = "minari:"
NEW_ID = re.compile(PREFIX + r"([-\w]{2,}/)*[-\w]{2,}-v\d+")
SOURCE = "sac_dist_source"  # our key among Minari's metadata
LARGEST_METADATA = 2**24  # bytes


def is_dataset(folder: Path) -> bool:
    return (folder / "data" / "main_data.hdf5").is_file()


def read_id(name: str) -> Transitions:
    """``minari:ID`` from Minari's own folder; nothing is downloaded. Raises ConfigError."""
    folder = _folder(name)
    if not is_dataset(folder):
        raise ConfigError(
            f"no dataset {name.removeprefix(PREFIX)} in HDF5 at {folder}: minari download "
            f"{name.removeprefix(PREFIX)}"
        )
    return read_folder(folder, name)


def read_folder(folder: Path, name: str) -> Transitions:
    """All episodes of the dataset in ``folder``. Raises ConfigError.

    Observations are flattened as gymnasium does, without pictures. Actions are scaled to [-1, 1] from a
    bounded Box. An episode is a success if its infos' ``success`` ever is.
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
        parts = [
            (label, _episode(reader, label, observation_space, action_space, name, source))
            for label in labels
        ]
        return joined(name, parts)


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
                observations=np.append(
                    demos.observation[rows], demos.next_observation[stop - 1 : stop], axis=0
                ),
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
                observation_space=spaces.Box(-np.inf, np.inf, demos.observation.shape[1:], np.float32),
                data_format="hdf5",
            )
        dataset.storage.update_metadata({SOURCE: demos.source})
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # it was not there before
        raise


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
    source: dict[str, Any],
) -> Transitions:
    group, name = reader.root[label], f"{name}: {label}"
    observations = np.concatenate(_columns(reader, group, "observations", observation_space, name), axis=1)
    rewards = reader.array(group, "rewards")
    if len(observations) != len(rewards) + 1:
        raise ConfigError(
            f"{name} has {len(observations)} observations for {len(rewards)} rewards: there must be one more"
        )
    actions = reader.array(group, "actions")
    found = checked(
        name,
        observation=observations[:-1],
        action=_scaled(actions.reshape(len(actions), -1), action_space, name),
        reward=rewards,
        next_observation=observations[1:],
        terminated=reader.array(group, "terminations"),
        truncated=reader.array(group, "truncations"),
        source=source,
    )
    infos = group.get("infos")
    if infos is None or "success" not in infos or len(found.ends) != 1:
        return found
    success = bool(reader.array(infos, "success").any())
    return replace(found, success=np.array([success], np.bool_))


def _columns(
    reader: Reader, group: Any, key: str, space: gymnasium.Space, name: str
) -> list[npt.NDArray[Any]]:
    """(T + 1, …) arrays that side by side are what ``gymnasium.spaces.flatten`` gives, step by step."""
    parts = _parts(space)
    if parts is not None:
        return [column for child, part in parts for column in _columns(reader, group[key], child, part, name)]
    if isinstance(space, spaces.Box) and len(space.shape) > 1 and space.dtype == np.uint8:
        return []  # a picture
    values = reader.array(group, key)
    if isinstance(space, spaces.Discrete) and space.n <= 4096:
        return [(values.reshape(-1, 1) - space.start == np.arange(space.n)).astype(np.float32)]
    if isinstance(space, (spaces.Box, spaces.MultiBinary)) and values.shape[1:] == space.shape:
        return [values.reshape(len(values), -1)]
    raise ConfigError(f"{name}: {key} is of {str(space)[:60]}, which does not become a vector here")


def _parts(space: gymnasium.Space) -> list[tuple[str, gymnasium.Space]] | None:
    if isinstance(space, spaces.Dict):
        return list(space.spaces.items())
    if isinstance(space, spaces.Tuple):
        return [(f"_index_{index}", part) for index, part in enumerate(space.spaces)]
    return None


def _scaled(actions: npt.NDArray[Any], space: spaces.Box, name: str) -> npt.NDArray[Any]:
    low, high = space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)
    if actions.shape[1] != low.size:
        raise ConfigError(f"{name}: action has {actions.shape[1]} entries and the action space {low.size}")
    if not np.isfinite([low, high]).all() or ((low == -1) & (high == 1)).all():
        return actions
    if (low >= high).any():
        raise ConfigError(
            f"{name} has an action space whose low is not below its high: its actions cannot be scaled"
        )
    scaled: npt.NDArray[Any] = 2 * (actions - low) / (high - low) - 1
    return scaled
