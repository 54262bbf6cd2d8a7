"""Where an arm can point its tool straight down: inverse kinematics of a compiled robot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from envs.backends.base import BackendError
from envs.robots.card import SAWYER_RADIUS, RobotCard

LIMIT_MARGIN = 0.05  # rad that a solution stays off the joints' limits
ITERATIONS = 60
DAMPING = 0.03  # of the damped least squares (Wampler 1986), rad-metres alike
STEP = 0.4  # rad, of the fastest joint in one iteration
CLOSE = 1e-3  # m and rad, of a solution
RADII = 16  # middles of regions that are tried
STARTS = 12  # poses that the inverse kinematics starts from
DEPTH, BREADTH = 0.35, 0.6  # m of the largest region along x and y, for an arm of size 1, as the Sawyer's
LEAST = 0.07  # m along x, for an arm of size 1, that a region of full height must have
HEIGHTS = (
    0.25,
    0.2,
    0.15,
)  # m above the table, for an arm of size 1, up to where the tool points straight down
GRASPED = 0.03  # m above the table, for an arm of size 1, where objects are taken
HOME = 0.22  # m above the table, for an arm of size 1


class Kinematics:
    """The arm's joints, its tool frame, and what its joints allow."""

    def __init__(self, model: Any, joints: tuple[str, ...]) -> None:
        self.model, self.data = model, mujoco.MjData(model)
        index = [model.joint(name).id for name in joints]
        self.joints = index
        self.positions = model.jnt_qposadr[index]
        self.dofs = model.jnt_dofadr[index]
        limits = np.where(model.jnt_limited[index, None], model.jnt_range[index], [-np.pi, np.pi])
        middle, half = limits.mean(1), (limits[:, 1] - limits[:, 0]) / 2
        self.lowest = middle - np.maximum(half - LIMIT_MARGIN, 0.5 * half)
        self.highest = middle + np.maximum(half - LIMIT_MARGIN, 0.5 * half)
        self.tool = model.site("tool").id
        self.tool_position = self.data.site_xpos[self.tool]
        self.tool_rotation = self.data.site_xmat[self.tool].reshape(3, 3)
        self._jacobian = np.zeros((6, model.nv))

    def place(self, joint_positions: np.ndarray) -> None:
        self.data.qpos[self.positions] = joint_positions
        mujoco.mj_kinematics(self.model, self.data)

    def margin(self, joint_positions: np.ndarray) -> float:
        """Smallest way to a limit as a share of the joint's range, 0 … 0.5."""
        ways = np.minimum(joint_positions - self.lowest, self.highest - joint_positions)
        return float((ways / (self.highest - self.lowest)).min())

    def solve(self, target: np.ndarray, start: np.ndarray, line: bool = True) -> np.ndarray | None:
        """(J,) rad with the tool at ``target`` (3,) m pointing straight down, near ``start``; with ``line``
        the fingers' line lies along y. None: not found.
        """
        joint_positions = np.clip(start, self.lowest, self.highest)
        rows = slice(0, 6) if line else slice(0, 5)
        for _ in range(ITERATIONS):
            self.place(joint_positions)
            error = np.concatenate([target - self.tool_position, self._turn()])[rows]
            if np.abs(error).max() < CLOSE:
                return joint_positions
            mujoco.mj_comPos(self.model, self.data)
            mujoco.mj_jacSite(self.model, self.data, self._jacobian[:3], self._jacobian[3:], self.tool)
            jacobian = self._jacobian[rows, self.dofs]
            gram = jacobian @ jacobian.T
            gram.flat[:: len(gram) + 1] += DAMPING**2 * min(1.0, float(error @ error))
            gram.flat[:: len(gram) + 1] += 1e-8
            step = jacobian.T @ np.linalg.solve(gram, error)
            step *= min(1.0, STEP / np.abs(step).max())
            joint_positions = np.clip(joint_positions + step, self.lowest, self.highest)
        return None

    def _turn(self) -> np.ndarray:
        """(3,) rad, the rotation from the tool as it is to z down and y along ±y, less than half a turn."""
        rotation = self.tool_rotation
        side = 1.0 if rotation[1, 1] >= 0 else -1.0
        wanted = np.array([[-side, 0, 0], [0, side, 0], [0, 0, -1.0]])
        wanted[0, 0] = -side  # x = y × z
        turn = np.zeros(4)
        mujoco.mju_mat2Quat(turn, (wanted @ rotation.T).ravel())
        vector = np.zeros(3)
        mujoco.mju_quat2Vel(vector, turn, 1.0)
        return vector


def check_reach(model: Any, card: RobotCard) -> None:
    """Raise BackendError if the tool, from home, does not come down to the middle of the card's region."""
    x, y = (sum(ends) / 2 for ends in card.region)
    place = np.array([x, y, card.table_height + GRASPED * card.size])
    if Kinematics(model, card.arm_joints).solve(place, np.array(card.home)) is None:
        raise BackendError(
            f"the card of {card.name}: the tool, pointing straight down, does not reach ({x:.3g}, {y:.3g}, "
            f"{place[2]:.3g}) m, the middle of its region on the table: correct region, table_height or home"
        )


