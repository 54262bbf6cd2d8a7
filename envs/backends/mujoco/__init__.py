"""MuJoCo. Importing this package chooses the OpenGL that mujoco will use; mujoco itself is imported later."""

import ctypes
import os
import sys

from envs.backends.choice import has_display


def choose_gl() -> None:
    """Without a display set MUJOCO_GL to what this machine can load; mujoco reads it once, when it is
    imported.
    """
    if sys.platform != "linux" or "MUJOCO_GL" in os.environ or has_display():
        return
    for name, libraries in (
        ("egl", ("libEGL.so.1",)),
        ("osmesa", ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")),
    ):
        for library in libraries:
            try:
                ctypes.CDLL(library)
            except OSError:
                continue
            os.environ["MUJOCO_GL"] = name
            return


choose_gl()
