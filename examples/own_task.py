"""A task of your own for any robot: slide the box to the left. Run as `python examples/own_task.py`, or in
this folder as `sac-dist --train --env own_task:Nudge-v0 --robot FILE.xml`.
"""

from math import tanh

import gymnasium

from envs.tasks.arm import ArmEnv
from envs.tasks.terms import Term
from sac_dist import Config, EnvConfig, train


class NudgeEnv(ArmEnv):
    """Slide the object to the left, by 5 to 15 cm."""

    gripper_action, needs_gripper, hand = False, False, 0.0  # the fingers stay closed
    remembers = ("line",)  # for runs that stop in the middle of an episode and are resumed

    def draw(self, object_xy):  # what an episode begins with
        self.line = object_xy[1] + self.size * self.np_random.uniform(0.05, 0.15)

    def left(self, readings):  # m, for an arm of the Sawyer's size
        return (self.line - readings.object_position[1]) / self.size

    def terms(self):  # what is observed beside the arm, the hand and the object
        return (
            *super().terms(),
            Term("way left", "5 x m / size", 1, 20.0, lambda task, at: 5 * task.left(at)),
        )

    def success(self, readings):
        return self.left(readings) <= 0

    def cost(self, readings):  # of a step, in the dense reward
        return 0.4 * tanh(4 * self.distance(readings)) + 0.6 * tanh(8 * max(self.left(readings), 0))


gymnasium.register("Nudge-v0", NudgeEnv)

if __name__ == "__main__":  # train starts processes, which import this file
    run = train(Config(EnvConfig(NudgeEnv)))
    print(run.folder.best, run.outcome.evaluation)
