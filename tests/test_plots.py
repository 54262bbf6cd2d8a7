import numpy as np
import pytest
from matplotlib.image import imread
from reports import file_reporter

from sac_dist.acting.episode import Episode
from sac_dist.acting.evaluation import Evaluation
from sac_dist.reporting.plots import EVALUATION, TRAINING, learning_curve
from sac_dist.settings import ConfigError


def made_up_run(folder, steps=3000, has_success=True):
    rng = np.random.default_rng(0)
    log = file_reporter(folder)
    for step in range(20, steps + 1, 20):
        success = bool(rng.random() < step / steps)
        log.episode(
            step, Episode(-5 + 10 * success + rng.normal(), 20, success if has_success else None, success)
        )
        if step % 500 == 0:
            successes = rng.random(20) < step / steps
            log.evaluation(
                step, Evaluation(-5.0 + 10 * successes, np.full(20, 20), successes if has_success else None)
            )
        if step % 100 == 0:
            log.row(step, {"updates": step})
    log.close()


def pixels(picture: np.ndarray, colour: str) -> int:
    rgb = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return int((np.abs(picture[..., :3] - rgb).max(axis=-1) < 0.02).sum())


def test_the_curves_of_training_and_evaluation_are_drawn(tmp_path):
    made_up_run(tmp_path)
    path = learning_curve(tmp_path)
    picture = imread(path)
    assert path == tmp_path / "learning_curve.png" and picture.shape[0] > 800 and picture.shape[1] > 1000
    assert pixels(picture, TRAINING) > 1000 and pixels(picture, EVALUATION) > 1000
    half = picture.shape[0] // 2
    assert pixels(picture[:half], TRAINING) > 300 and pixels(picture[half:], TRAINING) > 300, (
        "success above, returns below"
    )
    assert sorted(file.suffix for file in tmp_path.iterdir() if "tfevents" not in file.name) == [
        ".csv",
        ".npy",
        ".png",
    ]


def test_without_success_only_returns_are_drawn(tmp_path):
    made_up_run(tmp_path, has_success=False)
    picture = imread(learning_curve(tmp_path))
    assert 400 < picture.shape[0] < 700 and pixels(picture, TRAINING) > 300


def test_a_run_that_stopped_at_once_can_be_drawn(tmp_path):
    log = file_reporter(tmp_path)
    assert imread(learning_curve(tmp_path)).shape[2] == 4  # a header and no row
    log.episode(5, Episode(1.0, 5, True, True))
    log.row(5, {"updates": 0})
    learning_curve(tmp_path)
    (tmp_path / "reward_log.npy").unlink(missing_ok=True)
    assert pixels(imread(learning_curve(tmp_path)), TRAINING) >= 0


def test_disasters_do_not_flatten_the_curve(tmp_path):
    made_up_run(tmp_path)
    before = imread(learning_curve(tmp_path))
    returns = np.load(tmp_path / "reward_log.npy")
    returns[7] = -1e6
    returns[9] = np.nan
    np.save(tmp_path / "reward_log.npy", returns)
    after = imread(learning_curve(tmp_path))
    assert (
        np.mean(np.abs(before - after).max(axis=-1) > 0.1) < 0.15
    )  # on the scale of the disaster all dots would be one line
    assert pixels(after, TRAINING) > 0.8 * pixels(before, TRAINING)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"has no metrics.csv"):
        learning_curve(tmp_path)
    assert list(tmp_path.iterdir()) == []
