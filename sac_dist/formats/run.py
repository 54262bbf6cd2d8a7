"""A run's folder as transitions: what its last checkpoint holds of the replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.data.schema import Rows, Schema
from sac_dist.data.transitions import Transitions
from sac_dist.formats import npz
from sac_dist.formats.check import checked
from sac_dist.formats.format import Format
from sac_dist.settings import ConfigError
from sac_dist.storage.run_folder import RunFolder
from sac_dist.storage.segments import ReplayFiles

ATTEMPTS = (
    3  # a run that goes on may write a checkpoint, and remove files of the last one, while they are read
)


def is_run(path: Path) -> bool:
    return RunFolder(path).last.is_file()


def read(path: Path) -> Transitions:
    """Shard after shard, oldest first. Only reads: a run may be going on there. Raises ConfigError.

    An episode may begin in its middle where the ring has overwritten the beginning, and where it breaks off
    (a worker died, the checkpoint came) it counts as truncated.
    """
    from sac_dist.storage import checkpoint  # imports torch

    folder = RunFolder(path)
    for attempt in range(ATTEMPTS):
        saved = checkpoint.read(folder.last)
        replay = _checked_list((saved.run or {}).get("replay"), path)
        try:
            segment = ReplayFiles(folder.replay, saved.schema).read(replay)
            break
        except ConfigError:
            if attempt == ATTEMPTS - 1:
                raise
    parts: dict[str, Any] = saved.schema.views(segment.rows)
    lasts = np.append(segment.begins()[1:], len(segment.rows)) - 1
    parts["truncated"][lasts] = np.maximum(parts["truncated"][lasts], 1 - parts["terminated"][lasts])
    stored = [episode.frames for episode in segment.stored() if episode.frames is not None]
    return checked(
        str(path),
        **parts,
        is_intervention=_by_people(folder.interventions, saved.schema, segment.rows),
        frames=np.concatenate(stored) if stored else None,
        source={"env": saved.config.env.flat(), "policy": "replay", "seed": saved.config.train.seed},
        breaks="cut",
        schema=saved.schema,
    )


def _by_people(path: Path, schema: Schema, rows: Rows) -> npt.NDArray[np.bool_] | None:
    """(N,) which of ``rows`` are those of the file of interventions; None: there is none."""
    if not path.exists():
        return None
    those = npz.read(str(path)).rows
    if those.shape[1] != rows.shape[1]:
        raise ConfigError(f"{path} is of another run")
    but_truncated = np.arange(schema.row_width) != schema.columns["truncated"]  # where they let go it is 1
    known = {row.tobytes() for row in those[:, but_truncated]}
    return np.array([row.tobytes() in known for row in rows[:, but_truncated]], bool)


def _checked_list(replay: Any, path: Path) -> dict[str, Any]:
    """What the checkpoint says of the replay. The checkpoint's list names files of the folder, and nothing
    elsewhere.
    """
    if not isinstance(replay, dict) or not replay.get("segments"):
        raise ConfigError(f"{path} holds no transitions: its last checkpoint has none")
    for entry in replay["segments"]:
        if Path(entry["file"]).name != entry["file"]:
            raise ConfigError(f"{path} is damaged: its checkpoint names the file {entry['file']!r}")
    return replay


FORMAT = Format(lambda name: is_run(Path(name)), lambda name: read(Path(name)))
