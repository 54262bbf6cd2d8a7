"""D4RL's HDF5 layout (https://github.com/Farama-Foundation/D4RL/wiki/Tasks), and d3rlpy 1's: arrays over all
steps at the root, read only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from sac_dist.data.transitions import Transitions
from sac_dist.formats import trajectories
from sac_dist.formats.format import Format, has_suffix
from sac_dist.formats.hdf5 import SUFFIXES, Reader, opened
from sac_dist.settings import ConfigError


def matches(name: str) -> bool:
    """Whether the file has observations at its root."""
    if not has_suffix(*SUFFIXES)(name):
        return False
    with opened(Path(name)) as reader:
        return "observation" in trajectories.known_names(reader.root)


def read(name: str) -> Transitions:
    """Everything but ``infos`` and ``metadata``. Raises ConfigError.

    ``terminals`` and ``timeouts`` end episodes. Without ``next_observations`` the last transition before a
    timeout is left out, as D4RL's ``qlearning_dataset`` does.
    """
    with opened(Path(name)) as reader:
        keys = trajectories.known_names(reader.root)
        arrays = {field: _array(reader, key) for field, key in keys.items()}
    found = trajectories.of_arrays(name, arrays, one_episode=False)
    if found is None:
        raise ConfigError(f"{name} holds no whole transitions")
    return found


def _array(reader: Reader, key: str) -> npt.NDArray[Any]:
    entry = reader.root[key]
    if not hasattr(entry, "keys"):
        return reader.array(reader.root, key)
    return trajectories.side_by_side(
        f"{reader.name}: {key}", {part: reader.array(entry, part) for part in entry}
    )


FORMAT = Format(matches, read)
