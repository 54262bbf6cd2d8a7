"""Scripts for gymnasium-robotics' FetchPickAndPlace-v4 and FetchSlide-v4, to record demonstrations by:

    python -m sac_dist --record-demos 50 --env gymnasium_robotics:FetchPickAndPlace-v4 \\
        --policy examples.fetch_scripts:PickAndPlace --out pick.npz
    python -m sac_dist --train --env gymnasium_robotics:FetchPickAndPlace-v4 \\
        --demos pick.npz --demo-ratio 0.25

The script of PickAndPlace hardly ever fails, that of Slide every second time.
"""

import gymnasium
import numpy as np

GAIN = 6.0  # of an action by the metres that are left


class PickAndPlace:
    """One episode: the open gripper goes above the block, down to it, closes, and carries it to the goal."""

    ABOVE, NEAR = 0.03, 0.01  # m
    CLOSING = 4  # steps

    def __init__(self, env: gymnasium.Env) -> None:
        self.above, self.closing = True, self.CLOSING

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """From achieved_goal (3), desired_goal (3) and observation (25) to the action (4)."""
        block, goal, to_block = observation[0:3], observation[3:6], observation[12:15]
        if self.above:
            move = to_block + np.array([0, 0, self.ABOVE])
            self.above = bool(np.linalg.norm(move) > 1.5 * self.NEAR)
            return action(move, 1)
        if self.closing == self.CLOSING and np.linalg.norm(to_block) > self.NEAR:
            return action(to_block, 1)
        if self.closing > 0:
            self.closing -= 1
            return action(np.zeros(3), -1)
        return action(goal - block, -1)


class Slide:
    """One episode: up, behind the puck, down, and a push of so many steps that is the harder the farther the
    goal is.
    """

    BEHIND, ABOVE, NEAR = 0.1, 0.12, 0.015  # m
    STEPS, OFFSET, REACH = 8, 0.03, 0.6  # of the push; m that it falls short, and that its hardest goes

    def __init__(self, env: gymnasium.Env) -> None:
        self.above, self.below, self.pushed = True, True, 0

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """As PickAndPlace."""
        puck, goal, tool = observation[0:3], observation[3:6], observation[6:9]
        if self.above or self.below:
            self.distance = float(np.linalg.norm((goal - puck)[:2]))
            self.direction = (goal - puck)[:2] / self.distance
            move = puck - np.append(self.BEHIND * self.direction, 0) - tool
            if self.above:
                move[2] += self.ABOVE
                if move[2] > 2 * self.NEAR:
                    move[:2] = 0
                self.above = bool(np.linalg.norm(move) > self.NEAR)
            else:
                self.below = bool(np.linalg.norm(move) > self.NEAR)
            return action(1.5 * move, 0)
        self.pushed += 1
        if self.pushed > self.STEPS:
            return action(np.zeros(3), 0)
        speed = min(1.0, (self.distance + self.OFFSET) / self.REACH)
        return action(np.append(speed * self.direction, 2 * (puck - tool)[2]) / GAIN, 0)


def action(move: np.ndarray, gripper: float) -> np.ndarray:
    return np.clip(np.append(GAIN * move, gripper), -1, 1).astype(np.float32)
