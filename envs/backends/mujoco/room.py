"""The room around a robot, for pictures: floor, table, light, cameras."""

from __future__ import annotations

import mujoco
import numpy as np

from envs.backends.mujoco.shapes import LOOK, Shapes, text
from envs.backends.views import CLOSEUP, SAWYER_MIDDLE
from envs.robots.arm import Table

MAX_WIDTH, MAX_HEIGHT = 1920, 1440  # pixels of a picture
WOOD_SIZE = 512  # pixels of the wood's texture, which is one metre of table

TEXTURES = f"""
<texture name="sky" type="skybox" builtin="gradient" rgb1="0.80 0.86 0.92" rgb2="0.42 0.52 0.64" width="256" height="1536"/>
<texture name="tiles" type="2d" builtin="checker" rgb1="0.74 0.75 0.77" rgb2="0.66 0.67 0.70" mark="edge" markrgb="0.44 0.46 0.49"
         width="512" height="512"/>
<texture name="wood" type="2d" builtin="flat" rgb1="0.7 0.5 0.3" width="{WOOD_SIZE}" height="{WOOD_SIZE}"/>
<material name="tiles" texture="tiles" texrepeat="1.25 1.25" texuniform="true" specular="0.3" shininess="0.5"/>
<material name="wood" texture="wood" texrepeat="1 1" texuniform="true" specular="0.25" shininess="0.4"/>
"""

LIGHTS = """
<light name="sun" pos="1.9 -0.9 2.9" dir="-0.42 0.28 -1" cutoff="42" exponent="1" diffuse="0.66 0.645 0.62" specular="0.35 0.35 0.35"/>
<light name="fill" type="directional" pos="2 3 2" dir="-0.5 -0.8 -0.5" diffuse="0.24 0.26 0.30" specular="0.1 0.1 0.1" castshadow="false"/>
"""

CAMERAS = {  # of the Sawyer; name: (from, to, vertical field of view in degrees)
    "scene": ((1.50, -1.86, 0.80), (0.42, 0.0, 0.02), 40),
    "closeup": CLOSEUP,
}


def add_room(spec: mujoco.MjSpec, table: Table, size: float) -> None:
    """Put a robot into the room; ``size`` is the arm's (see Arm). All names of the room begin with "room/"."""
    spec.attach(mujoco.MjSpec.from_string(room_xml(table, size)), "room/", frame=spec.worldbody.add_frame())
    visual = spec.visual
    visual.headlight.ambient, visual.headlight.diffuse = (0.36, 0.36, 0.37), (0.18, 0.18, 0.18)
    visual.headlight.specular = (0.05, 0.05, 0.05)
    visual.global_.offwidth, visual.global_.offheight = MAX_WIDTH, MAX_HEIGHT
    visual.global_.azimuth, visual.global_.elevation = 120, -20
    visual.quality.shadowsize, visual.quality.offsamples = 4096, 4
    spec.stat.extent, spec.stat.center = 1.4, (*table.middle[:2] * (0.45 / SAWYER_MIDDLE[0]), 0)
    visual.map.znear, visual.map.zfar, visual.map.shadowclip, visual.map.haze = 0.05, 30, 1.2, 0.35
    visual.rgba.haze = (0.80, 0.86, 0.92, 1)


def room_xml(table: Table, size: float) -> str:
    """MJCF of floor, table, lights and cameras."""
    shapes = Shapes()
    (x, y), (half_x, half_y), top = table.centre, table.half, table.top
    legs = "".join(
        shapes.barrel(
            "leg",
            (x + side * (half_x - 0.06), y + other * (half_y - 0.06), top - 0.035),
            (x + side * (half_x - 0.06), y + other * (half_y - 0.06), table.floor),
            0.032,
            0.02,
            edge=0.004,
        )
        for side in (-1, 1)
        for other in (-1, 1)
    )
    apron = "".join(
        shapes.box("leg", (x + side, y + other, top - 0.065), (length, width, 0.03), edge=0.004)
        for side, other, length, width in (
            (0, half_y - 0.06, half_x - 0.06, 0.011),
            (0, 0.06 - half_y, half_x - 0.06, 0.011),
            (half_x - 0.06, 0, 0.011, half_y - 0.06),
            (0.06 - half_x, 0, 0.011, half_y - 0.06),
        )
    )
    board = (
        f'<geom {LOOK} type="box" pos="{x} {y} {top - 0.02}" size="{half_x} {half_y} 0.02" material="wood"/>'
    )
    floor = f'<geom {LOOK} type="plane" pos="0 0 {table.floor}" size="12 12 1" material="tiles"/>'
    world = LIGHTS + cameras(table, size) + floor + board + legs + apron
    return f'<mujoco><compiler angle="radian"/><asset>{TEXTURES}{shapes.assets()}</asset><worldbody>{world}</worldbody></mujoco>'


def cameras(table: Table, size: float) -> str:
    """As the Sawyer's, about the middle of the region, at distances that go with the arm's size."""
    xml = ""
    for name, (*ends, fovy) in CAMERAS.items():
        position, target = (table.middle + size * np.subtract(end, SAWYER_MIDDLE) for end in ends)
        back = np.subtract(position, target)
        right = np.cross([0, 0, 1], back)
        xml += f'<camera name="{name}" pos="{text(position)}" xyaxes="{text(right)} {text(np.cross(back, right))}" fovy="{fovy}"/>'
    return xml


def wood(size: int = WOOD_SIZE) -> np.ndarray:
    """(size, size, 3) uint8: five boards with grain along the second axis."""
    rng = np.random.default_rng(7)
    across, along = np.mgrid[0:size, 0:size] / size
    board = np.minimum((across * 5).astype(int), 4)
    tone = rng.uniform(-0.05, 0.05, 5)[board]
    shift = rng.uniform(0, 9, 5)[board]
    bend = 0.012 * np.sin(2 * np.pi * (along * 1.0 + shift)) + 0.006 * np.sin(
        2 * np.pi * (along * 3.0 + 2 * shift)
    )
    rings = (
        np.sin(2 * np.pi * (across + bend + shift) * 34) * 0.5
        + np.sin(2 * np.pi * (across + bend * 1.4 + shift) * 91) * 0.3
    )
    knots = rng.normal(0, 1, (size, 17))
    fibre = np.array([np.interp(along[0] * 16, np.arange(17), row) for row in knots])
    value = 1.0 + tone + 0.045 * rings + 0.035 * fibre
    gap = np.abs(across * 5 - np.round(across * 5)) < 0.012
    value = np.where(gap & (across > 0.01) & (across < 0.99), 0.72 * value, value)
    return np.clip(value[..., None] * np.array([0.72, 0.51, 0.32]) * 255, 0, 255).astype(np.uint8)
