"""What a policy sees is in the videos of it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import toy_envs

from sac_dist.acting.environment import make_env
from sac_dist.acting.inset import EDGE, Inset, with_insets
from sac_dist.data.schema import Field, Schema
from sac_dist.settings import EnvConfig


def test_the_newest_picture_of_each_camera_is_in_the_corner() -> None:
    fields = (Field("a", (8, 8, 3), "uint8", 2), Field("b", (8, 8, 1), "uint8", 2), Field("c", (2,)))
    schema = Schema(fields, 1)
    observation = np.zeros(schema.observation_size, np.float32)
    observation[schema.spans["a"]][8 * 8 * 3 :] = 40
    observation[schema.spans["b"]][8 * 8 :] = 90
    frame = np.full((60, 80, 3), 7, np.uint8)
    shown = with_insets(frame, schema, observation)
    size = 16 + 2 * EDGE
    first, second = shown[:size, -size:], shown[size : 2 * size, -size:]
    for inset, value in ((first, 40), (second, 90)):
        assert (inset[EDGE:-EDGE, EDGE:-EDGE] == value).all() and (inset[:EDGE] == 255).all()
    assert (shown[:, :-size] == 7).all() and (shown[2 * size :] == 7).all() and (frame == 7).all()
    small = with_insets(frame[:12], schema, observation)
    assert (small[:, :-12] == 7).all() and (small[:, -12:] != 7).any(), "one fits, the other does not"


class Drawn(toy_envs.Photographed):
    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}  # type: ignore[misc]

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__()
        self.render_mode = render_mode

    def render(self) -> np.ndarray:  # type: ignore[override]
        return np.full((60, 80, 3), 7, np.uint8)


def test_an_environment_s_own_picture_has_it() -> None:
    env = Inset(make_env(EnvConfig(Drawn), "rgb_array"))
    env.reset(seed=0)
    first = env.render()
    assert first.shape == (60, 80, 3) and (first[:, :60] == 7).all() and (first[:, 60:] != 7).any()
    env.step(np.ones(2, np.float32))
    assert (env.render() != first).any()
