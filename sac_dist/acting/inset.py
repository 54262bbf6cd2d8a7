"""What a policy sees, in the pictures that people see."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from sac_dist.acting.observation import schema_of
from sac_dist.data.schema import Schema

SHARE = 3  # of a picture's height, by that of an inset
EDGE = 2  # pixels of white around one


class Inset(gymnasium.Wrapper):
    """Renders the environment with the newest picture of each camera in a corner, one below the other."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.schema = schema_of(env)
        self._seen: Any = None

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        self._seen, info = self.env.reset(**arguments)
        return self._seen, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self._seen, *others = self.env.step(action)
        return (self._seen, *others)

    def render(self) -> Any:
        frame: Any = self.env.render()
        if self._seen is None or not isinstance(frame, np.ndarray) or frame.ndim != 3:
            return frame
        return with_insets(frame, self.schema, self._seen)


def with_insets(
    frame: npt.NDArray[np.uint8], schema: Schema, observation: npt.NDArray[Any]
) -> npt.NDArray[np.uint8]:
    """A copy of ``frame`` (H, W, 3) with what ``observation`` shows; pictures for which there is no more
    room are left out.
    """
    shown, top = frame.copy(), 0
    for field in schema.pictures:
        newest = observation[schema.spans[field.name]].reshape(field.stack, *field.shape)[-1]
        picture = in_colours(newest.astype(np.uint8))
        picture = picture.repeat(size := max(len(frame) // SHARE // len(picture), 1), 0).repeat(size, 1)
        picture = np.pad(picture, ((EDGE, EDGE), (EDGE, EDGE), (0, 0)), constant_values=255)
        height, width = picture.shape[:2]
        if top + height > len(frame) or width > frame.shape[1]:
            break
        shown[top : top + height, -width:] = picture
        top += height
    return shown


def in_colours(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(height, width, 3) of a picture with any number of channels."""
    return picture[..., :3] if picture.shape[2] >= 3 else picture[..., :1].repeat(3, axis=2)
