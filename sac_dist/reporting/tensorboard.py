"""The TensorBoard files in a run's folder: ``tensorboard --logdir RUN``."""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sac_dist.reporting.columns import scalar_tag
from sac_dist.reporting.sinks import Sink
from sac_dist.settings import Config


class TensorBoardSink(Sink):
    """Scalars and figures. TensorBoard has no place for an mp4: videos stay in the run's folder alone."""

    in_run_folder = True

    def __init__(self) -> None:
        self._file: EventFile | None = None  # made at the first row
        self._last = -1  # the newest step

    def start(self, folder: Path, config: Config, state: Mapping[str, Any] | None) -> None:
        self._folder = folder
        if state is not None:
            self._last = int(state["step"])

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._open(step).add_scalars(step, {scalar_tag(key): float(value) for key, value in values.items()})

    def figure(self, step: int, name: str, png: bytes) -> None:
        self._open(step).add_picture(step, name, png)

    def state(self) -> dict[str, Any]:
        return {"step": self._last}

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self, step: int) -> EventFile:
        if self._file is None:
            self._file = EventFile(self._folder, self._last + 1 if self._last >= 0 else step)
        self._last = max(self._last, step)
        return self._file


class EventFile:
    """Events in TensorBoard's own records. Each is written before the call returns, so that a full disk is an
    OSError here.

    With ``torch.utils.tensorboard.SummaryWriter`` a thread writes: on a full disk that thread prints its
    traceback, and ``flush()`` may return before the error is known.
    """

    def __init__(self, folder: Path, step: int) -> None:
        """What older files of the folder hold of ``step`` and after it is not shown."""
        # slow to import, so not before the first row
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        # events are a run's time apart, whatever happens to the clock
        self._epoch = time.time() - time.monotonic()
        number = len(list(folder.glob("events.out.tfevents.*")))
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{number}"
        self._file = open(folder / name, "wb")  # noqa: SIM115 (closed by close)
        self._records = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def add_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._add(step, [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()])

    def add_picture(self, step: int, tag: str, png: bytes) -> None:
        """``png``: a PNG file of any size."""
        from PIL import Image  # comes with matplotlib
        from tensorboard.compat.proto.summary_pb2 import Summary

        with Image.open(io.BytesIO(png)) as picture:
            width, height = picture.size
        image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
        self._add(step, [Summary.Value(tag=tag, image=image)])

    def close(self) -> None:
        self._file.close()

    def _add(self, step: int, values: list[Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._write(Event(step=step, summary=Summary(value=values)))

    def _write(self, event: Any) -> None:
        event.wall_time = self._epoch + time.monotonic()
        self._records.write(event.SerializeToString())
        self._records.flush()
