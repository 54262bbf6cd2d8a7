"""Arms of the tests' own, as MJCF: five to seven hinges, every kind of actuator, every kind of gripper."""

from pathlib import Path

# offset from the link before (m), axis; the arm stands straight up at zero, its hand points up
JOINTS = {
    "pan": ("0 0 0.05", "0 0 1"),
    "lift": ("0 0 0.1", "0 1 0"),
    "arm_roll": ("0 0 0.15", "0 0 1"),
    "elbow": ("0 0 0.15", "0 1 0"),
    "forearm_roll": ("0 0 0.1", "0 0 1"),
    "flex": ("0 0 0.15", "0 1 0"),
    "roll": ("0 0 0.06", "0 0 1"),
}
KEPT = {
    5: ("pan", "lift", "elbow", "flex", "roll"),
    6: ("pan", "lift", "elbow", "forearm_roll", "flex", "roll"),
    7: tuple(JOINTS),
}
ACTUATORS = {
    "velocity": '<velocity name="{0}_motor" joint="{0}" kv="60" forcerange="-40 40"/>',
    "position": '<position name="{0}_motor" joint="{0}" kp="800" kv="40" forcerange="-40 40"/>',
    "motor": '<motor name="{0}_motor" joint="{0}" ctrlrange="-40 40"/>',
    "none": "",
}
FINGER = '<geom type="box" pos="0 {0} 0.07" size="0.01 0.004 0.03" mass="0.02"/>'
PALM = '<geom type="box" pos="0 0 0.02" size="0.03 0.05 0.02" mass="0.2"/>'
SLIDES = """
  <body name="left_finger"><joint name="left_slide" type="slide" axis="0 1 0" range="0 0.035" damping="1" armature="0.1"/>
    <geom type="box" pos="0 0.004 0.07" size="0.01 0.004 0.03" mass="0.02"/></body>
  <body name="right_finger"><joint name="right_slide" type="slide" axis="0 -1 0" range="0 0.035" damping="1" armature="0.1"/>
    <geom type="box" pos="0 -0.004 0.07" size="0.01 0.004 0.03" mass="0.02"/></body>"""
# a wedge of a finger, as a mesh: 8 corners, its inner side at y = 0
MESH = """<mesh name="wedge" vertex="-.01 0 .03  .01 0 .03  -.01 0 .1  .01 0 .1
  -.01 .012 .03  .01 .012 .03  -.01 .006 .1  .01 .006 .1"/>"""
