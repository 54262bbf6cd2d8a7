"""The sinks of every run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sac_dist.reporting.callbacks import Callback
from sac_dist.reporting.metrics import CsvSink
from sac_dist.reporting.sinks import Sink
from sac_dist.reporting.tensorboard import TensorBoardSink
from sac_dist.reporting.terminal import TerminalSink
from sac_dist.reporting.wandb import WandbSink
from sac_dist.settings import Config, ConfigError


def sinks_of(config: Config, quiet: bool, own: Sequence[Sink]) -> list[Sink]:
    """The sinks of a run: files, W&B if ``config`` names a project, the terminal unless ``quiet``, then the
    user's ``own``. Raises ConfigError where one cannot work.
    """
    check_kinds("sinks", own, Sink)
    sinks: list[Sink] = [CsvSink(), TensorBoardSink()]
    if config.train.wandb is not None:
        sinks.append(WandbSink(config.train.wandb))
    if not quiet:
        sinks.append(TerminalSink())
    return [*sinks, *own]


def check_kinds(argument: str, given: Sequence[Any], kind: type[Sink] | type[Callback]) -> None:
    """Raise ConfigError unless all that was given for ``argument`` are objects of ``kind``."""
    for one in given:
        if isinstance(one, type):
            raise ConfigError(
                f"{argument}: {one.__name__} is a class; give an object of it, {one.__name__}()"
            )
        if not isinstance(one, kind):
            raise ConfigError(f"{argument}: {one!r} is no sac_dist.{kind.__name__}; subclass that")
