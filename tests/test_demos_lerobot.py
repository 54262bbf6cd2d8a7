"""LeRobot's data sets: real parquet files and films, ours and of the layout that LeRobot 0.4.4 writes."""

import json
import shutil
import sys
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from operator import attrgetter
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from demo_files import make
from PIL import Image

from sac_dist.data.schema import Field, Schema
from sac_dist.data.transitions import Transitions
from sac_dist.formats import files, films
from sac_dist.formats.check import check_fits
from sac_dist.reporting.describe import describe
from sac_dist.settings import ConfigError

SIZE = 32, 48  # height and width
KEY = "observation.images"


def colours(count: int, seed: int = 0) -> np.ndarray:
    """(count, 32, 48, 3) pictures that all differ: bars of a colour each."""
    bars = np.random.default_rng(seed).integers(0, 256, (count, 1, 6, 3), np.uint8)
    return np.broadcast_to(bars.repeat(8, 2), (count, *SIZE, 3)).copy()


def seen(lengths=(5, 3, 5), cameras=("scene", "wrist")) -> Transitions:
    """``make``'s episodes, in pictures too."""
    demos = make(lengths)
    fields = [Field(camera, (*SIZE, 3), "uint8") for camera in cameras]
    count = len(demos) + len(lengths)
    shown = [colours(count, seed).reshape(count, -1) for seed in range(len(cameras))]
    schema = Schema(tuple(sorted([*fields, Field("state", (3,))], key=attrgetter("name"))), 2)
    return replace(demos, schema=schema, frames=np.concatenate(shown, 1))


