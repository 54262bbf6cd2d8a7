"""A display of X without a screen, and keys that are pressed on it as a keyboard's are."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
import subprocess
from pathlib import Path

from PIL import ImageGrab

SYMBOLS = {
    **{"Space": "space", "Enter": "Return", "Backspace": "BackSpace"},
    **{"ShiftLeft": "Shift_L", "ShiftRight": "Shift_R"},
}


def obstacle() -> str | None:
    """What is missing, in a few words; None: nothing."""
    if shutil.which("Xvfb") is None:
        return "no Xvfb"
    missing = [name for name in ("X11", "Xtst") if ctypes.util.find_library(name) is None]
    return f"no lib{missing[0]}" if missing else None


class ClientMessage(ctypes.Structure):
    """XClientMessageEvent of <X11/Xlib.h>, in the size of an XEvent."""

    _fields_ = (
        *(("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("send_event", ctypes.c_int)),
        *(("display", ctypes.c_void_p), ("window", ctypes.c_ulong), ("message_type", ctypes.c_ulong)),
        *(("format", ctypes.c_int), ("data", ctypes.c_long * 5), ("rest", ctypes.c_long * 12)),
    )


class Display:
    """Runs from its making until ``close``."""

    def __init__(self) -> None:
        read, write = os.pipe()
        command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1000x750x24", "-nolisten", "tcp"]
        self._process = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read) as number:
            self.name = f":{number.readline().strip()}"
        self._x, self._xtest = (ctypes.CDLL(ctypes.util.find_library(name)) for name in ("X11", "Xtst"))
        self._x.XOpenDisplay.restype = ctypes.c_void_p
        self._x.XStringToKeysym.restype = self._x.XInternAtom.restype = ctypes.c_ulong
        self._display = ctypes.c_void_p(self._x.XOpenDisplay(self.name.encode()))
        assert self._display, "the display does not answer"
        self._down: set[str] = set()

    def press(self, keys: set[str]) -> None:
        """Hold down these, by the names that browsers give them, and no others."""
        for down, those in ((0, self._down - keys), (1, keys - self._down)):
            for key in those:
                name = SYMBOLS.get(key, key.removeprefix("Arrow").removeprefix("Key"))
                symbol = ctypes.c_ulong(self._x.XStringToKeysym(name.encode()))
                code = self._x.XKeysymToKeycode(self._display, symbol)
                assert code and self._xtest.XTestFakeKeyEvent(self._display, code, down, 0), key
        self._x.XFlush(self._display)
        self._down = set(keys)

    def titles(self) -> dict[int, str]:
        """Those of the windows that have one, by the windows' numbers."""
        root, parent, count = ctypes.c_ulong(), ctypes.c_ulong(), ctypes.c_uint()
        windows = ctypes.POINTER(ctypes.c_ulong)()
        whole = ctypes.c_ulong(self._x.XDefaultRootWindow(self._display))
        parts = ctypes.byref(root), ctypes.byref(parent), ctypes.byref(windows), ctypes.byref(count)
        self._x.XQueryTree(self._display, whole, *parts)
        found, name = {}, ctypes.c_char_p()
        for window in windows[: count.value]:
            if self._x.XFetchName(self._display, ctypes.c_ulong(window), ctypes.byref(name)):
                found[window] = (name.value or b"").decode()
        return found

    def ask_to_close(self, window: int) -> None:
        """As the button of its frame does."""
        atoms = (
            self._x.XInternAtom(self._display, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")
        )
        event = ClientMessage(33, 0, 1, self._display, window, next(atoms), 32, (next(atoms), 0, 0, 0, 0))
        self._x.XSendEvent(self._display, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(event))
        self._x.XFlush(self._display)

    def photograph(self, file: Path) -> None:
        ImageGrab.grab(xdisplay=self.name).save(file)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
