"""Who may come in: viser serves whoever finds the port, so its server is opened through this door."""

from __future__ import annotations

import contextlib
import hmac
import logging
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sac_dist.reporting.watch.steering import Steerers

MOST = 8  # open pages
LARGEST = 2**20  # bytes of a message from a page
HERE = ("127.0.0.1", "localhost", "[::1]")
HAND, SOCKET = "/hand", "/hand/socket"  # the page for who steers
PAGE = Path(__file__).with_name("steer.html")
# Kinds of messages that the page's own controls send; the others of viser's protocol could upload files or
# open a way in from outside.
TAKEN = ("GuiUpdateMessage", "ViewerCameraMessage")


class Door:
    """``token``: the first part of every path; None: only browsers of this machine come in. ``steerers``: who
    may steer, from a page of their own.
    """

    def __init__(self, token: str | None, steerers: Steerers | None = None) -> None:
        self.token, self.steerers = token, steerers
        self.inside = 0

    def open(self, host: str, port: int) -> Any:
        """A viser server there. Raises OSError if the port is taken."""
        import rich
        import viser
        from websockets.asyncio import server

        for name in ("websockets", "asyncio"):  # garbage is no news
            logging.getLogger(name).setLevel(logging.CRITICAL)
        rich.get_console().quiet = True  # viser's own words
        serve = server.serve

        def guarded(handler: Any, *arguments: Any, **options: Any) -> Any:
            options |= {"max_size": LARGEST, "process_request": self._checking(options["process_request"])}
            return serve(self._counting(handler), *arguments, **options)

        server.serve = guarded  # type: ignore[assignment,misc]
        try:
            opened = viser.ViserServer(host, port, label="sac_dist", verbose=False)
        finally:
            server.serve = serve  # type: ignore[misc]
        if opened.get_port() != port:  # viser goes on to the next without a word
            opened.stop()
            raise OSError(f"port {port} is taken")
        handlers = opened._websock_server._incoming_handlers
        for kind in [kind for kind in handlers if kind.__name__ not in TAKEN]:
            del handlers[kind]
        return opened

    def _counting(self, handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
        async def handle(connection: Any) -> None:
            if self.steerers is not None and connection.request.path == SOCKET:
                await self._steered(connection, self.steerers)
                return
            self.inside += 1
            try:
                await handler(connection)
            finally:
                self.inside -= 1

        return handle

    async def _steered(self, connection: Any, steerers: Steerers) -> None:
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed):
            await steerers.serve(connection)

    def _checking(self, answer: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def check(connection: Any, request: Any) -> Any:
            refused = self.refusal(request.path, request.headers)
            if refused is not None:
                return connection.respond(refused, f"{refused.phrase}\n")
            if self.token is not None:
                request.path = request.path[1 + len(self.token) :] or "/"
            if self.steerers is not None and request.path == HAND:
                page = connection.respond(HTTPStatus.OK, PAGE.read_text(encoding="utf-8"))
                del page.headers["Content-Type"]
                page.headers["Content-Type"] = "text/html; charset=utf-8"
                return page
            return answer(connection, request)

        return check

    def refusal(self, path: str, headers: Any) -> HTTPStatus | None:
        """Why a request is not answered; None: it is."""
        host, origin = headers.get("Host", ""), headers.get("Origin")
        if self.token is not None:
            given = path.lstrip("/").partition("/")[0].partition("?")[0]
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                return HTTPStatus.FORBIDDEN
        elif host.rpartition(":")[0] not in HERE and host not in HERE:  # another site's name for this machine
            return HTTPStatus.FORBIDDEN
        if origin is not None and urlsplit(origin).netloc != host:  # another site's page
            return HTTPStatus.FORBIDDEN
        if headers.get("Upgrade") is not None and self.inside >= MOST:
            return HTTPStatus.SERVICE_UNAVAILABLE
        return None
