"""LeRobot's data sets of version 3.0, and 2.1 to read: parquet files of frames, and a film per camera
(https://huggingface.co/docs/lerobot/lerobot-dataset-v3).

FOLDER/pictures reads the pictures too. Paths follow from the version: the patterns that meta/info.json has
for them, which could lead anywhere, are not used.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.data.transitions import Transitions
from sac_dist.formats import films, lerobot_writing
from sac_dist.formats.check import check_size, joined
from sac_dist.formats.format import Format, check_new_file
from sac_dist.formats.trajectories import completed, side_by_side
from sac_dist.settings import ConfigError
from sac_dist.system.files import read_whole

PREFIX, PICTURES = "lerobot:", "/pictures"
VERSIONS = "v2.1", "v3.0"
OBSERVATION, REWARD, DONE = "observation.", "next.reward", "next.done"
TRUNCATED, SUCCESS, BY_PERSON = "next.truncated", "next.success", "complementary_info.is_intervention"
IN_ORDER = "episode_index", "frame_index"
NO_NUMBERS = "video", "image", "string"
LARGEST_METADATA = 2**24  # bytes
DECODED = 64  # rows of pictures that are in memory at a time

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Folder:
    """A data set's folder and what its meta/info.json says."""

    path: Path
    version: str
    fps: float
    totals: tuple[int, int]  # episodes, frames
    chunk: int  # episodes of version 2.1 in a folder
    features: dict[str, tuple[str, tuple[int, ...]]]  # dtype and shape; a picture's is (height, width, 3)

    def files(self) -> list[Path]:
        return sorted((self.path / "data").glob("*/*.parquet"))


def is_dataset(folder: Path) -> bool:
    return (folder / "meta" / "info.json").is_file()


def read(name: str) -> Transitions:
    """All episodes of ``lerobot:FOLDER`` or FOLDER, either with /pictures behind it. Raises ConfigError.

    An observation is all numbers whose names begin with "observation.", in the order of their names. An
    episode terminated if its last frame is next.done and not next.truncated. Nobody recorded what came after
    its last frame, so the last transition of one that did not terminate is left out.
    """
    folder = _opened(name)
    keys = [key for key in folder.features if key.startswith(OBSERVATION)]
    vectors = [key for key in keys if folder.features[key][0] not in NO_NUMBERS]
    cameras = [key for key in keys if folder.features[key][0] in ("video", "image")]
    shown = cameras if name.endswith(PICTURES) else []
    if name.endswith(PICTURES) and not cameras:
        raise ConfigError(f"{name} has no pictures")
    if not vectors and not shown:
        raise ConfigError(f"{name} has no numbers as observations: add {PICTURES} to its name if it has some")
    _check_cameras(name, shown)
    marks = [key for key in (DONE, TRUNCATED, SUCCESS, BY_PERSON) if key in folder.features]
    rows = _rows(folder, [*IN_ORDER, *vectors, "action", REWARD, *marks])
    begins = _begins(folder, rows)
    ends = np.append(begins[1:], folder.totals[1])
    seen = {_camera(key): _pictures(folder, key, begins, ends) for key in shown}
    parts = []
    for episode, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        part = {key: values[begin:end] for key, values in rows.items()}
        frames = {camera: pictures[begin:end] for camera, pictures in seen.items()}
        parts.append((f"episode {episode}", _episode(f"{name}: episode {episode}", part, vectors, frames)))
    return joined(name, parts, _source(folder))


def check_new(name: str) -> None:
    """Raise ConfigError unless the folder of ``lerobot:FOLDER`` could be made."""
    if name.endswith(PICTURES):
        raise ConfigError(
            f"{name} is a name to read: leave out {PICTURES}, pictures are written by themselves"
        )
    check_new_file(name.removeprefix(PREFIX))


def write(demos: Transitions, name: str) -> None:
    """``lerobot:FOLDER``, version 3.0, with the pictures as films."""
    library(name)
    lerobot_writing.write(demos, Path(name.removeprefix(PREFIX)))


def library(name: object) -> ModuleType:
    """pyarrow.parquet, which the package does without until a data set needs it. Raises ConfigError."""
    films.library(name)
    try:
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(f"{name} needs pyarrow and av: pip install 'sac-dist[lerobot]'") from None
    module: ModuleType = pyarrow.parquet
    return module


