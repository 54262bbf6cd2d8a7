"""robosuite's tasks as gymnasium environments (robosuite 1.5.2, which wants mujoco 3.3.7: docs/suites.md).

python -m sac_dist --train --env examples.my_robosuite:Robosuite-v0 --env-kwargs '{"robots": "Sawyer"}'
"""

import gymnasium
import numpy as np
import robosuite
from robosuite.controllers import load_composite_controller_config, load_part_controller_config
from robosuite.controllers.parts.controller import Controller
from robosuite.controllers.parts.generic.joint_vel import JointVelocityController
from robosuite.wrappers import GymWrapper


class Torques(np.ndarray):
    """Torques that an ``if`` takes for true."""

    def __bool__(self):
        return True


# JOINT_VELOCITY keeps under this name whether to hold the arm against gravity, and adds that, not the torques
# that would: robosuite's pull request 795.
JointVelocityController.torque_compensation = property(
    lambda self: Controller.torque_compensation.fget(self).view(Torques), lambda self, wanted: None
)


class Robosuite(gymnasium.Env):
    """``GymWrapper`` is no gymnasium wrapper, says nothing of success, and takes its limit of time for an
    end: this mends all three.

    Args:
        task: ``Lift``, ``Door``, ``Stack``, …
        robots: ``Panda``, ``Sawyer``, …
        controller: of the arm: ``OSC_POSE``, ``JOINT_VELOCITY``, …
    """

    def __init__(self, task="Lift", robots="Panda", controller="OSC_POSE"):
        config = load_composite_controller_config(robot=robots)
        arm = config["body_parts"]["right"]
        part = load_part_controller_config(default_controller=controller)
        config["body_parts"]["right"] = part | {"gripper": arm["gripper"]}
        self.env = GymWrapper(
            robosuite.make(
                task,
                robots=robots,
                controller_configs=config,
                reward_shaping=True,
                ignore_done=True,
                hard_reset=False,
                has_renderer=False,
                has_offscreen_renderer=False,
                use_camera_obs=False,
            )
        )
        self.observation_space, self.action_space = self.env.observation_space, self.env.action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.env.reset(seed=seed)

    def step(self, action):
        observation, reward, _, _, info = self.env.step(action)
        return observation, reward, False, False, info | {"success": bool(self.env._check_success())}


gymnasium.register("Robosuite-v0", entry_point=Robosuite, max_episode_steps=500)
