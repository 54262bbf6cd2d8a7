"""Goals in pictures, which nothing else of an episode knows of."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import envs  # noqa: F401
from envs.backends.base import BackendError


def greenest(picture: np.ndarray) -> float:
    """How much more green than red or blue a pixel is at most; neither table, floor, thing nor robot is
    green.
    """
    red, green, blue = np.moveaxis(picture.astype(float), -1, 0)
    return float((green - np.maximum(red, blue)).max())


@pytest.mark.parametrize(("task", "goal"), [("Push-v0", True), ("Lift-v0", False)])
def test_a_goal_is_green_in_the_picture(task: str, goal: bool) -> None:
    env = gymnasium.make(
        task, backend="mujoco", render_mode="rgb_array", width=320, height=240, disable_env_checker=True
    )
    env.reset(seed=0)
    try:
        picture = env.render()
    except BackendError as error:
        pytest.skip(str(error))
    finally:
        env.close()
    assert (greenest(picture) > 40) == goal
