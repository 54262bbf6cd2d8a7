"""A 3Dconnexion SpaceMouse at this computer, by hidapi.

Its reports are little-endian. 1 has the shifts along x (to the right), y (towards the person) and z (down) as
int16, and of newer devices the turns about these axes after them. 2 has the turns of older devices, 3 the
buttons, a bit each. spacenavd and pyspacemouse read them so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from sac_dist.settings import ConfigError

VENDORS = (0x256F, 0x046D)  # 3Dconnexion, and Logitech, whose its older ones are
MULTI_AXIS = (0x01, 0x08)  # usage page and usage of the HID usage tables
SHIFTS, TURNS, BUTTONS = 1, 2, 3  # reports
FULL = 350.0  # of an axis
LOOK_AGAIN = 1.0  # s between looks for one that is unplugged


def find_spacemouse() -> bytes:
    """The path of the first one. Raises ConfigError: there is none, or hidapi is missing."""
    hid = _library()
    for each in hid.enumerate():
        if each["vendor_id"] in VENDORS and (each["usage_page"], each["usage"]) == MULTI_AXIS:
            path: bytes = each["path"]
            return path
    raise ConfigError("--hand spacemouse finds no SpaceMouse: plug it into this computer (lsusb names it)")


class SpaceMouse:
    """``note`` gets a line when it is unplugged and when it is back. Raises ConfigError where there is none
    that can be opened.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._device: Any = None
        self._due = 0.0  # when to look for it again
        self._open()

    def read(self) -> tuple[tuple[float, ...], tuple[bool, ...]]:
        """Its six axes, 1 a full one, and two buttons; of none that is unplugged anything is moved."""
        if self._device is None and time.monotonic() > self._due:
            self._look_again()
        try:
            while self._device is not None and (report := self._device.read(64)):
                self._take(bytes(report))
        except (OSError, ValueError):
            self._device.close()
            self._device, self._due = None, time.monotonic() + LOOK_AGAIN
            self._note("the SpaceMouse is unplugged: the arm stands still; plug it in again, or use the keys")
            self._let_go()
        return tuple((self._axes / FULL).tolist()), self._buttons

    def _take(self, report: bytes) -> None:
        numbers = np.frombuffer(report[1 : 1 + 2 * ((len(report) - 1) // 2)], "<i2")
        if report[0] == SHIFTS and len(numbers) >= 3:
            self._axes[: len(numbers[:6])] = numbers[:6]
        elif report[0] == TURNS and len(numbers) >= 3:
            self._axes[3:] = numbers[:3]
        elif report[0] == BUTTONS and len(report) > 1:
            self._buttons = bool(report[1] & 1), bool(report[1] & 2)

    def _open(self) -> None:
        path, self._device = find_spacemouse(), _library().device()
        try:
            self._device.open_path(path)
        except OSError:
            raise ConfigError(
                f"--hand spacemouse may not read {path.decode(errors='replace')}: allow it by a rule of udev "
                "(docs/people.md)"
            ) from None
        self._device.set_nonblocking(True)
        self._let_go()

    def _look_again(self) -> None:
        self._due = time.monotonic() + LOOK_AGAIN
        try:
            self._open()
        except ConfigError:
            self._device = None
        else:
            self._note("the SpaceMouse is back")

    def _let_go(self) -> None:
        self._axes, self._buttons = np.zeros(6), (False, False)


def _library() -> Any:
    """hidapi on the kernel's hidraw, which alone says what kind a device is; one built without libusb has it
    under the other name. Raises ConfigError.
    """
    try:
        import hidraw as hid
    except ImportError:
        try:
            import hid
        except ImportError:
            raise ConfigError("--hand spacemouse needs hidapi: pip install 'sac-dist[spacemouse]'") from None
    return hid
