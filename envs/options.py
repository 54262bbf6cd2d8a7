"""The options of this package's tasks that are flags of the command line.

Each is an argument of the tasks' constructor, ``envs/tasks/arm.py``. Imports nothing that takes time: the
command line reads this file by itself (``sac_dist/cli/flags.py``).
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Option(NamedTuple):
    """``kind`` is a type, or the values to choose from. ``data`` is the value of data that does not name the
    option, where data of another value does not fit; None: data may differ.
    """

    kind: type | tuple[str, ...]
    help: str
    data: Any = None


OPTIONS = {
    "robot": Option(
        str,
        "sawyer, a file FILE.xml (MJCF), a card FILE.yaml, a name of the MuJoCo Menagerie, or "
        "ARM+GRIPPER@SITE",
        data="sawyer",
    ),
    "objects": Option(
        str, "box, cylinder, mug, ..., random (100 objects), held-out (30 others), FILE.obj or FILE.stl"
    ),
    "backend": Option(
        ("auto", "mujoco", "coppelia"), "simulator; auto: CoppeliaSim where it has the task and works"
    ),
    "control": Option(
        ("joint_velocity", "joint_position", "end_position", "end_pose"),
        "velocities of the joints; steps of their positions; 3 velocities of the tool and a yaw rate; the "
        "same with 3 turns",
        data="joint_velocity",
    ),
    "observation": Option(
        ("relative", "book", "camera", "camera+state"),
        "31 entries relative to the object; the book's 17; pictures alone, or with the arm's own joints and "
        "gripper (docs/cameras.md)",
        data="relative",
    ),
    "cameras": Option(
        str, "what pictures are from, separated by commas: wrist (default), scene, closeup", data="wrist"
    ),
    "camera_size": Option(int, "pixels of a picture along each side, 64 (default) to 128", data=64),
    "privileged": Option(
        bool, "with cameras: what is observed without them beside, which the critics alone see"
    ),
    "reward": Option(("sparse", "dense", "augmented"), "the book's three reward modes", data="augmented"),
    "randomize": Option(str, "a YAML file of ranges to draw from each episode, such as 'mass: [0.5, 2]'"),
    "goal_conditioned": Option(
        bool, "Reach, Push, PickAndPlace: observations with achieved and desired goal, as for HER"
    ),
    "random_target": Option(bool, "draw the object's position anew each episode"),
    "random_yaw": Option(bool, "draw the object's yaw anew each episode"),
    "start": Option(
        ("centre", "book"), "the arm's pose at the start: over the middle of the table, or the book's"
    ),
    "scene": Option(
        str,
        "CoppeliaSim: a .ttt file with the book's object names, or with a card beside it; left out, it is "
        "built",
    ),
    "reinit_every": Option(
        int, "CoppeliaSim: launch the simulator anew after so many episodes, as the book does"
    ),
    "mechanics": Option(
        ("clean", "book"),
        "CoppeliaSim: book drives it as the book's code does, which bends the gripper; for the book's "
        "policies",
    ),
}
PATHS = (
    "scene",
    "robot",
    "objects",
    "randomize",
)  # made absolute, so that a later --resume finds them from any folder
