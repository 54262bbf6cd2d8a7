"""Objects on a table in MuJoCo, below a free gripper with the Sawyer's fingers on a vertical slide."""

import mujoco
import numpy as np

from envs.backends.mujoco.objects import add_to

WIDTH = 0.072  # m between the fingers
TIMESTEP = 0.005
HOVER = 0.2  # m, the grasp point of the gripper above the table before it goes down
LIFT = 0.1
PAD = 0.013  # m, half its height
SPEED = 0.2  # m/s


def finger(side: str, sign: int, width: float) -> str:
    return f"""
<body name="{side}" pos="0 0 {HOVER}">
  <inertial pos="0 {sign * 0.012} 0.03" mass="0.05" diaginertia="4e-5 4e-5 1e-5"/>
  <joint name="{side}" type="slide" axis="0 {sign} 0" range="0 {width / 2}" damping="2" armature="0.2"/>
  <geom name="{side}" type="box" pos="0 {sign * 0.003} 0" size="0.009 0.003 {PAD}" contype="0" conaffinity="3"
        friction="2 0.05 0.0001" condim="4" priority="1" solref="0.01 1" solimp="0.95 0.99 0.001"/>
  <geom type="box" pos="0 {sign * 0.011} 0.028" size="0.008 0.005 0.038" contype="0" conaffinity="3"/>
</body>"""


def scene(*objects, gripper=False, looks=False, width=WIDTH):
    """MjModel of a table whose top is z = 0 with the objects ``object``, ``object_b``, … on it."""
    hand = f"""
<body name="hand" gravcomp="1"><joint name="hand" type="slide" axis="0 0 1" damping="1" armature="1"/>
  <inertial pos="0 0 0.3" mass="0.5" diaginertia="0.001 0.001 0.001"/>
  {finger("left", 1, width)}{finger("right", -1, width)}</body>"""
    servos = """<position joint="hand" kp="20000" kv="800"/>
<position joint="left" kp="1000" kv="60" forcerange="-20 20"/>
<position joint="right" kp="1000" kv="60" forcerange="-20 20"/>"""
    spec = mujoco.MjSpec.from_string(f"""
<mujoco><compiler angle="radian" autolimits="true"/>
  <option timestep="{TIMESTEP}" integrator="implicitfast" cone="elliptic" impratio="10"/>
  <visual><global offwidth="1600" offheight="1200"/><headlight ambient="0.4 0.4 0.4"/></visual>
  <worldbody>
    <light pos="0.3 -0.5 1.5" dir="-0.2 0.3 -1"/>
    <geom name="table" type="box" size="1 1 0.02" pos="0 0 -0.02" contype="1" conaffinity="0" rgba="0.8 0.75 0.65 1"/>
    {hand if gripper else ""}
  </worldbody>
  <actuator>{servos if gripper else ""}</actuator>
</mujoco>""")
    names = ["object", *(f"object_{i}th" for i in range(1, len(objects)))]
    for name, thing in zip(names, objects, strict=True):
        add_to(spec, thing, name, looks=looks, meets_others=len(objects) > 1)
    return spec.compile()


def place(model, data, name, xy, height, yaw=0.0):
    start = model.joint(name).qposadr[0]
    data.qpos[start : start + 7] = *xy, height, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)


def drive(model, data, to):
    """Move the hand to a height (m) at SPEED."""
    first = data.ctrl[0]
    steps = max(1, round(abs(to - first) / SPEED / TIMESTEP))
    for i in range(steps):
        data.ctrl[0] = first + (to - first) * (i + 1) / steps
        mujoco.mj_step(model, data)


def lifts(thing, turns=0, width=WIDTH):
    """Go down at the object's grasp point, its yaw turned by ``turns`` sides, close, lift by LIFT, wait: whether both
    fingers hold it up.
    """
    model = scene(thing, gripper=True, width=width)
    data = mujoco.MjData(model)
    yaw = turns * 2 * np.pi / thing.sides if thing.sides else turns * 1.0
    place(model, data, "object", (0, 0), thing.rest_height, yaw)
    for joint in ("left", "right"):
        data.joint(joint).qpos = width / 2
    data.ctrl[1:] = width / 2
    mujoco.mj_step(model, data, 50)
    grasp = max(thing.rest_height, PAD + 0.001)  # the pads stay above the table
    drive(model, data, grasp - HOVER)
    mujoco.mj_step(model, data, 20)
    data.ctrl[1:] = 0
    mujoco.mj_step(model, data, 60)
    drive(model, data, grasp - HOVER + LIFT)
    mujoco.mj_step(model, data, 100)
    pads = {model.geom("left").id, model.geom("right").id}
    bodies = model.geom_bodyid
    mine = model.body("object").id
    holding = {
        side
        for pair in data.contact.geom
        for side in pads & {*pair.tolist()}
        if mine in {*bodies[pair].tolist()}
    }
    return bool(holding == pads and data.body("object").xpos[2] > thing.rest_height + 0.7 * LIFT)
