"""How an environment can be shown elsewhere: in 3D, as pictures, or not."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

Frame = Callable[[], "np.ndarray | None"]  # of the present instant: (n,) uint8; None: there is nothing to see
WIDEST = 320  # pixels of a picture that is sent


def drawable(env: gymnasium.Env) -> Any | None:
    """The environment's envs.viewing.Viewable, or one for its MuJoCo model; None: it has neither."""
    inner = env.unwrapped
    if callable(getattr(inner, "snapshot", None)) and callable(getattr(inner, "drawing_of", None)):
        return inner
    mujoco = sys.modules.get("mujoco")  # an environment that has a model has imported it
    model, data = getattr(inner, "model", None), getattr(inner, "data", None)
    if mujoco is None or not (isinstance(model, mujoco.MjModel) and isinstance(data, mujoco.MjData)):
        return None
    from envs.backends.mujoco.drawing import ModelView

    return ModelView(model, data)


def view_of(env: gymnasium.Env) -> Frame:
    """What gives the frames of ``env``: its snapshots, else, where it was made to draw, JPEG pictures."""
    viewable = drawable(env)
    if viewable is not None:
        return lambda: _bytes_of(viewable.snapshot())
    if env.render_mode == "rgb_array":
        return lambda: picture_bytes(np.asarray(env.render()))
    return lambda: None


def _bytes_of(snapshot: np.ndarray | None) -> np.ndarray | None:
    return None if snapshot is None else np.ascontiguousarray(snapshot, np.float32).view(np.uint8)


def picture_bytes(picture: np.ndarray) -> np.ndarray:
    """(n,) uint8, a JPEG file of (h, w, 3) uint8."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(picture[..., :3], np.uint8))
    image.thumbnail((WIDEST, WIDEST))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return np.frombuffer(file.getvalue(), np.uint8)


def picture_of(frame: bytes) -> np.ndarray:
    """(h, w, 3) uint8 of such a file."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(frame)).convert("RGB"))
