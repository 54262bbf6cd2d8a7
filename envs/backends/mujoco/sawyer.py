"""The Sawyer as MJCF, generated: kinematics and inertias of Rethink's public description, own shapes."""

from __future__ import annotations

from dataclasses import dataclass

from envs.backends.mujoco import sawyer_looks
from envs.robots.sawyer import FINGER_RANGE, JOINT_LIMITS


@dataclass(frozen=True)
class Link:
    """A link of the arm with the joint that moves it about its z axis; offsets in m, inertia in kg m², torque
    in N m.
    """

    offset: str
    quaternion: str
    mass: float
    centre: str
    inertial_quaternion: str
    inertia: str
    torque: float
    gain: float  # N m s/rad of the velocity servo
    armature: float  # kg m²
    collision: str = ""


LINKS = (
    Link("0 0 0.08", "1 0 0 0", 5.3213, "0.0243645 0.0109688 0.143631", "0.894821 0.0089945 -0.17028 0.412576",
         "0.0651599 0.0510954 0.0186221", 80, 400, 0.3),
    Link("0.081 0.05 0.237", "1 -1 1 1", 4.505, "-0.0030849 -0.026811 0.092521", "0.424888 0.891987 0.132364 -0.0794293",
         "0.0224339 0.0221624 0.00970971", 80, 400, 0.3),
    Link("0 -0.14 0.1425", "1 1 0 0", 1.745, "-0.00016044 -0.014967 0.13582", "0.707831 -0.0524761 0.0516006 0.702537",
         "0.0257928 0.025506 0.00292516", 40, 200, 0.2, "0 0 0 0 0 0.26"),
    Link("0 -0.042 0.26", "1 -1 0 0", 2.5097, "-0.0048135 -0.0281 -0.084154", "0.902999 0.385391 -0.0880901 0.168247",
         "0.0102404 0.0096997 0.00369622", 40, 200, 0.2, "0 0 0.03 0 0 -0.13"),
    Link("0 -0.125 -0.1265", "1 1 0 0", 1.1136, "-0.00188917 0.00689948 0.134095", "0.803247 0.031244 -0.0298409 0.594077",
         "0.0136555 0.0135498 0.00127385", 9, 50, 0.1, "0 0 -0.1 0 0 0.26"),
    Link("0 0.031 0.275", "1 -1 0 0", 1.5625, "0.0061133 -0.023697 0.076416", "0.404076 0.9135 0.0473125 0.00158335",
         "0.00474131 0.00422857 0.00190672", 9, 50, 0.1, "0 0 -0.03 0 0 0.105"),
    Link("0 -0.11 0.1053", "0.0616248 0.06163 -0.704416 0.704416", 0.3292, "-8.0726e-06 0.0085838 -0.0049566",
         "0.479044 0.515636 -0.513069 0.491321", "0.000360268 0.000311078 0.000214984", 9, 50, 0.1, "0 0 -0.04 0 0 0.0"),
)  # fmt: skip


def sawyer_xml(looks: bool) -> str:
    """MJCF of the arm with its gripper; ``looks`` adds the shapes that a camera sees."""
    assets, extra = sawyer_looks.looks() if looks else ("", {})
    actuators = "".join(
        f'<velocity name="joint{i}" joint="joint{i}" kv="{link.gain}" forcerange="{-link.torque} {link.torque}"/>'
        for i, link in enumerate(LINKS)
    ) + "".join(
        f'<position name="{side}_finger" joint="{side}_finger" kp="1000" kv="60" forcerange="-20 20"/>'
        for side in ("left", "right")
    )
    return f"""
<mujoco model="sawyer">
  <compiler angle="radian" autolimits="true"/>
  <default>
    <default class="robot"><geom contype="0" conaffinity="3" group="3"/></default>
    <default class="pad">
      <geom type="box" contype="0" conaffinity="3" group="3" friction="2 0.05 0.0001" condim="4" priority="1"
            solref="0.01 1" solimp="0.95 0.99 0.001"/>
    </default>
    <default class="finger"><joint type="slide" range="0 {FINGER_RANGE}" damping="2" armature="0.2"/></default>
  </default>
  {assets}
  <worldbody>{extra.get("base", "")}{arm_xml(0, extra)}</worldbody>
  <actuator>{actuators}</actuator>
</mujoco>"""


def arm_xml(index: int, extra: dict[str, str]) -> str:
    """Link ``index`` with everything beyond it: the chain of bodies is nested."""
    link = LINKS[index]
    capsule = (
        f'<geom class="robot" type="capsule" fromto="{link.collision}" size="0.05"/>'
        if link.collision
        else ""
    )
    low, high = JOINT_LIMITS[index]
    return f"""
<body name="link{index}" pos="{link.offset}" quat="{link.quaternion}" gravcomp="1">
  <inertial pos="{link.centre}" quat="{link.inertial_quaternion}" mass="{link.mass}" diaginertia="{link.inertia}"/>
  <joint name="joint{index}" axis="0 0 1" range="{low} {high}" damping="0.5" armature="{link.armature}"/>
  {capsule}{extra.get(f"link{index}", "")}
  {head_xml(extra) if index == 0 else ""}
  {arm_xml(index + 1, extra) if index + 1 < len(LINKS) else gripper_xml(extra)}
</body>"""


def head_xml(extra: dict[str, str]) -> str:
    return f"""
<body name="head" pos="0 0 0.2965" gravcomp="1">
  <inertial pos="0 0 0.1" mass="1.5795" diaginertia="0.012 0.012 0.008"/>{extra.get("head", "")}
</body>"""


def gripper_xml(extra: dict[str, str]) -> str:
    """The electric parallel gripper: its fingers slide along y and meet in the middle, the tool-centre point."""
    return f"""
<body name="gripper" pos="0 0 0.0245" gravcomp="1">
  <inertial pos="0 0 0.03" mass="0.4" diaginertia="0.0006 0.0004 0.0006"/>
  <site name="tool" pos="0 0 0.123" group="5"/>
  <site name="proximity" pos="0 0 0.055" group="5"/>
  <geom class="robot" type="box" pos="0 0 0.025" size="0.03 0.055 0.025"/>{extra.get("gripper", "")}
  {finger_xml("left", 1, extra)}{finger_xml("right", -1, extra)}
</body>"""


def finger_xml(side: str, sign: int, extra: dict[str, str]) -> str:
    return f"""
<body name="{side}_finger" gravcomp="1">
  <inertial pos="0 {sign * 0.012} 0.09" mass="0.05" diaginertia="4e-5 4e-5 1e-5"/>
  <joint name="{side}_finger" class="finger" axis="0 {sign} 0"/>
  <geom name="{side}_pad" class="pad" pos="0 {sign * 0.003} 0.123" size="0.009 0.003 0.013"/>
  <geom class="robot" type="box" pos="0 {sign * 0.011} 0.095" size="0.008 0.005 0.038"/>{extra.get(f"{side}_finger", "")}
</body>"""
