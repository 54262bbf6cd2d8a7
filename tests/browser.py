"""Chromium, for the tests of the page that people see."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from contextlib import closing
from pathlib import Path

from websockets.sync.client import connect


class Browser:
    """Chromium, without a window, at a page; SAC_DIST_BROWSER names its program."""

    def __init__(self, url: str, folder: Path) -> None:
        program = find_browser()
        assert program is not None
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            port = free.getsockname()[1]
        flags = (
            "headless=shell no-sandbox no-zygote disable-dev-shm-usage use-gl=angle use-angle=swiftshader "
        )
        flags += (
            "enable-unsafe-swiftshader ignore-gpu-blocklist no-proxy-server disable-background-networking"
        )
        command = [program, *(f"--{flag}" for flag in flags.split()), f"--remote-debugging-port={port}"]
        here = Path(program).parent
        self.process = subprocess.Popen(
            [*command, f"--user-data-dir={folder}", "--window-size=1280,800", "--lang=en-US", "about:blank"],
            env={**os.environ, "LD_LIBRARY_PATH": f"{here}/lib:{here}", "LANG": "en_US.UTF-8", "LC_ALL": "en_US.UTF-8", "LANGUAGE": "en_US", "HOME": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=here,
        )  # fmt: skip
        try:
            self.socket, self._number, self._down = self._connected(port), 0, set[str]()
            self.call("Page.navigate", url=url)
        except BaseException:
            self.close()
            raise

    def _connected(self, port: int):
        deadline = time.monotonic() + 30
        while True:
            try:
                pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=2))
                address = next(page for page in pages if page["type"] == "page")["webSocketDebuggerUrl"]
                return connect(address, max_size=None, ping_interval=None, proxy=None)
            except (OSError, StopIteration):
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def call(self, method: str, **parameters):
        self._number += 1
        self.socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv(timeout=60))).get("id") != self._number:
            pass
        return answer["result"]

    def press(self, keys: set[str]) -> None:
        """Hold down these and no others."""
        for kind, those in (("keyUp", self._down - keys), ("keyDown", keys - self._down)):
            for code in those:
                self.call("Input.dispatchKeyEvent", type=kind, code=code, key=code)
        self._down = set(keys)

    def value(self, expression: str):
        return self.call("Runtime.evaluate", expression=expression)["result"].get("value")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def find_browser() -> str | None:
    named = os.environ.get("SAC_DIST_BROWSER")
    known = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return named or next(filter(None, map(shutil.which, known)), None)
