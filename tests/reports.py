"""Reporters of made-up runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sac_dist.reporting.callbacks import Callback
from sac_dist.reporting.metrics import CsvSink
from sac_dist.reporting.reporter import Reporter
from sac_dist.reporting.sinks import Sink
from sac_dist.reporting.tensorboard import TensorBoardSink
from sac_dist.settings import Config


def file_reporter(
    folder: Path,
    saved: Mapping[str, Any] | None = None,
    sinks: Sequence[Sink] = (),
    callbacks: Sequence[Callback] = (),
) -> Reporter:
    """With the sinks that write a run's files, and ``sinks``."""
    return Reporter(folder, Config(), [CsvSink(), TensorBoardSink(), *sinks], callbacks, saved)
