"""Weights & Biases (wandb.ai): ``--wandb PROJECT``, with the extra ``pip install sac-dist[wandb]``."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sac_dist.reporting.columns import scalar_tag
from sac_dist.reporting.sinks import Sink
from sac_dist.settings import Config, ConfigError


class WandbSink(Sink):
    """Scalars, figures, videos and all settings of the run, against the axis ``step``.

    W&B's own settings hold: WANDB_MODE=offline needs no network, writes ``wandb/offline-run-*`` in the run's
    folder, and ``wandb sync`` sends it later. W&B writes in a process of its own and late: of a run that is
    killed it may keep nothing. A run that is resumed goes on under its W&B id; what it lived
    after its last checkpoint stays there beside what it lives now, as W&B takes nothing back.
    """

    def __init__(self, project: str) -> None:
        """Raises ConfigError if the package is missing."""
        spec = importlib.util.find_spec("wandb")
        if spec is None or spec.origin is None:  # no origin: a mere folder wandb/ of earlier runs
            raise ConfigError("--wandb needs the package wandb: pip install 'sac-dist[wandb]'")
        self.project = project
        self._run: Any = None

    def start(self, folder: Path, config: Config, state: Mapping[str, Any] | None) -> None:
        """Raises ConfigError if W&B refuses, for example as nobody is logged in."""
        import wandb

        again = {"id": state["id"], "resume": "allow"} if state else {}
        try:
            self._run = wandb.init(
                project=self.project,
                name=folder.resolve().name,
                dir=folder,
                config=config.to_dict(),
                reinit="create_new",  # the user's own W&B run in this process stays as it is
                settings=wandb.Settings(console="off", quiet=True),
                **again,
            )
        except (wandb.Error, OSError) as error:
            words = " ".join(str(error).split())
            raise ConfigError(
                f"--wandb {self.project}: {words}; log in with `wandb login`, or set WANDB_MODE=offline"
            ) from error
        self._run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._log(step, {scalar_tag(key): value for key, value in values.items()})

    def figure(self, step: int, name: str, png: bytes) -> None:
        import wandb
        from PIL import Image

        self._log(step, {name: wandb.Image(Image.open(io.BytesIO(png)))})

    def video(self, step: int, name: str, path: Path) -> None:
        import wandb

        self._log(step, {f"video/{name}": wandb.Video(str(path), format="mp4")})

    def state(self) -> dict[str, Any]:
        return {"id": self._run.id}

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()

    def _log(self, step: int, values: dict[str, Any]) -> None:
        self._run.log(values | {"step": step})
