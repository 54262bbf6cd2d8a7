import json

import imageio.v2
import numpy as np
import pytest
from corridor import Corridor
from hypothesis import given
from hypothesis import strategies as st

from sac_dist.acting.episode import run_episode
from sac_dist.acting.evaluation import Evaluation, evaluate, evaluation_seed, wilson_interval
from sac_dist.acting.video import video_writer
from sac_dist.settings import ConfigError


def walk_right(observation):
    return np.array([min(0.5, observation[1] - observation[0])])


def stand(observation):
    return np.zeros(1)


def test_the_episodes_are_the_same_each_time_and_unlike_each_other():
    env = Corridor()
    first, again = evaluate(env, stand, 5), evaluate(env, stand, 5)
    np.testing.assert_array_equal(first.returns, again.returns)
    assert len(set(first.returns.tolist())) == 5
    assert env.seeds == [evaluation_seed(index) for index in range(5)] * 2


def test_first_goes_on_where_another_evaluation_stopped():
    whole, tail = evaluate(Corridor(), stand, 6), evaluate(Corridor(), stand, 4, first=2)
    np.testing.assert_array_equal(whole.returns[2:], tail.returns)


def test_the_means_are_those_of_the_episodes():
    good, bad = evaluate(Corridor(), walk_right, 8), evaluate(Corridor(), stand, 8)
    assert good.success_rate == 1 and bad.success_rate == 0
    assert bad.mean_length == 10 and 2 <= good.mean_length <= 4
    assert good.mean_return > bad.mean_return == pytest.approx(np.mean(bad.returns))
    assert "success 8/8 (95 % interval 68% to 100%)" in str(good)


def test_an_environment_without_success_has_no_rate():
    evaluation = evaluate(Corridor(says_success=False), stand, 2)
    assert (
        evaluation.successes is None and evaluation.success_rate is None and "success" not in str(evaluation)
    )
    assert "success_rate" not in evaluation.summary()


def test_the_summary_is_plain_json():
    summary = json.loads(json.dumps(evaluate(Corridor(), walk_right, 3).summary()))
    assert summary["success_rate"] == 1 and summary["episodes"] == 3 and summary["success_interval"][1] == 1


def test_episodes_that_say_nothing_count_as_failures_beside_others_that_succeed():
    episodes = [run_episode(Corridor(says_success=says), walk_right, 0) for says in (True, False)]
    assert Evaluation.of(episodes).success_rate == 0.5


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962), (0, 20, 0.0, 0.1611), (0, 0, 0.0, 1.0)],
)
def test_wilson_intervals_as_in_the_tables(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_intervals_hold_the_rate_and_stay_in_range(counts):
    low, high = wilson_interval(*counts)
    assert 0 <= low <= counts[0] / counts[1] + 1e-12 and counts[0] / counts[1] - 1e-12 <= high <= 1


def test_a_video_holds_every_frame(tmp_path):
    path = tmp_path / "new" / "walk.mp4"
    with video_writer(path, fps=10) as on_frame:
        episode = run_episode(Corridor("rgb_array"), walk_right, 0, on_frame)
        assert not path.exists()
    frames = imageio.v2.mimread(path)
    assert len(frames) == episode.length + 1
    assert frames[0].shape == (48, 64, 3)  # the odd row and column are cut off
    brightest = [int(frame[10].sum(axis=1).argmax()) for frame in frames]
    assert brightest[-1] > brightest[0] + 10, "the walker moves to the right"
    assert imageio.v2.get_reader(path).get_meta_data()["codec"] == "h264"
    assert [file.name for file in path.parent.iterdir()] == ["walk.mp4"]


def test_a_recording_that_fails_leaves_no_file_and_its_own_error(tmp_path):
    with pytest.raises(ZeroDivisionError), video_writer(tmp_path / "broken.mp4", fps=10) as on_frame:
        on_frame(np.zeros((32, 32, 3), np.uint8))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_video_without_frames_is_an_error(tmp_path):
    with (
        pytest.raises(ConfigError, match=r"cannot write the video .*empty.mp4: no frame was drawn"),
        video_writer(tmp_path / "empty.mp4", fps=10),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", ["no ffmpeg", "no folder"])
def test_a_video_that_cannot_be_written_is_refused_in_one_line(tmp_path, monkeypatch, fault):
    path = tmp_path / "walk.mp4"
    if fault == "no ffmpeg":
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "missing"))
    else:
        (tmp_path / "file").touch()
        path = tmp_path / "file" / "walk.mp4"
    with (
        pytest.raises(ConfigError, match="cannot write the video") as caught,
        video_writer(path, fps=10) as on_frame,
    ):
        on_frame(np.zeros((32, 32, 3), np.uint8))
    assert "\n" not in str(caught.value)
