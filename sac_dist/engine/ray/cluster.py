"""Reaching the cluster that a run is to use, or starting one of this machine alone for it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from sac_dist.engine.start_method import FOR_THE_GROUP, quiet_start
from sac_dist.settings import Config, ConfigError
from sac_dist.settings.allowance import usable_processors

OBJECT_STORE = (
    512 * 2**20
)  # bytes: blocks of transitions and versions of the policy pass through it, and none stays
SIMULATOR = "coppeliasim"  # custom resource of machines that have CoppeliaSim
BEAT_INTERVAL = 0.5  # s between looks whether the cluster's head is there
MISSED_BEATS = 6  # in a row, after which it is taken to be gone
# No usage reports, and no tool that looks for one's own device.
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@contextlib.contextmanager
def connected(config: Config) -> Iterator[None]:
    """A connection to the cluster for the block. Raises ConfigError where Ray or the cluster is missing, or
    has too few CPUs.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError('--engine ray needs Ray: pip install "sac_dist[ray]"') from None
    # Ray prints what its nodes say of each death, with dumps of their state, whatever its logging level is:
    # the run says it in a line.
    ray._private.worker._worker_logs_enabled = False
    folder: str | None = None
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
    try:
        if config.cluster.address == "local" or not _connect(ray, config.cluster.address):
            folder = _start(ray, config)
        _check_resources(ray, config)
        yield
    finally:
        ray.shutdown()
        ray._private.worker._worker_logs_enabled = True
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _connect(ray: Any, address: str | None) -> bool:
    """Whether there is a cluster at the address, or with None any that runs on this machine."""
    if address is not None:
        _check_answers(address)
    try:
        ray.init(address=address or "auto", log_to_driver=False, logging_level=logging.CRITICAL)
    except (
        OSError,
        RuntimeError,
        ValueError,
        ray.exceptions.RayError,
    ) as error:  # no answer, or no token that it takes
        if address is None and isinstance(error, ConnectionError):
            return False
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"no Ray cluster can be reached at {address or 'the running one'}: {reason}"
        ) from None
    return True


def _check_answers(address: str) -> None:
    """Raise ConfigError unless something listens there: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"--address is {address}: it is host:port, as ray start prints it, or local")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"no Ray cluster answers at {address}: {error}") from None


def _start(ray: Any, config: Config) -> str:
    """Start a cluster for this run alone; returns the folder for its sockets and logs, which goes with it."""
    folder = tempfile.mkdtemp(prefix="sac-ray-")
    with quiet_start(FOR_THE_GROUP):  # Ray ends its own processes by SIGTERM
        ray.init(
            num_cpus=max(usable_processors(), round(config.train.workers * config.cluster.worker_cpus + 0.5)),
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
            f"{config.train.workers} workers of {config.cluster.worker_cpus:g} CPUs need {needed:g}, "
            f"and the cluster has {there:g}: "
            "give fewer --workers or a smaller --worker-cpus"
        )


class Heartbeat:
    """Whether the cluster's head still answers. Asked without Ray, whose own calls wait for a lost head, and
    then end the process.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.address = host.strip("[]"), int(port)
        self.stopped = False  # it has not answered, and is not asked again
        self._failures, self._asked = 0, time.monotonic()

    def look(self) -> bool:
        """Ask now and then; returns whether it lives."""
        now = time.monotonic()
        if not self.stopped and now > self._asked + BEAT_INTERVAL:
            self._asked = now
            try:
                socket.create_connection(self.address, timeout=1.0).close()
                self._failures = 0
            except OSError:
                self._failures += 1
                self.stopped = self._failures >= MISSED_BEATS
        return not self.stopped and not self._failures
