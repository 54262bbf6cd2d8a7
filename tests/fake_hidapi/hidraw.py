"""Stands in for hidapi, as far as it is used: a SpaceMouse whose reports are lines of hexadecimal numbers in a
file of the folder FAKE_SPACEMOUSE. Files of other names there say that it is "unplugged" or "forbidden".
"""

import os
from pathlib import Path


def _is(state):
    return (Path(os.environ["FAKE_SPACEMOUSE"]) / state).exists()


def enumerate():
    keyboard = {"vendor_id": 0x046D, "usage_page": 1, "usage": 6, "path": b"/dev/hidraw0"}
    mouse = {"vendor_id": 0x256F, "usage_page": 1, "usage": 8, "path": b"/dev/hidraw1"}
    return [keyboard] if _is("unplugged") else [keyboard, mouse]


class device:
    def open_path(self, path):
        if path != b"/dev/hidraw1" or _is("unplugged") or _is("forbidden"):
            raise OSError("open failed")
        self._file = (Path(os.environ["FAKE_SPACEMOUSE"]) / "reports").open()
        self._file.seek(0, 2)

    def set_nonblocking(self, wanted):
        assert wanted

    def read(self, most):
        if _is("unplugged"):
            raise OSError("read error")
        return list(bytes.fromhex(self._file.readline()))[:most]

    def close(self):
        self._file.close()
