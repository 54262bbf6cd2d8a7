"""stub until A"""
import mujoco
from envs.backends.mujoco.sawyer import sawyer_xml
def robot_spec(card, looks):
    return mujoco.MjSpec.from_string(sawyer_xml(looks))
