"""What the camera sees of the Sawyer and its room. Shapes without mass or collision, hung on the bodies of
``mujoco_model.py``.

Every shape is a rounded solid of ``mujoco_shapes.py``, in the frame of its body: a link's joint turns about
its z axis, and the next link sits where ``mujoco_model.LINKS`` says. So a housing is a barrel along z, and a
limb one along z or -y.
"""

from __future__ import annotations

import numpy as np

from envs.backends.mujoco.shapes import Shapes, text

WOOD_SIZE = 512  # pixels of the wood's texture, which is one metre of table

MATERIALS = f"""
<texture name="sky" type="skybox" builtin="gradient" rgb1="0.80 0.86 0.92" rgb2="0.42 0.52 0.64" width="256" height="1536"/>
<texture name="tiles" type="2d" builtin="checker" rgb1="0.74 0.75 0.77" rgb2="0.66 0.67 0.70" mark="edge" markrgb="0.44 0.46 0.49"
         width="512" height="512"/>
<texture name="wood" type="2d" builtin="flat" rgb1="0.7 0.5 0.3" width="{WOOD_SIZE}" height="{WOOD_SIZE}"/>
<material name="tiles" texture="tiles" texrepeat="1.25 1.25" texuniform="true" specular="0.3" shininess="0.5"/>
<material name="wood" texture="wood" texrepeat="1 1" texuniform="true" specular="0.25" shininess="0.4"/>
<material name="leg" rgba="0.40 0.26 0.15 1" specular="0.2" shininess="0.3"/>
<material name="red" rgba="0.70 0.035 0.045 1" specular="0.7" shininess="0.75"/>
<material name="dark" rgba="0.105 0.11 0.12 1" specular="0.45" shininess="0.5"/>
<material name="grey" rgba="0.22 0.23 0.25 1" specular="0.5" shininess="0.6"/>
<material name="metal" rgba="0.62 0.64 0.67 1" specular="0.9" shininess="0.85"/>
<material name="rubber" rgba="0.06 0.06 0.065 1" specular="0.1" shininess="0.1"/>
<material name="blue" rgba="0.08 0.40 0.98 1" specular="0.5" shininess="0.6"/>
<material name="screen" rgba="0.04 0.09 0.20 1" specular="0.6" shininess="0.9" emission="0.4"/>
<material name="white" rgba="0.95 0.96 0.97 1" specular="0.2" emission="0.5"/>
<material name="iris" rgba="0.10 0.45 0.85 1" emission="0.5"/>
<material name="pupil" rgba="0.01 0.01 0.02 1" specular="0.2"/>
<material name="light" rgba="0.35 0.95 0.55 1" emission="0.9"/>
"""

LIGHTS = """
<light name="sun" pos="1.9 -0.9 2.9" dir="-0.42 0.28 -1" cutoff="42" exponent="1" diffuse="0.66 0.645 0.62" specular="0.35 0.35 0.35"/>
<light name="fill" type="directional" pos="2 3 2" dir="-0.5 -0.8 -0.5" diffuse="0.24 0.26 0.30" specular="0.1 0.1 0.1" castshadow="false"/>
"""

VISUAL = """
<visual>
  <headlight ambient="0.36 0.36 0.37" diffuse="0.18 0.18 0.18" specular="0.05 0.05 0.05"/>
  <global offwidth="1920" offheight="1440" azimuth="120" elevation="-20"/>
  <quality shadowsize="4096" offsamples="4"/>
  <map znear="0.05" zfar="30" shadowclip="1.2" haze="0.35"/>
  <rgba haze="0.80 0.86 0.92 1"/>
</visual>
<statistic center="0.45 0 0" extent="1.4"/>
"""

CAMERAS = {  # name: (from, to, vertical field of view in degrees)
    "scene": ((1.50, -1.86, 0.80), (0.42, 0.0, 0.02), 40),
    "closeup": ((1.15, -0.74, 0.36), (0.60, 0.0, -0.03), 36),
}


