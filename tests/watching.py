"""A page as a browser's websocket speaks to it, without the browser."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import msgspec
import viser
import zstandard
from websockets.sync.client import connect


class Visitor:
    """Reads what the page sends: ``kinds`` counts messages, ``controls`` are the GUI's, by label."""

    def __init__(self, url: str) -> None:
        self.socket = connect(
            url.replace("http", "ws", 1).rstrip("/"),
            subprotocols=[f"viser-v{viser.__version__}"],
            max_size=None,
            open_timeout=20,
            proxy=None,
        )
        self.kinds: Counter[str] = Counter()
        self.controls: dict[str, dict[str, Any]] = {}
        self.texts: dict[str, str] = {}
        self.poses: list[tuple[str, tuple[float, ...]]] = []
        self.charts: dict[str, Any] = {}

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def read(self, seconds: float) -> None:
        """Whatever comes within that time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self._take(self.socket.recv(timeout=left))
            except TimeoutError:
                return

    def until(self, condition: Any, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition(self):
            assert time.monotonic() < deadline, (self.kinds, self.texts, self.controls)
            self.read(0.1)

    def set(self, label: str, value: Any) -> None:
        """Turn a control as a visitor does."""
        message = {
            "type": "GuiUpdateMessage",
            "uuid": self.controls[label]["uuid"],
            "updates": {"value": value},
        }
        self.socket.send(msgspec.msgpack.encode(message))

    @property
    def text(self) -> str:
        return "\n".join(self.texts.values())

    def _take(self, raw: bytes) -> None:
        size, packed = (int.from_bytes(raw[at : at + 8], "little") for at in (0, 8))
        inner = zstandard.ZstdDecompressor().decompress(raw[16 : 16 + packed], max_output_size=size)
        for message in msgspec.msgpack.decode(inner)["messages"]:
            kind = message["type"]
            self.kinds[kind] += 1
            if kind == "SetPositionMessage":
                self.poses.append((message["name"], tuple(message["position"])))
            props = message.get("props") or {}
            if kind == "GuiMarkdownMessage":
                self.texts[message["uuid"]] = props["_markdown"]
            elif kind == "GuiUplotMessage":
                self.charts[message["uuid"]] = props
            elif props.get("label"):
                self.controls[props["label"]] = {"uuid": message["uuid"], **props}
            if kind == "GuiUpdateMessage":
                self._update(message["uuid"], message["updates"])

    def _update(self, uuid: str, updates: dict[str, Any]) -> None:
        if uuid in self.texts and "_markdown" in updates:
            self.texts[uuid] = updates["_markdown"]
        for control in self.controls.values():
            if control["uuid"] == uuid:
                control.update(updates)