def refusal(name) -> str:
    with pytest.raises(ConfigError) as caught:
        files.read(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def film(path: Path, pictures: np.ndarray, fps: int, codec="libx264", gap=10**6, **options) -> None:
    """As LeRobot's writers make them, with no picture where the one of number ``gap`` should be; ``options``
    of mp4.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, fps, options={"g": "2", "crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:3], "yuv420p"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number + (number >= gap), Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def theirs(folder: Path, version="v3.0", fps=30, dtype="video", lengths=(4, 3, 2)) -> Path:
    """A data set of others: two files of data and of film, observations in two parts, one action; the first
    and the last episode are done at their ends. ``observation.state`` is 10 x episode + frame.
    """
    names = ["channels", "height", "width"] if dtype == "image" else ["height", "width", "channels"]
    shape = [3, *SIZE] if dtype == "image" else [*SIZE, 3]
    features = {
        "observation.state": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
        "observation.environment_state": {"dtype": "float64", "shape": [1], "names": None},
        "observation.note": {"dtype": "string", "shape": [1], "names": None},
        f"{KEY}.wrist": {"dtype": dtype, "shape": shape, "names": names},
        "action": {"dtype": "float32", "shape": [1], "names": None},
        "next.reward": {"dtype": "float32", "shape": [1], "names": None},
        "next.done": {"dtype": "bool", "shape": [1], "names": None},
    }
    info = {"codebase_version": version, "fps": fps, "features": features, "chunks_size": 2}
    info |= {"total_episodes": len(lengths), "total_frames": sum(lengths)}
    (folder / "meta").mkdir(parents=True)
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    tables = []
    for episode, length in enumerate(lengths):
        state = 10.0 * episode + np.arange(length)
        columns = {
            "observation.state": [[each, -each] for each in state],
            "observation.environment_state": list(state / 100),
            "observation.note": ["none"] * length,
            "action": [0.5] * length,
            "next.reward": [float(step) for step in range(length)],
            "next.done": [step == length - 1 and episode != 1 for step in range(length)],
            "frame_index": list(range(length)),
            "episode_index": [episode] * length,
        }
        if dtype == "image":
            packed = [BytesIO() for _ in range(length)]
            for file, picture in zip(packed, colours(length, episode), strict=True):
                Image.fromarray(picture).save(file, "PNG")
            columns[f"{KEY}.wrist"] = [{"bytes": file.getvalue(), "path": None} for file in packed]
        tables.append(pa.table(columns))
    shown = [colours(length, episode) for episode, length in enumerate(lengths)]
    if version == "v2.1":
        for episode, table in enumerate(tables):
            data = folder / f"data/chunk-{episode // 2:03d}/episode_{episode:06d}.parquet"
            data.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, data)
            film(
                folder / f"videos/chunk-{episode // 2:03d}/{KEY}.wrist/episode_{episode:06d}.mp4",
                shown[episode],
                fps,
            )
        return folder
    (folder / "data/chunk-000").mkdir(parents=True)
    pq.write_table(pa.concat_tables(tables[:2]), folder / "data/chunk-000/file-000.parquet")
    pq.write_table(tables[2], folder / "data/chunk-000/file-001.parquet")
    if dtype == "video":
        place = folder / f"videos/{KEY}.wrist/chunk-000"
        film(place / "file-000.mp4", np.concatenate(shown[:2]), fps, movflags="faststart")
        film(place / "file-001.mp4", shown[2], fps)
        where = {
            "chunk_index": [0, 0, 0],
            "file_index": [0, 0, 1],
            "from_timestamp": [0.0, lengths[0] / fps, 0.0],
        }
        (folder / "meta/episodes/chunk-000").mkdir(parents=True)
        columns = {"episode_index": [0, 1, 2], **{f"videos/{KEY}.wrist/{key}": where[key] for key in where}}
        pq.write_table(pa.table(columns), folder / "meta/episodes/chunk-000/file-000.parquet")
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return theirs(tmp_path_factory.mktemp("theirs") / "a")


@pytest.fixture
def folder(original, tmp_path) -> Path:
    """A data set of others, to damage."""
    return Path(shutil.copytree(original, tmp_path / "a"))


# Round trips


def test_numbers_come_back_but_for_what_follows_an_episode_that_was_cut(tmp_path):
    demos = make()  # those of five transitions hit a time limit
    rows = demos.rows.copy()
    rows[7, demos.schema.columns["truncated"]] = 1  # and one terminates at the same time
    demos = replace(demos, rows=rows, is_intervention=np.arange(13) % 3 == 0)
    files.write(demos, f"lerobot:{tmp_path}/a")
    again = files.read(tmp_path / "a")
    kept = np.delete(np.arange(13), [4, 12])
    assert again.lengths.tolist() == [4, 3, 4] and (again.success == demos.success).all()
    for field in ("observation", "action", "reward", "is_intervention"):
        assert (getattr(again, field) == getattr(demos, field)[kept]).all(), field
    assert again.terminated.tolist() == [False] * 6 + [True] + [False] * 4
    assert (again.next_observation[:6] == demos.next_observation[kept][:6]).all()
    assert again.source == demos.source | {"notes": {"transitions without a next observation, left out": 2}}
    files.write(replace(demos, success=None, is_intervention=None), f"lerobot:{tmp_path}/b")
    assert (without := files.read(f"lerobot:{tmp_path}/b")).success is None
    assert without.is_intervention is None and (without.rows == again.rows).all()


def test_pictures_come_back_almost_exactly(tmp_path):
    demos = seen()
    files.write(demos, f"lerobot:{tmp_path}/a")
    for name in (f"lerobot:{tmp_path}/a/pictures", tmp_path / "a/pictures"):
        again = files.read(name)
        assert again.schema == demos.schema
        for camera in ("scene", "wrist"):
            for episode, (start, end) in enumerate(zip(again.starts, again.ends, strict=True)):
                shown = again.pictures(start + episode, end + episode)[camera]
                begin = demos.starts[episode] + episode
                recorded = demos.pictures(begin, begin + end - start)[camera]
                assert np.abs(shown.astype(int) - recorded).max() <= 2
    check_fits(again, demos.schema, "a")
    assert "scene 32×48×3 uint8" in describe(again, "a")
    plain = files.read(tmp_path / "a")
    assert plain.frames is None and (plain.rows == again.rows).all()


def test_pictures_alone_are_written_and_read(tmp_path):
    demos = seen(cameras=("wrist",))
    rows = demos.rows[:, [3, 4, 5, 9, 10]]  # action, reward and how it ends
    alone = replace(demos, schema=Schema(demos.schema.pictures, 2), rows=rows)
    files.write(alone, f"lerobot:{tmp_path}/a")
    assert files.read(tmp_path / "a/pictures").schema == alone.schema
    assert "add /pictures to its name" in refusal(tmp_path / "a")


def test_what_is_written_is_what_lerobot_loads(tmp_path):
    """LeRobot 0.4.4 was seen to load it; these are what it looks up (lerobot_dataset.py, utils.py)."""
    demos = seen()
    files.write(demos, f"lerobot:{tmp_path}/a")
    info = json.loads((tmp_path / "a/meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["fps"] == 20 and info["total_frames"] == 13
    camera = info["features"][f"{KEY}.wrist"]
    assert camera["shape"] == [*SIZE, 3] and camera["names"] == ["height", "width", "channels"]
    data = pq.read_table(tmp_path / "a" / info["data_path"].format(chunk_index=0, file_index=0))
    assert set(info["features"]) == {*data.column_names, f"{KEY}.scene", f"{KEY}.wrist"}
    assert data.schema.field("observation.state").type == pa.list_(pa.float32(), 3)
    assert data["index"].to_pylist() == list(range(13))
    assert np.allclose(data["timestamp"].to_numpy(), data["frame_index"].to_numpy() / 20)
    episodes = pq.read_table(tmp_path / "a/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [each["dataset_from_index"] for each in episodes] == [0, 5, 8]
    assert [each[f"videos/{KEY}.wrist/from_timestamp"] for each in episodes] == [0, 0.25, 0.4]
    tasks = pq.read_table(tmp_path / "a/meta/tasks.parquet")
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert tasks.to_pylist() == [{"task_index": 0, "task": "SawyerLift-v0"}]
    stats = json.loads((tmp_path / "a/meta/stats.json").read_text())
    assert np.shape(stats[f"{KEY}.wrist"]["q99"]) == (3, 1, 1) and stats["action"]["count"] == [13]
    assert np.allclose(stats["action"]["std"], demos.action.std(0), rtol=1e-5)
    assert np.allclose(stats["action"]["mean"], demos.action.mean(0), rtol=1e-5)


# Others' data sets


@pytest.mark.parametrize(("version", "dtype"), [("v3.0", "video"), ("v2.1", "video"), ("v3.0", "image")])
def test_data_sets_of_others(version, dtype, tmp_path):
    folder = theirs(tmp_path / "a", version, dtype=dtype)
    demos = files.read(folder / "pictures")
    assert [str(field) for field in demos.schema.fields] == ["state 3", "wrist 32×48×3 uint8"]
    assert demos.lengths.tolist() == [4, 2, 2] and demos.success is None
    assert np.allclose(demos.observation[4:6], [[0.1, 10, -10], [0.11, 11, -11]])  # in the order of names
    assert demos.terminated.tolist() == [False] * 3 + [True] + [False] * 3 + [True]
    assert demos.reward.tolist() == [0, 1, 2, 3, 0, 1, 0, 1]
    for episode, frames in enumerate((demos.frames[:4], demos.frames[5:8], demos.frames[8:10])):
        recorded = colours((4, 3, 2)[episode], episode)[: len(frames)]
        shown = frames.reshape(-1, *SIZE, 3).astype(int)
        assert np.abs(shown - recorded).mean() < 8, f"episode {episode}"
    assert demos.source["fps"] == 30
    files.write(demos, f"lerobot:{tmp_path}/b")
    assert json.loads((tmp_path / "b/meta/info.json").read_text())["fps"] == 30


def test_next_truncated_tells_a_time_limit_from_an_end(folder):
    mark(folder, lambda table: table.append_column("next.truncated", table["next.done"]))
    info = folder / "meta/info.json"
    changes = json.loads(info.read_text())
    changes["features"]["next.truncated"] = changes["features"]["next.done"]
    info.write_text(json.dumps(changes))
    assert not files.read(folder).terminated.any()


def mark(folder: Path, change) -> None:
    """Replace each file of data by what ``change`` makes of its table."""
    for path in folder.glob("data/*/*.parquet"):
        pq.write_table(change(pq.read_table(path)), path)


# Bad input


def described(folder: Path, **changes) -> None:
    info = folder / "meta/info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | changes))


def feature(folder: Path, key: str, **changes) -> None:
    features = json.loads((folder / "meta/info.json").read_text())["features"]
    features[key] |= changes
    described(folder, features=features)


def without(folder: Path, key: str) -> None:
    features = json.loads((folder / "meta/info.json").read_text())["features"]
    del features[key]
    described(folder, features=features)


def named_alike(folder: Path) -> None:
    features = json.loads((folder / "meta/info.json").read_text())["features"]
    described(folder, features=features | {"observation.wrist": features[f"{KEY}.wrist"]})


def cell(folder: Path, column: str, *first) -> None:
    """Give the first rows of the first file other values."""

    def change(table):
        values = [*first, *table[column].to_pylist()[len(first) :]]
        place = table.column_names.index(column)
        return table.set_column(place, column, pa.array(values))

    path = folder / "data/chunk-000/file-000.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def shortened(folder: Path) -> None:
    film(folder / f"videos/{KEY}.wrist/chunk-000/file-001.mp4", colours(1), 30)


def unlisted(folder: Path) -> None:
    path = folder / "meta/episodes/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(path).slice(0, 2), path)


def playlist(folder: Path) -> None:
    """What FFmpeg by itself takes for a list of other files to play, and plays."""
    text = "ffconcat version 1.0\nfile file-000.mp4\n"
    (folder / f"videos/{KEY}.wrist/chunk-000/file-001.mp4").write_text(text)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: described(folder, codebase_version="v1.6"), "v1.6: v2.1 and v3.0 are read"),
        (lambda folder: (folder / "meta/info.json").write_text("{"), "is no JSON"),
        (lambda folder: described(folder, features=[]), "info.json is damaged"),
        (lambda folder: described(folder, fps=0), "fps"),
        (lambda folder: described(folder, fps=25), "30 pictures a second, and meta/info.json says 25"),
        (
            lambda folder: described(folder, total_frames=10),
            "with 9 frames, and meta/info.json says 3 with 10",
        ),
        (lambda folder: without(folder, "next.reward"), "lacks next.reward"),
        (lambda folder: without(folder, f"{KEY}.wrist"), "has no pictures"),
        (lambda folder: feature(folder, "action", shape=[2]), "action has 1 numbers a row"),
        (
            lambda folder: feature(folder, f"{KEY}.wrist", shape=[64, 64, 3]),
            "pictures of 32×48, and meta/info.json says 64×64",
        ),
        (lambda folder: feature(folder, f"{KEY}.wrist", shape=[32, 48, 1]), "with three colours are read"),
        (lambda folder: feature(folder, f"{KEY}.wrist", shape=[10**6, 10**6, 3]), "MiB of memory"),
        (lambda folder: cell(folder, "action", 7.0), "outside [-1, 1], scale it"),
        (lambda folder: cell(folder, "action", None), "action is not one number"),
        (lambda folder: cell(folder, "observation.state", [1.0], [1.0] * 3), "equally many, in each row"),
        (lambda folder: cell(folder, "frame_index", 3), "not one episode after the other"),
        (
            lambda folder: mark(folder, lambda table: table.drop_columns(["action"])),
            "lacks the column action",
        ),
        (lambda folder: (folder / f"videos/{KEY}.wrist/chunk-000/file-001.mp4").unlink(), "is missing"),
        (named_alike, "observation.wrist are both pictures of wrist: rename one"),
        (shortened, "shorter than its episodes: it has no picture at 0.033 s"),
        (unlisted, "does not list the 3 episodes"),
        (playlist, "no mp4 film"),
    ],
)
def test_a_bad_data_set_is_a_line(damage, words, folder):
    damage(folder)
    assert words in refusal(folder / "pictures")


@pytest.mark.parametrize(
    "name", ["data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"]
)
@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
def test_a_truncated_parquet_is_a_line(name, share, folder):
    path = folder / name
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert f"{path} is no parquet file, or damaged" in refusal(folder / "pictures")


@pytest.mark.parametrize(("name", "cut"), [("file-000.mp4", 1), ("file-001.mp4", 200)])
def test_a_truncated_film_is_a_line(name, cut, folder):
    """One has its index before the pictures, one behind them, and behind that what no picture needs."""
    path = folder / f"videos/{KEY}.wrist/chunk-000" / name
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) * 4 // 5, len(whole) - cut):
        path.write_bytes(whole[:length])
        assert str(path) in refusal(folder / "pictures"), f"{length} of {len(whole)} bytes were read"


def test_a_film_cut_off_in_a_picture_that_its_codec_mends_is_a_line(tmp_path):
    path = tmp_path / "a.mp4"
    film(path, colours(4), 30, "mpeg4", movflags="faststart")
    assert len(films.read(path, np.arange(4) / 30, SIZE, 30)) == 4
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ConfigError, match="it is cut off"):
        films.read(path, np.arange(4) / 30, SIZE, 30)


def test_a_film_that_lacks_a_picture_inside_is_a_line(tmp_path):
    path = tmp_path / "a.mp4"
    film(path, colours(150)[:, :16, :16], 30, gap=100)
    with pytest.raises(ConfigError, match=r"has no picture at 3\.333 s"):
        films.read(path, np.arange(150) / 30, (16, 16), 30)


def test_damaged_bytes_never_end_in_a_traceback(folder):
    random = np.random.default_rng(0)
    for path in sorted(folder.rglob("*.parquet")) + sorted(folder.rglob("*.mp4")):
        whole = path.read_bytes()
        for _ in range(3):
            damaged = np.frombuffer(whole, np.uint8).copy()
            damaged[random.integers(0, len(whole), 8)] = random.integers(0, 256, 8)
            path.write_bytes(damaged.tobytes())
            try:
                files.read(folder / "pictures")
            except ConfigError as error:
                assert "\n" not in str(error)
        path.write_bytes(whole)


def test_a_small_file_that_claims_much_is_refused(folder, monkeypatch):
    monkeypatch.setattr("sac_dist.formats.check.ALLOWANCE", 2**20)
    path = folder / "data/chunk-000/file-001.parquet"
    row = pq.read_table(path).slice(0, 1)
    same = {key: pa.repeat(row[key][0], 10**5) for key in row.column_names}
    pq.write_table(pa.table(same), path)
    assert path.stat().st_size < 2**16 and "refused above" in refusal(folder)


@pytest.mark.parametrize("package", ["pyarrow", "av"])
def test_a_missing_package_is_named(package, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "needs pyarrow and av: pip install 'sac-dist[lerobot]'" in refusal(folder)
    with pytest.raises(ConfigError, match=r"sac-dist\[lerobot\]"):
        files.write(make(), f"lerobot:{tmp_path}/b")


def test_nothing_is_overwritten_and_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    target = f"lerobot:{tmp_path}/a"
    files.write(make(), target)
    for check in (files.check_new, lambda name: files.write(make(), name)):
        with pytest.raises(ConfigError, match="exists: remove it"):
            check(target)
    with pytest.raises(ConfigError, match="there is no folder"):
        files.check_new(f"lerobot:{tmp_path}/none/b")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(films, "write", fail)
    with pytest.raises(ConfigError, match=r"cannot write .*: No space left"):
        files.write(seen(), f"lerobot:{tmp_path}/b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_films_have_three_colours(tmp_path):
    demos = seen()
    grey = (Field("scene", (*SIZE, 1), "uint8"), *demos.schema.fields[1:2])
    demos = replace(demos, schema=Schema(grey, 2), frames=demos.frames[:, : SIZE[0] * SIZE[1]])
    with pytest.raises(ConfigError, match="three colours, and scene 32×48×1 uint8 has not"):
        files.write(demos, f"lerobot:{tmp_path}/a")


def test_a_name_without_a_data_set_is_a_line(tmp_path):
    assert "no LeRobot data set at" in refusal(f"lerobot:{tmp_path}/none")
    assert files.absolute("lerobot:x/pictures") == f"lerobot:{Path('x').resolve()}/pictures"


@pytest.mark.parametrize("camera", ["../../evil", "pixels/top", "a\0b", "a\ud800"])
def test_a_camera_is_no_way_out_of_the_folder(camera, tmp_path):
    with pytest.raises(ConfigError, match="cannot be that of a folder"):
        files.write(seen((3,), (camera,)), f"lerobot:{tmp_path}/x")
    assert not list(tmp_path.rglob("*.mp4"))


@pytest.mark.parametrize("fps", [float("inf"), 1e30, 10**400, -3, "fast"])
def test_a_rate_that_cannot_be_is_not_taken(fps, tmp_path):
    demos = seen((3,))
    files.write(replace(demos, source={"fps": fps}), f"lerobot:{tmp_path}/x")
    assert json.loads((tmp_path / "x/meta/info.json").read_text())["fps"] == 20


def test_text_that_unfolds_in_place_of_numbers_is_refused_unread(folder, monkeypatch):
    path = min((folder / "data").glob("*/*.parquet"))
    table = pq.read_table(path)
    bomb = pa.array([b"x" * 100_000] * len(table)).dictionary_encode()
    pq.write_table(table.set_column(table.schema.get_field_index("action"), "action", bomb), path)
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("it was unfolded"))
    assert "action is not one number" in refusal(folder)


def test_the_name_to_read_pictures_is_not_written(tmp_path):
    with pytest.raises(ConfigError, match="leave out /pictures"):
        files.check_new(f"lerobot:{tmp_path}/x/pictures")


def test_pictures_that_were_left_out_are_named_where_they_are_wanted(folder):
    numbers = files.read(folder)
    with pytest.raises(ConfigError, match=r"^d/pictures reads|: d/pictures reads"):
        check_fits(numbers, files.read(f"{folder}/pictures").schema, "d")
