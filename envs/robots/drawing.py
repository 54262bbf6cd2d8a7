"""A picture of a robot at home with its frames: ``python -m envs.robots.drawing CARD.yaml OUT.png``.

A program of its own, as an OpenGL that does not work can end a process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from envs.backends.base import BackendError
from envs.robots.card import RobotCard, write_card
from envs.robots.library import find_robot

WIDTH, HEIGHT = 960, 720
PATIENCE = 120.0  # s
RED, GREEN, BLUE = (0.9, 0.1, 0.1, 1), (0.1, 0.7, 0.1, 1), (0.1, 0.3, 1.0, 1)


def draw(card: RobotCard, path: Path) -> str | None:
    """Write a PNG. What keeps it from being drawn, in a line; None: it is there."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "card.yaml"
        if card.model is not None:
            write_card(card, file)
        name = card.name if card.model is None else str(file)
        command = [sys.executable, "-m", "envs.robots.drawing", name, str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            return f"OpenGL did not answer in {PATIENCE:g} s"
    if done.returncode == 0 and path.is_file():
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"OpenGL ended the program with status {done.returncode}"


def main(robot: str, picture_path: str) -> None:
    from envs.backends.mujoco.picture import open_renderer

    card = find_robot(robot)
    model, data = scene(card)
    renderer = open_renderer(model, WIDTH, HEIGHT)
    import imageio.v3 as imageio
    import mujoco

    low, high = data.xpos[1:].min(0), data.xpos[1:].max(0)
    camera = mujoco.MjvCamera()
    camera.lookat[:] = (low + high) / 2
    camera.distance, camera.azimuth, camera.elevation = 2.0 * np.linalg.norm(high - low), 130, -22
    renderer.update_scene(data, camera)
    imageio.imwrite(picture_path, renderer.render())
    renderer.close()


def scene(card: RobotCard) -> tuple[Any, Any]:
    """The robot at home, open, with the base's and the tool's frame, the table and the region (green)."""
    import mujoco

    from envs.robots.spec import robot_spec

    spec = robot_spec(card, looks=True)
    world, size = spec.worldbody, max(card.size, 0.3)
    (left, right), (near, far) = card.region
    centre, half = [(left + right) / 2, (near + far) / 2], [(right - left) / 2, (far - near) / 2]
    box = mujoco.mjtGeom.mjGEOM_BOX
    thick = 0.01 * size
    for margin, low, rgba in (
        (0.3 * size, thick, (0.75, 0.65, 0.5, 1)),
        (0.0, thick / 2, (0.55, 0.8, 0.5, 1)),
    ):
        world.add_geom(
            type=box, pos=[*centre, card.table_height - low - 1e-3], rgba=rgba, contype=0, conaffinity=0,
            size=[half[0] + margin, half[1] + margin, thick], material="",
        )  # fmt: skip
    if not any(texture.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX for texture in spec.textures):
        spec.add_texture(
            type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
            rgb1=[0.8, 0.86, 0.92], rgb2=[0.45, 0.55, 0.66], width=64, height=384, name="sky of the picture",
        )  # fmt: skip
    if not spec.lights:
        down = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
        world.add_light(pos=[centre[0], -1, 2.5], dir=[0, 0.4, -1], type=down)
        spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.35] * 3, [0.5] * 3
    tool, turn = spec.site("tool"), np.zeros(9)
    mujoco.mju_quat2Mat(turn, tool.quat)
    add_frame(world, np.zeros(3), np.eye(3), 0.15 * size)
    add_frame(spec.body(card.tool.body), tool.pos, turn.reshape(3, 3), 0.12 * size)
    spec.visual.global_.offwidth, spec.visual.global_.offheight = WIDTH, HEIGHT
    model = spec.compile()
    data = mujoco.MjData(model)
    for name, position in zip(card.arm_joints, card.home, strict=True):
        data.joint(name).qpos[0] = position
    if card.gripper is not None:
        for name, ends in card.gripper.joints.items():
            data.joint(name).qpos[0] = ends[1]
    mujoco.mj_forward(model, data)
    return model, data


def add_frame(body: Any, origin: np.ndarray, rotation: np.ndarray, length: float) -> None:
    """x red, y green, z blue."""
    import mujoco

    for axis, rgba in zip(rotation.T, (RED, GREEN, BLUE), strict=True):
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=[*origin, *(origin + length * axis)], material="",
            size=[0.03 * length, 0, 0], rgba=rgba, contype=0, conaffinity=0, group=1, mass=0,
        )  # fmt: skip


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except BackendError as error:
        sys.exit(str(error))
