"""The folder of one run: where its files lie, and that only one run writes there."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
from datetime import datetime
from pathlib import Path

import yaml

from sac_dist.settings import Config, ConfigError, check_path
from sac_dist.settings.idle import idle_settings
from sac_dist.system.files import replacing


class RunFolder:
    """Paths in a run's folder. :meth:`create` makes a new one, :meth:`open` one to go on with; both lock it.

    The lock is the kernel's (flock): it ends with the process, however that ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.last = self.checkpoints / "last.safetensors"
        self.best = self.checkpoints / "best.safetensors"
        self.replay = path / "replay"
        self.interventions = path / "interventions.npz"  # what people did in place of the policy
        self.videos = path / "videos"

    def kept(self, steps: int) -> Path:
        """Where the policy after so many steps stays for good."""
        return self.checkpoints / f"step-{steps:09d}.safetensors"

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """Raise ConfigError if the folder holds something, cannot be made or cannot be written."""
        check_path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise ConfigError(
                    f"{path} is not empty: give --run-dir a new folder, or go on there with --resume {path}"
                )
            return cls._furnish(path)
        except OSError as error:
            raise _cannot_write(path, error) from None

    @classmethod
    def create_default(cls, env_id: str) -> RunFolder:
        """A new folder in runs/, named after environment and time; of several in one second each has its own.

        Raise ConfigError if it cannot be made or written.
        """
        name = f"{env_id.strip('<>').replace('/', '-').replace(':', '-')}-{datetime.now():%Y%m%d-%H%M%S}"
        path = Path("runs") / name
        try:
            path.parent.mkdir(exist_ok=True)
            for number in itertools.count(2):
                with contextlib.suppress(FileExistsError):
                    path.mkdir()  # this process alone has made it
                    break
                path = path.with_name(f"{name}-{number}")
            return cls._furnish(path)
        except OSError as error:
            raise _cannot_write(path, error) from None

    @classmethod
    def _furnish(cls, path: Path) -> RunFolder:
        folder = cls(path)
        for part in (folder.checkpoints, folder.replay, folder.videos):
            part.mkdir()
        folder._lock()
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Raise ConfigError if there is no run to go on with, or another process is at it."""
        check_path(path)
        folder = cls(path)
        if not folder.last.is_file():
            raise ConfigError(f"no run to resume in {path}: {folder.last} does not exist")
        try:
            folder._lock()
            folder.clear()
        except OSError as error:
            raise ConfigError(f"cannot write the run folder {path}: {error.strerror or error}") from None
        return folder

    def _lock(self) -> None:
        self._lock_file = open(self.path / "lock", "w")  # noqa: SIM115 (held until the process ends)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another run is writing to {self.path}") from None

    def clear(self) -> None:
        """Remove what processes that were killed while they wrote have left; nothing may be writing. See
        resources.replacing.
        """
        for temporary in self.path.rglob(".*.[0-9]*.*"):
            temporary.unlink()

    def unlock(self) -> None:
        self._lock_file.close()

    def write_config(self, config: Config) -> None:
        """config.yaml, flat as the flags are: ``--config`` reads it back. What does nothing in the run is
        left out.
        """
        settings = config.flat()
        for name in idle_settings(settings):
            del settings[name]
        with replacing(self.path / "config.yaml") as temporary:
            temporary.write_text(yaml.safe_dump(settings, sort_keys=False))


def _cannot_write(path: Path, error: OSError) -> ConfigError:
    reason = error.strerror or error
    return ConfigError(f"cannot write the run folder {path}: {reason}; choose another with --run-dir")


def newest_runs(root: Path = Path("runs")) -> list[tuple[RunFolder, Path | None]]:
    """The runs in ``root``, that which was written to most recently first, each with its best policy, else
    its last; None: it has none yet.
    """
    found = []
    for path in root.glob("*/checkpoints"):
        folder = RunFolder(path.parent)
        policy = next((policy for policy in (folder.best, folder.last) if policy.is_file()), None)
        found.append(((policy or path).stat().st_mtime, folder, policy))
    return [(folder, policy) for _, folder, policy in sorted(found, key=lambda run: run[0], reverse=True)]