def room(shapes: Shapes) -> str:
    """Floor, table and pedestal."""
    legs = "".join(
        shapes.barrel("leg", (x, y, -0.155), (x, y, -0.92), 0.032, 0.02, edge=0.004)
        for x in (0.40, 1.04)
        for y in (-0.49, 0.49)
    )
    apron = "".join(
        shapes.box("leg", (0.72 + x, y, -0.185), (hx, hy, 0.03), edge=0.004)
        for x, y, hx, hy in (
            (0, 0.49, 0.32, 0.011),
            (0, -0.49, 0.32, 0.011),
            (0.32, 0, 0.011, 0.49),
            (-0.32, 0, 0.011, 0.49),
        )
    )
    pedestal = (
        shapes.barrel("dark", (0, 0, -0.90), (0, 0, -0.84), 0.27, 0.25, edge=0.015)
        + shapes.barrel("dark", (0, 0, -0.85), (0, 0, -0.10), 0.165, 0.135, edge=0.02)
        + shapes.barrel("metal", (0, 0, -0.105), (0, 0, -0.085), 0.137, edge=0.004)
        + shapes.barrel("grey", (0, 0, -0.088), (0, 0, 0.012), 0.142, 0.13, edge=0.012)
        + shapes.barrel("dark", (0, 0, 0.005), (0, 0, 0.05), 0.105, edge=0.006)
        + "".join(
            shapes.barrel("rubber", (x, y, -0.92), (x, y, -0.89), 0.03)
            for x in (-0.17, 0.17)
            for y in (-0.17, 0.17)
        )
        + shapes.box("grey", (0.158, 0, -0.45), (0.012, 0.06, 0.14), edge=0.01, euler=(0, -0.04, 0))
    )
    table = '<geom class="look" type="box" pos="0.72 0 -0.14" size="0.38 0.55 0.02" material="wood"/>'
    floor = '<geom class="look" type="plane" pos="0 0 -0.92" size="12 12 1" material="tiles"/>'
    return LIGHTS + cameras() + floor + table + legs + apron + pedestal


def cameras() -> str:
    xml = ""
    for name, (position, target, fovy) in CAMERAS.items():
        back = np.subtract(position, target)
        right = np.cross([0, 0, 1], back)
        xml += f'<camera name="{name}" pos="{text(position)}" xyaxes="{text(right)} {text(np.cross(back, right))}" fovy="{fovy}"/>'
    return xml


def upper_arm(shapes: Shapes) -> dict[str, str]:
    """Turret, shoulder and upper arm: links 0 to 2."""
    return {
        "link0": shapes.barrel("grey", (0, 0, -0.035), (0, 0, 0.0), 0.112, edge=0.008)
        + shapes.barrel("red", (0, 0, -0.002), (0, 0, 0.245), 0.108, 0.09, edge=0.03)
        + shapes.barrel("red", (0.0, 0, 0.19), (0.075, 0, 0.235), 0.088, 0.08, edge=0.035)
        + shapes.barrel("red", (0.081, -0.075, 0.237), (0.081, 0.03, 0.237), 0.084, 0.084, edge=0.024)
        + shapes.barrel("dark", (0.081, -0.082, 0.237), (0.081, -0.06, 0.237), 0.06, edge=0.008)
        + shapes.barrel("metal", (0.081, 0.028, 0.237), (0.081, 0.05, 0.237), 0.074, edge=0.003),
        "link1": shapes.barrel("dark", (0, 0, 0.002), (0, 0, 0.215), 0.08, 0.078, edge=0.03)
        + shapes.barrel("red", (0, -0.02, 0.1425), (0, -0.108, 0.1425), 0.071, 0.066, edge=0.012)
        + shapes.barrel("metal", (0, -0.106, 0.1425), (0, -0.118, 0.1425), 0.06, edge=0.003)
        + shapes.barrel("dark", (0, -0.116, 0.1425), (0, -0.14, 0.1425), 0.066, edge=0.006),
        "link2": shapes.barrel("dark", (0, 0, -0.002), (0, 0, 0.028), 0.066, edge=0.006)
        + shapes.barrel("red", (0, 0, 0.025), (0, 0, 0.225), 0.066, 0.056, edge=0.014)
        + shapes.barrel("dark", (0, 0.065, 0.26), (0, -0.04, 0.26), 0.064, edge=0.024)
        + shapes.barrel("metal", (0, -0.038, 0.26), (0, -0.046, 0.26), 0.056, edge=0.002),
    }


