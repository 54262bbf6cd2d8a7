"""What the camera sees of the Sawyer. Shapes without mass or collision, hung on the bodies of ``sawyer.py``.

Every shape is a rounded solid of ``shapes.py``, in the frame of its body: a link's joint turns about its z
axis, and the next link sits where ``sawyer.LINKS`` says. So a housing is a barrel along z, and a
limb one along z or -y.
"""

from __future__ import annotations

from envs.backends.mujoco.shapes import Shapes


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


def pedestal(shapes: Shapes) -> str:
    """What the arm stands on."""
    return (
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


def looks() -> tuple[str, dict[str, str]]:
    """Assets, and the shapes by body name."""
    shapes = Shapes()
    parts = {
        "base": pedestal(shapes),
        "head": head(shapes),
        **upper_arm(shapes),
        **forearm(shapes),
        **gripper(shapes),
    }
    return f"<asset>{shapes.assets()}</asset>", parts
