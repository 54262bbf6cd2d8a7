"""Reaching the cluster that a run is to use, or starting one of this machine alone for it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from sac_dist.config import Config, ConfigError
from sac_dist.engine.starting import quiet_start

OBJECT_STORE = 512 * 2**20  # bytes: blocks of transitions and versions of the policy pass through it, and none stays
SIMULATOR = "coppeliasim"  # custom resource of machines that have CoppeliaSim
# No usage reports, and no tool that looks for one's own device.
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@contextlib.contextmanager
def connected(config: Config) -> Iterator[None]:
    """A connection to the cluster for the block. Raises ConfigError where Ray or the cluster is missing, or has too few CPUs."""
    try:
        import ray
    except ImportError:
        raise ConfigError('--engine ray needs Ray: pip install "sac_dist[ray]"') from None
    folder: str | None = None
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
    try:
        if not _connect(ray, config.cluster.address):
            folder = _start(ray, config)
        _check_resources(ray, config)
        yield
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _connect(ray: Any, address: str | None) -> bool:
    """Whether there is a cluster at the address, or with None any that runs on this machine."""
    try:
        ray.init(address=address or "auto", log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        if address is None and isinstance(error, ConnectionError):
            return False
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"no Ray cluster can be reached at {address or 'the running one'}: {reason}") from None
    return True


def _start(ray: Any, config: Config) -> str:
    """Start a cluster for this run alone; returns the folder for its sockets and logs, which goes with it."""
    folder = tempfile.mkdtemp(prefix="sac-ray-")
    with quiet_start():
        ray.init(
            num_cpus=max(os.cpu_count() or 1, round(config.train.workers * config.cluster.worker_cpus + 0.5)),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            object_store_memory=OBJECT_STORE,
            _temp_dir=folder,
        )
    return folder


def _check_resources(ray: Any, config: Config) -> None:
    needed, there = config.train.workers * config.cluster.worker_cpus, ray.cluster_resources().get("CPU", 0.0)
    if needed > there:
        raise ConfigError(
            f"{config.train.workers} workers of {config.cluster.worker_cpus:g} CPUs need {needed:g}, and the cluster has {there:g}: "
            "give fewer --workers or a smaller --worker-cpus"
        )