def forearm(shapes: Shapes) -> dict[str, str]:
    """Elbow, forearm and wrist: links 3 to 6."""
    return {
        "link3": shapes.barrel("dark", (0, 0, -0.004), (0, 0, -0.185), 0.062, 0.06, edge=0.024)
        + shapes.barrel("red", (0, -0.02, -0.1265), (0, -0.095, -0.1265), 0.055, 0.052, edge=0.01)
        + shapes.barrel("metal", (0, -0.093, -0.1265), (0, -0.103, -0.1265), 0.047, edge=0.002)
        + shapes.barrel("dark", (0, -0.101, -0.1265), (0, -0.125, -0.1265), 0.052, edge=0.005),
        "link4": shapes.barrel("dark", (0, 0, -0.002), (0, 0, 0.024), 0.052, edge=0.005)
        + shapes.barrel("red", (0, 0, 0.022), (0, 0, 0.24), 0.052, 0.045, edge=0.012)
        + shapes.barrel("dark", (0, -0.05, 0.275), (0, 0.03, 0.275), 0.052, edge=0.02)
        + shapes.barrel("metal", (0, 0.028, 0.275), (0, 0.034, 0.275), 0.045, edge=0.002),
        "link5": shapes.barrel("dark", (0, 0, 0.001), (0, 0, 0.155), 0.051, 0.05, edge=0.02)
        + shapes.barrel("red", (0, -0.02, 0.1053), (0, -0.078, 0.1053), 0.047, 0.046, edge=0.01)
        + shapes.barrel("dark", (0, -0.076, 0.1053), (0, -0.10, 0.1053), 0.044, edge=0.004),
        "link6": shapes.barrel("grey", (0, 0, -0.012), (0, 0, 0.012), 0.047, edge=0.006)
        + shapes.barrel("light", (0, 0, 0.010), (0, 0, 0.014), 0.0445, edge=0.001)
        + shapes.barrel("metal", (0, 0, 0.013), (0, 0, 0.026), 0.042, edge=0.003)
        + shapes.box("dark", (0.046, 0, -0.004), (0.006, 0.016, 0.016), edge=0.004),
    }


def gripper(shapes: Shapes) -> dict[str, str]:
    """Palm with its rail, and both fingers."""
    palm = (
        shapes.barrel("dark", (0, 0, 0), (0, 0, 0.014), 0.043, edge=0.004)
        + shapes.box("dark", (0, 0, 0.028), (0.029, 0.056, 0.018), edge=0.007)
        + shapes.box("red", (0, 0, 0.027), (0.0302, 0.022, 0.008), edge=0.003)
        + shapes.box("metal", (0, 0, 0.047), (0.012, 0.066, 0.0035), edge=0.0015)
    )
    return {"gripper": palm, "left_finger": finger(shapes, 1), "right_finger": finger(shapes, -1)}


def finger(shapes: Shapes, sign: int) -> str:
    return (
        shapes.box("grey", (0, sign * 0.014, 0.056), (0.014, 0.011, 0.008), edge=0.003)
        + shapes.box("grey", (0, sign * 0.0115, 0.096), (0.0085, 0.005, 0.040), edge=0.003)
        + shapes.box("rubber", (0, sign * 0.0032, 0.123), (0.009, 0.0032, 0.013), edge=0.0015)
    )


def head(shapes: Shapes) -> str:
    """A tablet on a neck, with eyes that look down at the table: the tablet's own frame leans forward."""
    lean, pan = 0.12, -0.4  # rad
    face = [shapes.box("red", (-0.016, 0, 0), (0.014, 0.135, 0.088), edge=0.013)]
    face.append(shapes.box("dark", (0.0, 0, 0), (0.012, 0.142, 0.095), edge=0.009))
    face.append(shapes.box("screen", (0.0095, 0, 0), (0.004, 0.128, 0.081), edge=0.002))
    for side in (-1, 1):
        y = side * 0.056
        face.append(shapes.ellipsoid("white", (0.0132, y, 0.0), (0.003, 0.036, 0.032)))
        face.append(shapes.ellipsoid("iris", (0.0155, y - 0.004, -0.007), (0.003, 0.018, 0.019)))
        face.append(shapes.ellipsoid("pupil", (0.0176, y - 0.004, -0.008), (0.002, 0.009, 0.010)))
        face.append(shapes.ellipsoid("white", (0.0192, y + 0.001, -0.002), (0.001, 0.0035, 0.0035)))
        face.append(
            shapes.capsule(
                "white", (0.0132, y - side * 0.028, 0.053), (0.0132, y + side * 0.028, 0.047), 0.0042
            )
        )
    tablet = f'<body name="tablet" pos="0.055 0 0.205" euler="0 {lean} {pan}">{"".join(face)}</body>'
    neck = shapes.barrel("dark", (0, 0, -0.06), (0, 0, 0.05), 0.062, 0.05, edge=0.012) + shapes.barrel(
        "grey", (0, 0, 0.04), (0.035, 0, 0.2), 0.034, 0.03, edge=0.008
    )
    return neck + tablet


def looks() -> tuple[str, dict[str, str]]:
    """Assets and visual settings, and the shapes by body name."""
    shapes = Shapes()
    parts = {
        "world": room(shapes),
        "head": head(shapes),
        **upper_arm(shapes),
        **forearm(shapes),
        **gripper(shapes),
    }
    parts["object"] = shapes.box("blue", (0, 0, 0), (0.02, 0.02, 0.03), edge=0.002)
    return f"<asset>{MATERIALS}{''.join(shapes.meshes.values())}</asset>{VISUAL}", parts


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
