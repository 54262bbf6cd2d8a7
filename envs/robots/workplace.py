"""Where a robot works: its arm, its table, the region of objects, by its card."""

from __future__ import annotations

import numpy as np

from envs.robots import sawyer
from envs.robots.arm import Arm, Table, Workplace
from envs.robots.card import RobotCard

MARGIN = 0.25  # m of table beyond the region, for an arm of the Sawyer's size
BEHIND = 0.2  # m of table behind the base
FLOOR = 0.8  # m of the table's top above the floor


def arm_of(card: RobotCard, joint_limits: np.ndarray) -> Arm:
    """``joint_limits`` (J, 2) rad are the model's."""
    if card.model is None:
        return sawyer.SAWYER
    speeds = np.array(card.speed)
    return Arm(joint_limits, {"centre": np.array(card.home)}, 0.0, speeds, card.size)


def workplace_of(card: RobotCard) -> Workplace:
    if card.model is None:
        return sawyer.WORKPLACE
    region = np.array(card.region)
    return Workplace(region, region.mean(axis=1))


def table_of(card: RobotCard) -> Table:
    if card.model is None:
        return sawyer.TABLE
    region, margin = np.array(card.region), MARGIN * card.size
    low, high = region[:, 0] - margin, region[:, 1] + margin
    low[0] = min(low[0], -BEHIND * card.size)
    centre, half, top = (low + high) / 2, (high - low) / 2, card.table_height
    middle = np.append(region.mean(axis=1), top)
    return Table(top, tuple(centre.tolist()), tuple(half.tolist()), top - FLOOR, middle)
