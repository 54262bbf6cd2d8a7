"""A camera's pictures as an mp4 film, through PyAV."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.settings import ConfigError

Pictures = npt.NDArray[np.uint8]

# Colours at full resolution and without loss, for small plain pictures are no larger so: red, green and blue
# are rounded on their way to luma and chroma, by 2 of 255 at most.
CODEC, PIXELS, QUALITY = "libx264", "yuv444p", "0"
KEYFRAMES = 2  # every so many pictures, as LeRobot has them: any picture is found quickly


def library(path: object) -> ModuleType:
    """av, which the package does without until a file needs it. Raises ConfigError."""
    try:
        import av
    except ImportError:
        raise ConfigError(f"{path} needs pyarrow and av: pip install 'sac-dist[lerobot]'") from None
    module: ModuleType = av
    return module


def write(path: Path, pictures: Iterable[Pictures], size: tuple[int, ...], fps: int) -> None:
    """A film of ``pictures``, each (height, width, 3) with ``size`` (height, width)."""
    av = library(path)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(CODEC, fps, options={"crf": QUALITY, "g": str(KEYFRAMES)})
        stream.height, stream.width = size
        stream.pix_fmt = PIXELS
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def read(path: Path, times: npt.NDArray[np.float64], size: tuple[int, ...], fps: float) -> Pictures:
    """(n, height, width, 3) what the film of ``fps`` pictures a second shows at ``times`` (n,), in seconds.

    Raises ConfigError if it is damaged, of another ``size`` (height, width) or rate, or lacks a picture.
    """
    av = library(path)
    if not path.is_file():
        raise ConfigError(f"{path} is missing")
    shape = (len(times), *size, 3)
    shown, order, found = np.empty(shape, np.uint8), np.argsort(times, kind="stable"), 0
    wanted, half = times[order], 0.5 / fps
    try:
        # Through a file of ours and as mp4 alone: FFmpeg would follow a playlist to other files and hosts.
        with open(path, "rb") as file, av.open(file, format="mp4") as container:
            stream = next((each for each in container.streams.video if each.codec_context), None)
            if stream is None:
                raise ConfigError(f"{path} is damaged: nothing in it can be decoded")
            _check(path, stream, size, fps)
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    raise ConfigError(f"{path} is damaged: it is cut off")
                for frame in packet.decode():
                    last = int(np.searchsorted(wanted, frame.time + half))
                    if last > found:
                        if frame.time - half > wanted[found]:
                            raise ConfigError(f"{path} has no picture at {wanted[found]:.3f} s")
                        shown[order[found:last]] = frame.to_ndarray(format="rgb24")
                        found = last
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path} is no mp4 film, or damaged: {reason}") from None
    if found < len(wanted):
        raise ConfigError(f"{path} is shorter than its episodes: it has no picture at {wanted[found]:.3f} s")
    return shown


def _check(path: Path, stream: Any, size: tuple[int, ...], fps: float) -> None:
    if (stream.height, stream.width) != size:
        sides, wanted = f"{stream.height}×{stream.width}", f"{size[0]}×{size[1]}"
        raise ConfigError(f"{path} has pictures of {sides}, and meta/info.json says {wanted}")
    if stream.average_rate is None or abs(float(stream.average_rate) / fps - 1) > 0.01:
        raise ConfigError(
            f"{path} has {stream.average_rate} pictures a second, and meta/info.json says {fps:g}"
        )