GRIPPERS = {  # shapes and bodies of the hand, actuators, other sections of the file
    "slides": (
        PALM + SLIDES,
        '<position name="left_drive" joint="left_slide" kp="800" kv="40" ctrlrange="0 0.035" forcerange="-20 20"/>'
        '<position name="right_drive" joint="right_slide" kp="800" kv="40" ctrlrange="0 0.035" forcerange="-20 20"/>',
        "",
    ),
    "undriven": (PALM + SLIDES, "", '<equality><joint joint1="left_slide" joint2="right_slide"/></equality>'),
    "tendon": (
        PALM + SLIDES,
        '<general name="grip" tendon="both" biastype="affine" gainprm="0.11" biasprm="0 -800 -40" ctrlrange="0 255" '
        'forcerange="-40 40"/>',
        '<tendon><fixed name="both"><joint joint="left_slide" coef="0.5"/><joint joint="right_slide" coef="0.5"/></fixed></tendon>'
        '<equality><joint joint1="left_slide" joint2="right_slide"/></equality>',
    ),
    "jaw": (
        '<geom type="box" pos="0 0 0.02" size="0.03 0.05 0.02" mass="0.2"/>'
        '<geom type="box" pos="0 -0.02 0.07" size="0.01 0.004 0.04" mass="0.02"/>'
        '<body name="jaw" pos="0 0.01 0.04"><joint name="jaw" axis="-1 0 0" range="-0.2 1.6" damping="0.1" armature="0.005"/>'
        '<geom type="box" pos="0 -0.016 0.035" size="0.01 0.004 0.035" mass="0.02"/></body>',
        '<position name="jaw" joint="jaw" kp="20" kv="0.5" ctrlrange="-0.2 1.6" forcerange="-2 2"/>',
        "",
    ),
    "linkage": (  # two parallelograms: a driven crank, a follower, and the finger that they hold upright
        PALM
        + "".join(
            f"""
  <body name="{side}_crank" pos="0 {sign * 0.03} 0.04">
    <joint name="{side}_crank" axis="{-sign} 0 0" range="0 0.8" damping="0.05" armature="0.005"/>
    <geom type="capsule" fromto="0 0 0 0 0 0.04" size="0.004" mass="0.01"/>
    <body name="{side}_finger" pos="0 0 0.04">
      <joint name="{side}_finger" axis="{sign} 0 0" range="-0.2 1" damping="0.01" armature="0.001"/>
      <geom type="box" pos="0 {-sign * 0.02} 0.03" size="0.01 0.004 0.025" mass="0.02"/>
    </body>
  </body>
  <body name="{side}_follower" pos="0 {sign * 0.015} 0.04">
    <joint name="{side}_follower" axis="{-sign} 0 0" range="-0.1 0.9" damping="0.01" armature="0.001"/>
    <geom type="capsule" fromto="0 0 0 0 0 0.04" size="0.003" mass="0.01"/>
  </body>"""
            for side, sign in (("left", 1), ("right", -1))
        ),
        '<general name="grip" tendon="both" biastype="affine" gainprm="0.0784" biasprm="0 -25 -2" ctrlrange="0 255" '
        'forcerange="-5 5"/>',
        '<tendon><fixed name="both"><joint joint="left_crank" coef="0.5"/><joint joint="right_crank" coef="0.5"/></fixed></tendon>'
        '<equality><joint joint1="left_crank" joint2="right_crank"/>'
        '<connect body1="left_finger" body2="left_follower" anchor="0 -0.015 0" solref="0.005 1"/>'
        '<connect body1="right_finger" body2="right_follower" anchor="0 0.015 0" solref="0.005 1"/></equality>',
    ),
    "mesh": (
        PALM
        + '<body name="left_finger"><joint name="left_slide" type="slide" axis="0 1 0" range="0 0.035" damping="1" armature="0.1"/>'
        '<geom type="mesh" mesh="wedge" mass="0.02"/></body>'
        '<body name="right_finger" quat="0 0 0 1"><joint name="right_slide" type="slide" axis="0 1 0" range="0 0.035" damping="1" '
        'armature="0.1"/><geom type="mesh" mesh="wedge" mass="0.02"/></body>',
        '<position name="grip" joint="left_slide" kp="800" kv="40" ctrlrange="0 0.035" forcerange="-20 20"/>',
        f'<asset>{MESH}</asset><equality><joint joint1="left_slide" joint2="right_slide"/></equality>',
    ),
    "none": ('<geom type="cylinder" pos="0 0 0.01" size="0.03 0.01" mass="0.1"/>', "", ""),
}


def arm_xml(joints: int = 6, actuators: str = "velocity", gripper: str = "slides") -> str:
    """An arm of 0.6 m whose limits let its tool point down in front of it."""
    names = KEPT[joints]
    skipped = 0.0
    links, ends = "", ""
    for name, (offset, axis) in JOINTS.items():
        length = float(offset.split()[-1])
        if name not in names:
            skipped += length
            continue
        links += f"""
  <body name="{name}_link" pos="0 0 {skipped + length:g}">
    <joint name="{name}" axis="{axis}" range="-2.6 2.6" damping="0.3" armature="0.05"/>
    <geom type="capsule" fromto="0 0 0 0 0 0.05" size="0.03" mass="0.4"/>"""
        ends += "</body>"
        skipped = 0.0
    hand, drives, others = GRIPPERS[gripper]
    motors = "".join(ACTUATORS[actuators].format(name) for name in names)
    return f"""<mujoco model="arm">
<compiler angle="radian" autolimits="true"/>
{others}
<worldbody>
  <geom name="floor" type="plane" size="1 1 1"/>
  <light pos="0 0 2"/>
  <body name="base"><geom type="cylinder" pos="0 0 0.02" size="0.06 0.02" mass="1"/>{links}
    <body name="hand" pos="0 0 0.04">{hand}</body>
  {ends}</body>
</worldbody>
<actuator>{motors}{drives}</actuator>
</mujoco>"""


def hand_xml(gripper: str) -> str:
    """The hand alone."""
    hand, drives, others = GRIPPERS[gripper]
    return f"""<mujoco model="hand">
{others}
<worldbody><body name="hand">{hand}</body></worldbody>
<actuator>{drives}</actuator>
</mujoco>"""


def write_arm(folder: Path, name: str = "arm", **what: object) -> str:
    path = folder / f"{name}.xml"
    path.write_text(arm_xml(**what))  # type: ignore[arg-type]
    return str(path)