def _opened(name: str) -> Folder:
    path = Path(name.removeprefix(PREFIX).removesuffix(PICTURES))
    if not is_dataset(path):
        raise ConfigError(f"no LeRobot data set at {path}: it has no meta/info.json")
    library(name)
    place = path / "meta" / "info.json"
    info = _json(place)
    if not isinstance(info, dict) or info.get("codebase_version") not in VERSIONS:
        version = info.get("codebase_version") if isinstance(info, dict) else None
        raise ConfigError(
            f"{place} is of the version {str(version)[:20]}: {' and '.join(VERSIONS)} are read, and "
            "LeRobot's convert_dataset scripts make those of older ones"
        )
    try:
        features = {key: (str(each["dtype"]), _shape(each)) for key, each in info["features"].items()}
        fps, chunk = float(info["fps"]), int(info.get("chunks_size", 1000))
        totals = int(info["total_episodes"]), int(info["total_frames"])
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ConfigError(f"{place} is damaged: {type(error).__name__}: {error}") from None
    if not 1e-3 < fps <= lerobot_writing.FASTEST or chunk < 1 or any("/" in key for key in features):
        raise ConfigError(f"{place} is damaged: fps, chunks_size or a feature's name cannot be")
    missing = [key for key in ("action", REWARD) if key not in features]
    if missing:
        raise ConfigError(
            f"{name} lacks {' and '.join(missing)}: only data sets with actions and rewards are read"
        )
    return Folder(path, info["codebase_version"], fps, totals, chunk, features)


def _json(path: Path) -> Any:
    try:
        return json.loads(read_whole(path, LARGEST_METADATA))
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON, or damaged: {error}") from None


def _shape(feature: dict[str, Any]) -> tuple[int, ...]:
    shape = tuple(int(side) for side in feature["shape"])
    if feature["dtype"] in ("video", "image") and feature["names"][2] not in ("channel", "channels"):
        return (*shape[1:], shape[0])  # as LeRobot's dataset_to_policy_features tells them apart
    return shape


def _camera(key: str) -> str:
    return key.removeprefix(OBSERVATION).removeprefix("images.")


def _check_cameras(name: str, keys: list[str]) -> None:
    of_camera: dict[str, str] = {}
    for key in keys:
        other = of_camera.setdefault(_camera(key), key)
        if other != key:
            raise ConfigError(f"{name}: {other} and {key} are both pictures of {_camera(key)}: rename one")


