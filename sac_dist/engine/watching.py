"""The process of the page that --watch opens: it shows what a run does, and the run does without it."""

from __future__ import annotations

import errno
import importlib.util
import ipaddress
import os
import secrets
import socket
import sys
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import NamedTuple

from sac_dist.acting.hand import Hand
from sac_dist.acting.reels import Reels
from sac_dist.engine.control import EPISODES, UPDATES, Control
from sac_dist.engine.member import Note, reported
from sac_dist.engine.processes import Child, settle_child
from sac_dist.reporting.watch.page import Subject, serve
from sac_dist.settings import Config, ConfigError, TrainConfig

PORTS = 20  # that are tried, from the one asked for
NICE = 5  # as the evaluator: the workers come first


class Address(NamedTuple):
    host: str
    port: int
    token: str | None  # the first part of the path; None: this machine's browsers need none

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/{'' if self.token is None else f'{self.token}/'}"


def check_watch(train: TrainConfig) -> None:
    """Raise ConfigError where a page is asked for and cannot be."""
    if train.watch:
        check_viser("--watch")
        find_address(train.watch_host, train.watch_port)


def check_viser(flag: str) -> None:
    if importlib.util.find_spec("viser") is None:
        raise ConfigError(f"{flag} needs viser: pip install 'sac-dist[view]'")


def find_address(host: str, port: int) -> tuple[Address, str]:
    """Where the page is to be, on the first free port from ``port`` on, and a line that says so.

    Raises ConfigError for a host that is not this machine's, and where no port is free.
    """
    for attempt in range(port, min(port + PORTS, 65536)):
        if _is_free(host, attempt):
            address = Address(host, attempt, None if _is_loopback(host) else secrets.token_urlsafe(16))
            taken = "" if attempt == port else f" (port {port} is taken)"
            return address, f"watch it: {address.url}{taken}"
    raise ConfigError(f"--watch-port: no port from {port} to {port + PORTS - 1} is free on {host}")


def _is_free(host: str, port: int) -> bool:
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server's
            probe.bind(name)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        reason = error.strerror or str(error)
        raise ConfigError(f"--watch-host {host} with port {port} does not work: {reason}") from None
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def watch_main(
    connection: Connection,
    config: Config,
    folder: Path,
    address: Address,
    reels: Reels | None,
    control: Control,
    hand: Hand | None,
    line: str | None,
) -> None:
    """Entry point of the process; ``line`` is said once the page answers."""
    settle_child()
    os.nice(NICE)
    with reported(connection), open(os.devnull, "w") as nowhere:
        sys.stdout = sys.stderr = nowhere  # of what visitors make fail, a terminal need not hear
        if reels is not None:
            reels.forget()
        if hand is not None:
            hand.let_go()

        def progress() -> tuple[int, int, int]:
            return control.clock(), control.total(UPDATES), control.total(EPISODES)

        online = not config.data.offline
        players = [f"worker-{rank}" for rank in range(config.train.workers)] if online else []
        subject = Subject(config.env, reels, players, folder, progress, hand=hand)

        def opened() -> None:
            if line is not None:
                connection.send(Note(line))

        serve(subject, address.host, address.port, address.token, opened)


def watcher(
    context: BaseContext,
    config: Config,
    folder: Path,
    reels: Reels | None,
    control: Control,
    hand: Hand | None,
) -> Child:
    """The part of a run. It says where the page is. Raises ConfigError where it cannot be."""
    address, line = find_address(config.train.watch_host, config.train.watch_port)
    if hand is not None:
        line = f"{line} · steer it: {address.url}hand"
    task = config, folder.absolute(), address, reels, control, hand
    return Child(
        context, "watch", watch_main, lambda start: (*task, None if start else line), essential=False
    )