@dataclass(frozen=True)
class Workspace:
    region: tuple[tuple[float, float], tuple[float, float]]  # m, x and y
    home: np.ndarray  # (J,) rad
    table_height: float  # m
    height: float  # m above the table, for an arm of size 1, up to where the tool points straight down

    @property
    def area(self) -> float:
        (left, right), (near, far) = self.region
        return (right - left) * (far - near)

    @property
    def depth(self) -> float:
        """m, for an arm of size 1."""
        return (self.region[0][1] - self.region[0][0]) / self._size

    @property
    def breadth(self) -> float:
        return (self.region[1][1] - self.region[1][0]) / self._size

    @property
    def _size(self) -> float:
        return sum(self.region[0]) / 2 / SAWYER_RADIUS


def find_workspace(
    kinematics: Kinematics, tables: list[float], nearest: float, hint: np.ndarray, path: str
) -> Workspace:
    """The largest rectangle in front of the arm over which the tool points straight down, from the table's
    top up to a quarter of the arm's size above it, and the pose at its middle. The first of ``tables`` (m)
    that is in reach is taken; the region begins at ``nearest`` (m) from the base; ``hint`` (J,) rad is one of
    the starts.

    Raises BackendError if there is none.
    """
    rng = np.random.default_rng(0)
    starts = [hint, (kinematics.lowest + kinematics.highest) / 2]
    starts += list(rng.uniform(kinematics.lowest, kinematics.highest, (STARTS, len(hint))))
    for table in tables:
        middles = _middles(kinematics, table, nearest, starts)
        for height in HEIGHTS:
            spaces = [_rectangle(kinematics, *middle, table, height, nearest) for middle in middles]
            best = max((space for space in spaces if space), key=lambda space: space.area, default=None)
            if best is not None and (best.depth >= LEAST or height == HEIGHTS[-1]):
                return best
    heights = " or ".join(f"{table:.3g}" for table in tables)
    raise BackendError(
        f"{path}: a table at z = {heights} m is out of reach with the tool straight down: write a card "
        "with table_height, region and home"
    )


def _middles(
    kinematics: Kinematics, table: float, nearest: float, starts: list[np.ndarray]
) -> list[tuple[float, np.ndarray]]:
    """Radii (m) in front of the arm where the tool points down over the table, each with a pose (J,) rad."""
    reach = float(np.linalg.norm(kinematics.model.body_pos, axis=1).sum())
    middles = []
    for radius in np.linspace(nearest, max(nearest, 0.9 * reach), RADII):
        size = radius / SAWYER_RADIUS
        target = np.array([radius, 0.0, table + HEIGHTS[-1] * size])
        pose = _best(kinematics, target, starts, table, size)
        if pose is not None:
            middles.append((float(radius), pose))
            starts = [pose, *starts[1:]]
    return middles


def _best(
    kinematics: Kinematics, target: np.ndarray, starts: list[np.ndarray], table: float, size: float
) -> np.ndarray | None:
    """The solution that is far from limits, has its links high and in one plane."""
    solutions = []
    for start in starts:
        pose = kinematics.solve(target, start)
        if pose is not None:
            kinematics.place(pose)
            links = kinematics.data.xpos[kinematics.model.jnt_bodyid[kinematics.joints]][1:]
            height = min(0.3, float(links[:, 2].min() - table) / size)
            sideways = float(np.abs(links[:, 1]).max()) / size
            score = 2 * min(kinematics.margin(pose), 0.15) + height - 0.5 * sideways
            solutions.append((score, pose))
    return max(solutions, key=lambda each: each[0])[1] if solutions else None


def _rectangle(
    kinematics: Kinematics, radius: float, pose: np.ndarray, table: float, height: float, nearest: float
) -> Workspace | None:
    """The largest region whose middle is (radius, 0); None: there is none."""
    size = radius / SAWYER_RADIUS
    levels = (table, table + height * size)
    step = DEPTH / 10 * size
    ways = [_way(kinematics, radius, pose, z, sign * step) for z in levels for sign in (-1, 1)]
    x = min(*ways, radius - nearest, DEPTH / 2 * size)
    y = BREADTH / 2 * size
    while x >= step and y > step:
        corners = [(dx, dy) for dx in (-x, x) for dy in (-y, y)]
        if all(_reaches(kinematics, radius, pose, z, corner) for z in levels for corner in corners):
            home = _home(kinematics, radius, pose, table, height)
            return Workspace(((radius - x, radius + x), (-y, y)), home, table, height)
        y *= 0.85
    return None


def _way(kinematics: Kinematics, radius: float, pose: np.ndarray, z: float, step: float) -> float:
    """How far (m) the tool can be moved along x from (radius, 0, z), up to half of the largest region."""
    found, steps = kinematics.solve(np.array([radius, 0.0, z]), pose), 0
    while found is not None and steps <= 5:
        steps += 1
        found = kinematics.solve(np.array([radius + steps * step, 0.0, z]), found)
    return (steps - 1) * abs(step)


def _reaches(
    kinematics: Kinematics, radius: float, pose: np.ndarray, z: float, corner: tuple[float, float]
) -> bool:
    """Whether the tool can go straight from the region's middle to a corner."""
    joint_positions = pose
    for share in (0.0, 0.34, 0.67, 1.0):
        target = np.array([radius + share * corner[0], share * corner[1], z])
        found = kinematics.solve(target, joint_positions)
        if found is None:
            return False
        joint_positions = found
    return True


def _home(
    kinematics: Kinematics, radius: float, pose: np.ndarray, table: float, highest: float
) -> np.ndarray:
    size = radius / SAWYER_RADIUS
    for height in np.arange(HOME, min(highest, HOME) - 1e-6, -0.01):
        home = kinematics.solve(np.array([radius, 0.0, table + height * size]), pose)
        if home is not None:
            return home
    return pose