def _table(path: Path, keys: list[str]) -> dict[str, Array]:
    """(N, size) each of these columns of numbers. Raises ConfigError."""
    parquet = library(path)
    import pyarrow

    try:
        with parquet.ParquetFile(path) as file:
            missing = [key for key in keys if key not in file.schema_arrow.names]
            if missing:
                raise ConfigError(f"{path} lacks the column {missing[0]}")
            _check_numbers(path, file.schema_arrow, keys)  # what is no number unfolds without a limit
            groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
            columns = [group.column(index) for group in groups for index in range(group.num_columns)]
            stored = [each for each in columns if each.path_in_schema.startswith(tuple(keys))]
            check_size(str(path), 8 * sum(each.num_values for each in stored), path.stat().st_size)
            table = file.read(columns=keys, use_threads=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise ConfigError(f"{path} is no parquet file, or damaged: {error}") from None
    return {key: _numbers(path, key, table.column(key).combine_chunks(), len(table)) for key in keys}


def _check_numbers(path: Path, schema: Any, keys: list[str]) -> None:
    from pyarrow import types

    for key in keys:
        kind = schema.field(key).type
        while types.is_nested(kind) and not types.is_struct(kind):
            kind = kind.value_type
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
            raise ConfigError(f"{path}: {key} is not one number, or equally many, in each row")


def _numbers(path: Path, key: str, values: Any, count: int) -> Array:
    import pyarrow.compute
    from pyarrow import types

    sound = values.null_count == 0
    while types.is_nested(values.type) and not types.is_struct(values.type):
        lengths = pyarrow.compute.min_max(pyarrow.compute.list_value_length(values))
        sound = sound and lengths["min"] == lengths["max"]
        values = values.flatten()
    if not sound or values.null_count or len(values) % count:
        raise ConfigError(f"{path}: {key} is not one number, or equally many, in each row")
    array: Array = values.to_numpy(zero_copy_only=False)
    return array.reshape(count, -1)


def _rows(folder: Folder, keys: list[str]) -> dict[str, Array]:
    """(N, size) each, over all files, with the sizes that meta/info.json says."""
    tables = [_table(path, keys) for path in folder.files()]
    if not tables:
        raise ConfigError(f"{folder.path} has no parquet files in data")
    rows = {key: np.concatenate([table[key] for table in tables]) for key in keys}
    for key in keys:
        shape = folder.features.get(key, ("", ()))[1]
        size = rows[key].shape[1]
        if size != np.prod(shape):
            raise ConfigError(
                f"{folder.path}: {key} has {size} numbers a row, and meta/info.json says {shape}"
            )
    return rows


def _begins(folder: Folder, rows: dict[str, Array]) -> npt.NDArray[np.int64]:
    """(E,) the row at which each episode begins. Raises ConfigError unless they come one after the other."""
    episodes, frames = (rows[key][:, 0] for key in IN_ORDER)
    begins = np.flatnonzero(np.diff(episodes, prepend=-1))
    if (len(begins), len(episodes)) != folder.totals:
        raise ConfigError(
            f"{folder.path} has {len(begins)} episodes with {len(episodes)} frames, and meta/info.json says "
            f"{folder.totals[0]} with {folder.totals[1]}: it is damaged"
        )
    counted = np.arange(len(episodes)) - np.repeat(begins, np.diff(begins, append=len(episodes)))
    if (episodes[begins] != np.arange(len(begins))).any() or (frames != counted).any():
        raise ConfigError(f"{folder.path} is damaged: its rows are not one episode after the other")
    return begins


def _episode(
    name: str, part: dict[str, Array], vectors: list[str], pictures: dict[str, Array]
) -> Transitions | None:
    count = len(part[REWARD])
    no = np.zeros((count, 1), np.bool_)
    cut = part.get(TRUNCATED, no)[:, 0] != 0
    numbers = {key: part[key] for key in vectors}
    found = completed(
        name,
        observation=side_by_side(name, numbers) if vectors else np.empty((count, 0), np.float32),
        action=part["action"],
        reward=part[REWARD],
        next_observation=None,
        terminated=(part.get(DONE, no)[:, 0] != 0) & ~cut,
        truncated=cut,
        one_episode=True,
        success=bool(part[SUCCESS].any()) if SUCCESS in part else None,
        pictures=pictures,
    )
    if found is None or BY_PERSON not in part:
        return found
    return replace(found, is_intervention=part[BY_PERSON][: len(found), 0] != 0)


def _source(folder: Folder) -> dict[str, Any]:
    """Our own file's, if we wrote the data set."""
    own = folder.path / "meta" / lerobot_writing.SOURCE
    found = _json(own) if own.is_file() else None
    return found if isinstance(found, dict) else {"fps": folder.fps}


def _pictures(
    folder: Folder, key: str, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> films.Pictures:
    """(N, height, width, 3) what a camera saw."""
    dtype, shape = folder.features[key]
    if len(shape) != 3 or shape[2] != 3 or min(shape) < 1:
        raise ConfigError(f"{folder.path}: {key} has pictures of {shape}: those with three colours are read")
    count = (folder.totals[1], *shape)
    nbytes = int(np.prod(count, dtype=np.float64))
    check_size(f"{folder.path}: {key}", nbytes, nbytes)  # packed pictures may be any number of times smaller
    if dtype == "image":
        return _images(folder, key, count)
    shown = np.empty(count, np.uint8)
    parts = defaultdict(list)
    for episode, (path, second) in enumerate(_films(folder, key, len(begins))):
        rows = np.arange(begins[episode], ends[episode])
        parts[path].append((rows, second + (rows - begins[episode]) / folder.fps))
    for path, episodes in parts.items():
        rows, times = (np.concatenate(each) for each in zip(*episodes, strict=True))
        shown[rows] = films.read(path, times, shape[:2], folder.fps)
    return shown


def _films(folder: Folder, key: str, count: int) -> list[tuple[Path, float]]:
    """For each episode the film that shows it, and the second of that at which it begins."""
    videos = folder.path / "videos"
    if folder.version == "v2.1":
        places = ((each // folder.chunk, each) for each in range(count))
        return [
            (videos / f"chunk-{chunk:03d}" / key / f"episode_{each:06d}.mp4", 0.0) for chunk, each in places
        ]
    wanted = [f"videos/{key}/{each}" for each in ("chunk_index", "file_index", "from_timestamp")]
    paths = sorted((folder.path / "meta" / "episodes").glob("*/*.parquet"))
    tables = [_table(path, ["episode_index", *wanted]) for path in paths]
    if not tables:
        raise ConfigError(f"{folder.path}/meta/episodes has no parquet file")
    rows = np.concatenate(
        [np.concatenate([table[each] for each in ("episode_index", *wanted)], 1) for table in tables]
    )
    if rows[:, 0].tolist() != list(range(count)):
        raise ConfigError(f"{folder.path}/meta/episodes does not list the {count} episodes: it is damaged")
    return [
        (videos / key / f"chunk-{int(chunk):03d}" / f"file-{int(file):03d}.mp4", float(second))
        for _, chunk, file, second in rows
    ]


def _images(folder: Folder, key: str, count: tuple[int, ...]) -> films.Pictures:
    """Pictures of the column ``key``, PNG or JPEG."""
    from PIL import Image

    shown, row = np.empty(count, np.uint8), 0
    for path in folder.files():
        with library(path).ParquetFile(path) as file:
            for batch in file.iter_batches(DECODED, columns=[key], use_threads=False):
                for cell in batch.column(0).to_pylist():
                    if not isinstance(cell, dict) or not cell.get("bytes"):
                        raise ConfigError(f"{path}: {key} has no picture in row {row}")
                    image = Image.open(BytesIO(cell["bytes"]), formats=("PNG", "JPEG"))
                    if image.size[::-1] != count[1:3]:
                        sides, wanted = f"{image.height}×{image.width}", f"{count[1]}×{count[2]}"
                        raise ConfigError(f"{path}: {key} is {sides}, and meta/info.json says {wanted}")
                    shown[row], row = np.asarray(image.convert("RGB")), row + 1
    return shown


def _matches(name: str) -> bool:
    return name.startswith(PREFIX) or is_dataset(Path(name.removesuffix(PICTURES)))


FORMAT = Format(_matches, read, (PREFIX,), check_new, write)
