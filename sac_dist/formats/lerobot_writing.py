"""Writes data sets of LeRobot's version 3.0 as its own LeRobotDataset does."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.data.schema import Field
from sac_dist.data.transitions import Transitions
from sac_dist.formats import films
from sac_dist.settings import ConfigError

VERSION, SOURCE = "v3.0", "sac_dist.json"
FPS = 20  # of the arm tasks (envs.backends.base); transitions do not say how long a step takes
FASTEST = 10_000  # pictures a second; a data set that claims more is damaged
QUANTILES = 0.01, 0.1, 0.5, 0.9, 0.99
SAMPLED = 100  # pictures of an episode that its statistics are of, as LeRobot's are
FILE = "chunk-000/file-000"
PATTERN = "chunk-{chunk_index:03d}/file-{file_index:03d}"

Array = npt.NDArray[Any]
Statistics = dict[str, list[Any]]


def write(demos: Transitions, folder: Path) -> None:
    """The new folder, whole or not at all. Raises ConfigError for pictures without three colours, and for a
    camera whose name cannot be a folder's.
    """
    for camera in demos.schema.pictures:
        if camera.shape[2] != 3:
            raise ConfigError(f"{folder}: LeRobot's films have three colours, and {camera} has not")
        if "/" in camera.name or not camera.name.isprintable():
            raise ConfigError(f"{folder}: the camera's name {camera.name!r} cannot be that of a folder")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        _write(demos, temporary)
        os.rename(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write(demos: Transitions, folder: Path) -> None:
    for place in (f"data/{FILE}", f"meta/episodes/{FILE}", *(_film(each) for each in demos.schema.pictures)):
        (folder / place).parent.mkdir(parents=True)
    fps = demos.source.get("fps")
    fps = round(fps) if isinstance(fps, (int, float)) and 1 <= fps <= FASTEST else FPS
    columns = _columns(demos, fps)
    task = _task(demos)
    _parquet({key: _cells(values) for key, values in columns.items()}, folder / f"data/{FILE}.parquet")
    for camera in demos.schema.pictures:
        spans = zip(demos.starts, demos.ends, strict=True)
        pictures = (
            picture
            for episode, (start, end) in enumerate(spans)
            for picture in demos.pictures(start + episode, end + episode)[camera.name]
        )
        films.write(folder / _film(camera), pictures, camera.shape[:2], fps)
    statistics = [_statistics(demos, columns, episode) for episode in range(len(demos.starts))]
    episodes = [_episode(demos, each, fps, task, statistics[each]) for each in range(len(demos.starts))]
    _parquet(
        {key: [each[key] for each in episodes] for key in episodes[0]},
        folder / f"meta/episodes/{FILE}.parquet",
    )
    _tasks(task, folder / "meta/tasks.parquet")
    whole = {key: _together([each[key] for each in statistics]) for key in statistics[0]}
    for name, content in (
        ("info.json", _info(demos, columns, fps)),
        ("stats.json", whole),
        (SOURCE, demos.source),
    ):
        (folder / "meta" / name).write_text(json.dumps(content, indent=4), encoding="utf-8")


def _columns(demos: Transitions, fps: int) -> dict[str, Array]:
    """(N,) or (N, size) each feature but the films."""
    count, lengths = len(demos), demos.lengths
    frame = np.arange(count) - np.repeat(demos.starts, lengths)
    columns: dict[str, Array] = {}
    if demos.observation.shape[1]:
        columns["observation.state"] = demos.observation
    columns["action"], columns["next.reward"] = demos.action, demos.reward
    columns["next.done"], columns["next.truncated"] = demos.terminated, demos.truncated & ~demos.terminated
    if demos.success is not None:
        columns["next.success"] = np.zeros(count, np.bool_)
        columns["next.success"][demos.ends - 1] = demos.success
    if demos.is_intervention is not None:
        columns["complementary_info.is_intervention"] = demos.is_intervention
    return columns | {
        "timestamp": (frame / fps).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.repeat(np.arange(len(lengths)), lengths),
        "index": np.arange(count),
        "task_index": np.zeros(count, np.int64),
    }


def _info(demos: Transitions, columns: dict[str, Array], fps: int) -> dict[str, Any]:
    features: dict[str, dict[str, Any]] = {
        key: {"dtype": str(values.dtype), "shape": [*values.shape[1:]] or [1], "names": None}
        for key, values in columns.items()
    }
    for camera in demos.schema.pictures:
        details = {
            "height": camera.shape[0],
            "width": camera.shape[1],
            "channels": 3,
            "codec": "h264",
            "pix_fmt": films.PIXELS,
            "fps": fps,
            "is_depth_map": False,
        }
        features[_key(camera)] = {
            "dtype": "video",
            "shape": [*camera.shape],
            "names": ["height", "width", "channels"],
            "info": {f"video.{name}": value for name, value in details.items()} | {"has_audio": False},
        }
    return {
        "codebase_version": VERSION,
        "robot_type": None,
        "total_episodes": len(demos.starts),
        "total_frames": len(demos),
        "total_tasks": 1,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{len(demos.starts)}"},
        "data_path": f"data/{PATTERN}.parquet",
        "video_path": f"videos/{{video_key}}/{PATTERN}.mp4" if demos.schema.pictures else None,
        "features": features,
    }


def _episode(
    demos: Transitions, episode: int, fps: int, task: str, statistics: dict[str, Statistics]
) -> dict[str, Any]:
    """A row of meta/episodes."""
    start, end = int(demos.starts[episode]), int(demos.ends[episode])
    row: dict[str, Any] = {"episode_index": episode, "tasks": [task], "length": end - start}
    row |= {"data/chunk_index": 0, "data/file_index": 0, "dataset_from_index": start, "dataset_to_index": end}
    for camera in demos.schema.pictures:
        place = f"videos/{_key(camera)}"
        row |= {f"{place}/chunk_index": 0, f"{place}/file_index": 0}
        row |= {f"{place}/from_timestamp": start / fps, f"{place}/to_timestamp": end / fps}
    for key, values in statistics.items():
        row |= {f"stats/{key}/{name}": value for name, value in values.items()}
    return row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}


def _statistics(demos: Transitions, columns: dict[str, Array], episode: int) -> dict[str, Statistics]:
    """Of an episode's features; pictures' by colour, from 0 to 1 and (3, 1, 1)."""
    start, end = int(demos.starts[episode]), int(demos.ends[episode])
    found = {key: _figures(values[start:end].reshape(end - start, -1)) for key, values in columns.items()}
    chosen = np.linspace(start, end - 1, min(SAMPLED, end - start)).round().astype(int) + episode
    for camera in demos.schema.pictures:
        pictures = np.stack([demos.pictures(each, each + 1)[camera.name][0] for each in chosen])
        figures = _figures(pictures.reshape(-1, 3) / 255)
        figures = {name: [[[value]] for value in values] for name, values in figures.items()}
        found[_key(camera)] = figures | {"count": [len(chosen)]}
    return found


def _figures(values: Array) -> Statistics:
    values = values.astype(np.float64)
    figures = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    quantiles = np.quantile(values, QUANTILES, axis=0)
    figures |= {f"q{round(100 * each):02d}": row for each, row in zip(QUANTILES, quantiles, strict=True)}
    return {name: each.tolist() for name, each in figures.items()} | {"count": [len(values)]}


def _together(parts: list[Statistics]) -> Statistics:
    """Those of all episodes, as LeRobot's aggregate_feature_stats: quantiles are means of the episodes'."""
    stacked = {name: np.array([part[name] for part in parts]) for name in parts[0]}
    weights = stacked["count"][:, 0] / stacked["count"].sum()
    means = {name: np.tensordot(weights, values, 1) for name, values in stacked.items()}
    spread = stacked["std"] ** 2 + (stacked["mean"] - means["mean"]) ** 2
    means |= {"min": stacked["min"].min(0), "max": stacked["max"].max(0)}
    means |= {"std": np.sqrt(np.tensordot(weights, spread, 1)), "count": stacked["count"].sum(0)}
    return {name: each.tolist() for name, each in means.items()}


def _task(demos: Transitions) -> str:
    env = demos.source.get("env")
    name = env.get("env") if isinstance(env, dict) else None
    return name if isinstance(name, str) else "unknown"


def _tasks(task: str, path: Path) -> None:
    """The table that pandas reads as one with the tasks as its index."""
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"task_index": [0], "task": [task]})
    text = {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object"}
    number = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    columns = [each | {"metadata": None} for each in (number, text)]
    layout = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    parquet.write_table(table.replace_schema_metadata({"pandas": json.dumps(layout)}), path)


def _cells(values: Array) -> Any:
    import pyarrow

    flat = pyarrow.array(values.ravel())
    wide = values.ndim == 2 and values.shape[1] > 1
    return pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1]) if wide else flat


def _parquet(columns: dict[str, Any], path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path, compression="snappy")


def _key(camera: Field) -> str:
    return f"observation.images.{camera.name}"


def _film(camera: Field) -> str:
    return f"videos/{_key(camera)}/{FILE}.mp4"
