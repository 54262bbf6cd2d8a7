"""Writing a video of what a policy does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sac_dist.settings import ConfigError
from sac_dist.system.files import replacing
from sac_dist.system.signals import deferred_signals


@contextmanager
def video_writer(path: str | os.PathLike[str], fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Write an H.264 video; yields the function that appends one (H, W, 3) uint8 frame (``run_episode``'s
    ``on_frame``).

    The file appears when the block ends; after an exception there is none. Ctrl-C comes between
    frames, or when the file is there. Raises ConfigError if no video can be written.

        with video_writer("grasp.mp4", fps=20) as on_frame:
            run_episode(env, act, seed=0, on_frame=on_frame)
    """
    path = Path(path)
    with ExitStack() as last, replacing(path) as temporary:
        writer = _call(path, _open_writer, temporary, fps)
        frames = 0

        def append(frame: np.ndarray) -> None:
            nonlocal frames
            height, width = (
                frame.shape[0] // 2 * 2,
                frame.shape[1] // 2 * 2,
            )  # H.264 in yuv420p has even sides
            with deferred_signals():  # a frame that is half written spoils the film
                _call(path, writer.append_data, frame[:height, :width])
            frames += 1

        try:
            yield append
        except BaseException:
            writer.close()
            raise
        last.enter_context(deferred_signals())  # until the film is in its place
        _call(path, writer.close)
        if frames == 0 or not temporary.is_file():
            raise ConfigError(
                f"cannot write the video {path}: "
                f"{'no frame was drawn' if frames == 0 else 'ffmpeg wrote nothing'}"
            )


def _open_writer(path: Path, fps: float) -> Any:
    import imageio.v2  # here, so that training does not pay for it

    path.parent.mkdir(parents=True, exist_ok=True)
    return imageio.v2.get_writer(
        path,
        format="FFMPEG",
        fps=fps,
        codec="libx264",
        quality=7,
        macro_block_size=2,
        output_params=["-movflags", "+faststart"],
    )


def _call(path: Path, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call into imageio; whatever it raises (no ffmpeg, no space, a codec that is not there) becomes one
    line.
    """
    try:
        return function(*arguments)
    except Exception as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"cannot write the video {path}: {first_line}") from error
