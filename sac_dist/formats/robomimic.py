"""robomimic's HDF5 files, data/demo_0/{actions,rewards,dones,obs,next_obs}:
https://robomimic.github.io/docs/datasets/overview.html

FILE/mask/KEY, which no file can be called, is the demos of one of its filter keys; FILE/pictures reads the
pictures too.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.data.transitions import Transitions
from sac_dist.formats.check import joined
from sac_dist.formats.format import Format, has_suffix, whole
from sac_dist.formats.hdf5 import SUFFIXES, Reader, library, opened
from sac_dist.formats.trajectories import completed, is_pictures, side_by_side
from sac_dist.settings import ConfigError

GYM = 2  # robomimic's EnvType
TO_OBSERVATIONS = "robomimic's dataset_states_to_obs.py"
OBSERVATION = "flat"  # the one observation key that is written


def matches(name: str) -> bool:
    """Whether it is an HDF5 file, or a filter key of one."""
    return has_suffix(*SUFFIXES)(_split(name)[0])


def read(name: str) -> Transitions:
    """The demos, or those of a filter key, in the order of their numbers. Raises ConfigError.

    An observation is the keys of ``obs`` in sorted order, pictures only where they are asked for, by their
    keys as cameras. One demo is one episode: it
    terminates if its last transition is done, else it is truncated, and dones before that, which robomimic's
    ``done_mode`` 0 and 2 write at each state of success, end nothing. A demo without ``next_obs`` that does
    not end done is refused: its last transition, often the only one with a reward, could not be used.
    """
    file, key, pictures = _split(name)
    path = Path(file)
    with opened(path) as reader:
        data = reader.root.get("data")
        if data is None or not hasattr(data, "keys"):
            raise ConfigError(f"{path} has no group data: it is not a file of robomimic's")
        source = _source(reader, data)
        demos = sorted(data if key is None else _filtered(reader, data, key), key=_number)
        parts = [(demo, _demo(reader, data[demo], f"{file}: {demo}", pictures)) for demo in demos]
        return joined(name, parts, source)


def _split(name: str) -> tuple[str, str | None, bool]:
    """The file, the filter key and whether pictures are asked for, of FILE/mask/KEY/pictures."""
    found = re.fullmatch(r"(.+?)(?:/mask/([^/]+))?(/pictures)?", name)
    if found and Path(found[1]).is_file():
        return found[1], found[2], found[3] is not None
    return name, None, False


def _filtered(reader: Reader, data: Any, key: str) -> list[str]:
    """The demos of a filter key."""
    mask = reader.root.get("mask")
    keys = sorted(mask) if hasattr(mask, "keys") else []
    if key not in keys:
        has = f"the filter keys {', '.join(keys)}" if keys else "no filter keys (group mask)"
        raise ConfigError(f"{reader.name} has {has}, and not {key}")
    demos = [text.decode("utf-8", "replace") for text in reader.array(mask, key, "S").ravel().tolist()]
    missing = [demo for demo in demos if demo not in data]
    if missing:
        raise ConfigError(f"{reader.name}: its filter key {key} names {missing[0]!a}, which is not there")
    return sorted(set(demos))


def write(demos: Transitions, path: Path) -> None:
    """The same layout, with the observation under the one key "flat"; ``success`` and ``source`` are
    attributes robomimic ignores.
    """
    env = demos.source.get("env") if isinstance(demos.source.get("env"), dict) else None
    options = {name: value for name, value in (env or {}).items() if name != "env" and value is not None}
    env_args = {"env_name": (env or {}).get("env", "unknown"), "type": GYM, "env_kwargs": options}
    with library(path).File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = len(demos)
        data.attrs["env_args"] = np.bytes_(json.dumps(env_args))  # of fixed length: see Reader.text
        data.attrs["source"] = np.bytes_(json.dumps(demos.source))
        for index, (stop, length) in enumerate(zip(demos.ends, demos.lengths, strict=True)):
            rows = slice(stop - length, stop)
            demo = data.create_group(f"demo_{index}")
            demo.attrs["num_samples"] = int(length)
            if demos.success is not None:
                demo.attrs["success"] = bool(demos.success[index])
            if demos.is_intervention is not None:
                demo["is_intervention"] = demos.is_intervention[rows].astype(np.int64)
            demo["actions"] = demos.action[rows]
            demo["rewards"] = demos.reward[rows]
            demo["dones"] = demos.terminated[rows].astype(np.int64)
            for group, numbers, first in (
                ("obs", demos.observation, 0),
                ("next_obs", demos.next_observation, 1),
            ):
                if numbers.shape[1]:
                    demo[f"{group}/{OBSERVATION}"] = numbers[rows]
                begin = int(stop - length) + index + first
                for key, shown in demos.pictures(begin, begin + int(length)).items():
                    demo.create_dataset(f"{group}/{key}", data=shown, compression="gzip", compression_opts=1)


def _number(demo: str) -> tuple[int, str]:
    digits = re.search(r"\d{1,18}$", demo)
    return int(digits[0]) if digits else -1, demo


def _source(reader: Reader, data: Any) -> dict[str, Any]:
    """Our own attribute, or what a gymnasium file of others says of its environment; robomimic's own text is
    left unread.
    """
    own, env_args = (_json(reader.text(data, key)) for key in ("source", "env_args"))
    if own is not None:
        return own
    if env_args and env_args.get("type") == GYM:
        options = env_args.get("env_kwargs")
        return {"env": {"env": env_args.get("env_name"), **(options if isinstance(options, dict) else {})}}
    return {}


def _json(text: str | None) -> dict[str, Any] | None:
    value = json.loads(text) if text else None
    return value if isinstance(value, dict) else None


def _demo(reader: Reader, demo: Any, name: str, pictures: bool) -> Transitions | None:
    if not hasattr(demo, "keys"):
        raise ConfigError(f"{name} is not a group")
    observation, following = demo.get("obs"), demo.get("next_obs")
    keys, cameras = _keys(observation, name, pictures)
    for key in ("rewards", "dones"):
        if key not in demo:  # MimicGen generates such
            raise ConfigError(f"{name} has no {key}: write it with {TO_OBSERVATIONS}")
    rewards, dones = reader.array(demo, "rewards").ravel(), reader.array(demo, "dones").ravel()
    samples = reader.number(demo, "num_samples")
    if samples is not None and samples != len(rewards):
        raise ConfigError(f"{name}: num_samples is {samples} and rewards has {len(rewards)} entries")
    if following is None and len(dones) and not dones[-1]:
        raise ConfigError(
            f"{name} has no next_obs and does not end done, so its last transition is incomplete: write it "
            f"with {TO_OBSERVATIONS}"
        )
    success = reader.number(demo, "success")
    seen = {key: reader.array(observation, key) for key in cameras}
    if following is not None:
        seen = {key: np.concatenate([all, reader.array(following, key)[-1:]]) for key, all in seen.items()}
    found = completed(
        name,
        observation=_vectors(reader, observation, keys, name, len(rewards)),
        action=reader.array(demo, "actions"),
        reward=rewards,
        next_observation=None if following is None else _vectors(reader, following, keys, name, len(rewards)),
        terminated=dones,
        truncated=np.zeros(len(rewards), np.bool_),
        one_episode=True,
        success=None if success is None else bool(success),
        pictures=seen,
    )
    by_person = reader.array(demo, "is_intervention").ravel() if "is_intervention" in demo else None
    if found is None or by_person is None or len(by_person) != len(found):
        return found
    return replace(found, is_intervention=by_person != 0)


def _keys(group: Any, name: str, pictures: bool) -> tuple[list[str], list[str]]:
    """What is no picture, a number or a vector per step; and pictures, where they are asked for."""
    if group is None or not hasattr(group, "keys"):
        raise ConfigError(f"{name} has no group obs: write it with {TO_OBSERVATIONS}")
    keys = [key for key in sorted(group) if len(getattr(group[key], "shape", None) or ()) <= 2]
    cameras = [key for key in sorted(group) if is_pictures(group[key])] if pictures else []
    if pictures and not cameras:
        raise ConfigError(f"{name} has no pictures, uint8 of (steps, height, width, channels)")
    if not keys and not cameras:
        raise ConfigError(
            f"{name} has nothing but pictures as observations: name it FILE/pictures to read them"
        )
    return keys, cameras


def _vectors(reader: Reader, group: Any, keys: list[str], name: str, count: int) -> npt.NDArray[Any]:
    if not keys:
        return np.empty((count, 0), np.float32)
    return side_by_side(f"{name}: {group.name}", {key: reader.array(group, key) for key in keys})


FORMAT = Format(matches, read, SUFFIXES, write=whole(write))
