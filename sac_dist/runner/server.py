"""The policy server: a policy behind a WebSocket, for a robot's own computer. See messages.py."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from copy import copy

from sac_dist.runner.messages import LARGEST_MESSAGE, answer, greeting
from sac_dist.runner.policy import Policy
from sac_dist.settings.option import ConfigError

HOST, PORT = "127.0.0.1", 8765
PING = 5.0  # s after which a client that does not answer is let go


def serve(policy: Policy, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Answer whoever connects, until SIGINT or SIGTERM. Raises ConfigError where the port cannot be had.

    A browser's page is refused (it sends an Origin), so that no web site asks a server of this machine.
    """
    try:
        from websockets.asyncio.server import ServerConnection
        from websockets.asyncio.server import serve as listen
        from websockets.exceptions import ConnectionClosed
    except ImportError as error:
        raise ConfigError(f"the server needs websockets: pip install websockets ({error})") from None
    hello = greeting(policy)
    quiet = logging.Logger("policy server", logging.CRITICAL)  # no traceback for what is no WebSocket

    async def attend(connection: ServerConnection) -> None:
        own = copy(policy)  # which remembers the pictures of this client
        own.begin()
        try:
            await connection.send(hello)
            async for message in connection:
                await connection.send(answer(own, message))
        except ConnectionClosed:  # it went away
            return

    async def main() -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, over.set)
        async with listen(
            attend,
            host,
            port,
            origins=[None],
            compression=None,  # it takes longer than the numbers
            max_size=LARGEST_MESSAGE,
            ping_interval=PING,
            ping_timeout=PING,
            close_timeout=1.0,
            logger=quiet,
        ) as server:
            address = next(iter(server.sockets)).getsockname()
            name = f"[{address[0]}]" if ":" in address[0] else address[0]
            tell(f"serving on ws://{name}:{address[1]}, until Ctrl-C")
            if host not in ("127.0.0.1", "localhost", "::1"):
                tell("whoever reaches this address may ask the policy for actions: there is no password")
            await over.wait()

    try:
        asyncio.run(main())
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no name of a machine"
        raise ConfigError(f"cannot serve on {host}:{port}: {reason}") from None
