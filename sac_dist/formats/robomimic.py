"""robomimic's HDF5 files, data/demo_0/{actions,rewards,dones,obs,next_obs}:
https://robomimic.github.io/docs/datasets/overview.html
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
from sac_dist.formats.check import checked, joined
from sac_dist.formats.hdf5 import Reader, library, opened
from sac_dist.settings import ConfigError

GYM = 2  # robomimic's EnvType
OBSERVATION = "flat"  # the one observation key that is written


def read(path: Path) -> Transitions:
    """All demos in the order of their numbers. Raises ConfigError.

    An observation is the keys of ``obs`` in sorted order, as gymnasium flattens a Dict, without pictures.
    ``dones`` means terminated; a demo that ends without is truncated. A demo without ``next_obs`` is refused:
    its last transition, often the only one with a reward, could not be used.
    """
    with opened(path) as reader:
        data = reader.root.get("data")
        if data is None or not hasattr(data, "keys"):
            raise ConfigError(f"{path} has no group data: it is not a file of robomimic's")
        source = _source(reader, data)
        return joined(
            str(path),
            [
                (demo, _demo(reader, data[demo], f"{path}: {demo}", source))
                for demo in sorted(data, key=_number)
            ],
        )


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
            demo["actions"] = demos.action[rows]
            demo["rewards"] = demos.reward[rows]
            demo["dones"] = demos.terminated[rows].astype(np.int64)
            demo[f"obs/{OBSERVATION}"] = demos.observation[rows]
            demo[f"next_obs/{OBSERVATION}"] = demos.next_observation[rows]


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


def _demo(reader: Reader, demo: Any, name: str, source: dict[str, Any]) -> Transitions:
    if not hasattr(demo, "keys"):
        raise ConfigError(f"{name} is not a group")
    if "next_obs" not in demo:
        raise ConfigError(
            f"{name} has no next_obs, so its last transition is incomplete: write it with robomimic's "
            "dataset_states_to_obs.py"
        )
    rewards, dones = reader.array(demo, "rewards").ravel(), reader.array(demo, "dones").ravel()
    observation, following = demo.get("obs"), demo["next_obs"]
    keys = _keys(observation, name)
    samples = reader.number(demo, "num_samples")
    if samples is not None and samples != len(rewards):
        raise ConfigError(f"{name}: num_samples is {samples} and rewards has {len(rewards)} entries")
    found = checked(
        name,
        observation=_vectors(reader, observation, keys, name),
        action=reader.array(demo, "actions"),
        reward=rewards,
        next_observation=_vectors(reader, following, keys, name),
        terminated=dones,
        truncated=np.zeros(len(rewards), np.bool_),
        source=source,
    )
    success = reader.number(demo, "success")
    if success is not None and len(found.ends) == 1:
        return replace(found, success=np.array([success], np.bool_))
    return found


def _keys(group: Any, name: str) -> list[str]:
    """What is no picture: a number or a vector per step."""
    if group is None or not hasattr(group, "keys"):
        raise ConfigError(f"{name} has no group obs: write it with robomimic's dataset_states_to_obs.py")
    keys = [key for key in sorted(group) if len(getattr(group[key], "shape", None) or ()) <= 2]
    if not keys:
        raise ConfigError(
            f"{name} has nothing but pictures as observations: only vectors of numbers are read"
        )
    return keys


def _vectors(reader: Reader, group: Any, keys: list[str], name: str) -> npt.NDArray[Any]:
    columns = [reader.array(group, key) for key in keys]
    lengths = {len(column) if column.ndim else 0 for column in columns}
    if len(lengths) > 1:
        raise ConfigError(f"{name}: the entries of {group.name} have different lengths: {sorted(lengths)}")
    return np.concatenate([column.reshape(len(column), -1) for column in columns], axis=1)
