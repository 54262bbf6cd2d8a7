"""How a hand opens, and which of its shapes close on each other.

The hand is looked at with its arm held, without weight or contacts, after simulations of a second.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from envs.backends.base import BackendError
from envs.robots.card import Pair
from envs.robots.chain import Chain
from envs.robots.servos import turns
from envs.robots.shapes import colliding, geom_corners
from envs.robots.spec import bodies_below, drop_unused_meshes, hold_joints, set_physics

SETTLES = 1.0  # s
STILL = 1e-3  # m or rad; what moves less does not move
OPENS = 0.3  # of the most that a command moves the tips apart; one that does less is for something else
QUICK = 60.0  # rad/s, of the servos that move a hand without actuators
STEEPEST = np.pi / 4  # rad; a finger that turns when it opens is opened no further
TIP = 0.25  # share of a finger's length that is its tip
ALONG = 0.7  # cosine: the last joint's axis is the approach if the hand lies that much along it


class Hand:
    """A hand that is opened and closed. ``spec`` is used up; ``axis`` and ``anchor`` (3,) are the last arm
    joint's where the arm stands in its file.
    """

    def __init__(self, spec: Any, chain: Chain, axis: np.ndarray, anchor: np.ndarray, path: str) -> None:
        self.chain, self.path = chain, path
        _keep_shapes_from(spec, spec.joint(chain.arm[-1]).parent)
        hold_joints(spec, {joint.name for joint in spec.joints} - set(chain.gripper))
        self.driven_by_joints = _add_drives(spec, chain)
        spec.option.gravity = [0, 0, 0]
        set_physics(spec, 0.002)
        spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
        self.model = model = spec.compile()
        self.drives = [model.actuator(index).name for index in range(model.nu)]
        self.solid = colliding(model, bare=True)
        self.hand = model.body(chain.hand).id
        self.ends = {name: self._ends(name) for name in self.drives}
        self.approach = self._approach(axis, anchor)
        self._find_openings()

    def _ends(self, drive: str) -> tuple[float, float]:
        """The lowest and the highest command."""
        model, index = self.model, self.model.actuator(drive).id
        of = model.actuator_trnid[index, 0]
        on_joint = turns(model.actuator_trntype[index])
        if model.actuator_ctrllimited[index]:
            low, high = model.actuator_ctrlrange[index]
        else:
            low, high = model.jnt_range[of] if on_joint else model.tendon_range[of]
        if not low < high:
            raise BackendError(f"{self.path}: {drive} of the gripper has no range: give it a ctrlrange")
        return float(low), float(high)

    def pose(self, commands: dict[str, float]) -> Any:
        """MjData where everything has come to rest."""
        data = mujoco.MjData(self.model)
        for name, value in commands.items():
            data.actuator(name).ctrl[0] = value
        mujoco.mj_step(self.model, data, round(SETTLES / self.model.opt.timestep))
        mujoco.mj_kinematics(self.model, data)
        if not np.isfinite(data.qpos).all():
            raise BackendError(
                f"{self.path}: the gripper's simulation is not finite: see its joints and inertias"
            )
        return data

    def opened(self, share: float) -> Any:
        """At a share of the way from closed to open."""
        return self.pose({name: a + share * (b - a) for name, (a, b) in self.commands.items()})

    def _find_openings(self) -> None:
        """``commands``: [closed, open] of each drive: open is where the tips are further apart."""
        middle = {name: sum(ends) / 2 for name, ends in self.ends.items()}
        changes: dict[str, float] = {}
        for name, ends in self.ends.items():
            poses = [self.pose(middle | {name: end}) for end in ends]
            changes[name] = 0.0
            if self._moving(*poses).any():
                self._find_groups(*poses)
                first, second = map(self._tips_apart, poses)
                changes[name] = second - first
        most = max(map(abs, changes.values()), default=0.0)
        self.commands = {
            name: self.ends[name] if changes[name] > 0 else self.ends[name][::-1]
            for name in self.drives
            if abs(changes[name]) > OPENS * most > OPENS * STILL
        }
        if not self.commands:
            raise BackendError(f"{self.path}: nothing opens or closes the gripper")
        self.closed, wide = self.opened(0.0), self.opened(1.0)
        self._find_groups(self.closed, wide)
        self.share = next(
            (share for share in np.linspace(1.0, 0.1, 10) if self._turn(self.opened(share)) <= STEEPEST), 1.0
        )
        self.open, self.half = self.opened(self.share), self.opened(self.share / 2)

    def _moving(self, first: Any, second: Any) -> np.ndarray:
        """(n,) bool: which shapes are elsewhere in the second pose."""
        moves = np.linalg.norm(second.geom_xpos[self.solid] - first.geom_xpos[self.solid], axis=1)
        turned = np.abs(second.geom_xmat[self.solid] - first.geom_xmat[self.solid]).max(1)
        moving: np.ndarray = (moves > STILL) | (turned > STILL)
        return moving

    def _find_groups(self, first: Any, second: Any) -> None:
        """The shapes that move one way and those that move the other; without the latter those that stand."""
        moves = second.geom_xpos[self.solid] - first.geom_xpos[self.solid]
        moving = self._moving(first, second)
        main = np.linalg.svd(moves)[2][0]
        ways = moves @ main
        one = ways > 0.1 * np.abs(ways).max()
        other = ways < -0.1 * np.abs(ways).max()
        solid = np.array(self.solid)
        groups = [solid[one], solid[other]]
        self.one_jaw = not (one.any() and other.any())
        if self.one_jaw:
            hand = self.model.body_weldid[self.hand]
            stands = np.array([self.model.body_weldid[self.model.geom_bodyid[g]] == hand for g in solid])
            jaw = solid[one | other]
            others = solid[~moving & ~stands & self._beyond_hand(solid)]
            groups = [jaw, others if len(others) else solid[stands]]
        self.groups = [list(map(int, group)) for group in groups]
        if not all(self.groups):
            raise BackendError(f"{self.path}: the gripper has one finger and nothing that it closes on")
        self.tips = [self._tip(group, first, second) for group in (0, 1)]

    def _beyond_hand(self, geoms: np.ndarray) -> np.ndarray:
        found = []
        for geom in geoms:
            body = int(self.model.geom_bodyid[geom])
            while body not in (0, self.hand):
                body = int(self.model.body_parentid[body])
            found.append(body == self.hand and self.model.geom_bodyid[geom] != self.hand)
        return np.array(found)

    def corners(self, data: Any, group: int) -> np.ndarray:
        """(n, 3) m of a group's shapes; row i is the same corner in every pose."""
        return np.concatenate(
            [
                geom_corners(self.model, g, 3000) @ data.geom_xmat[g].reshape(3, 3).T + data.geom_xpos[g]
                for g in self.groups[group]
            ]
        )

    def _tip(self, group: int, *poses: Any) -> np.ndarray:
        """(n,) bool: the corners that come farthest out of the hand in one of the poses."""
        heights = np.max([self.corners(data, group) @ self.approach for data in poses], axis=0)
        fingers = np.concatenate([self.corners(data, 0) @ self.approach for data in poses])
        mask: np.ndarray = heights >= heights.max() - TIP * (fingers.max() - fingers.min())
        return mask

    def _tips_apart(self, data: Any) -> float:
        """m between the middles of the two tips."""
        first, second = (self.corners(data, group)[self.tips[group]].mean(0) for group in (0, 1))
        return float(np.linalg.norm(first - second))

    def _turn(self, data: Any) -> float:
        """rad, how far the first finger has turned since it was closed."""
        geom = self.model.geom_bodyid[self._outermost()]
        before, after = (each.xmat[geom].reshape(3, 3) for each in (self.closed, data))
        return float(np.arccos(np.clip((np.trace(before.T @ after) - 1) / 2, -1, 1)))

    def _outermost(self) -> int:
        """The first finger's geom that reaches farthest out of the hand."""
        reach = {
            g: (
                geom_corners(self.model, g) @ self.closed.geom_xmat[g].reshape(3, 3).T
                + self.closed.geom_xpos[g]
            )
            @ self.approach
            for g in self.groups[0]
        }
        return max(reach, key=lambda g: reach[g].max())

    def _approach(self, axis: np.ndarray, anchor: np.ndarray) -> np.ndarray:
        """(3,) the last joint's axis, or one of the hand's own, that points from the arm to the fingers."""
        data = mujoco.MjData(self.model)
        mujoco.mj_kinematics(self.model, data)
        beyond = np.array(self.solid)[self._beyond_hand(np.array(self.solid))]
        if not len(beyond):
            raise BackendError(f"{self.path}: the gripper's bodies have no shapes")
        way = data.geom_xpos[beyond].mean(0) - anchor
        way /= np.linalg.norm(way)
        if abs(axis @ way) > ALONG:
            return axis * np.sign(axis @ way)
        own = data.xmat[self.hand].reshape(3, 3).T
        best = own[np.abs(own @ way).argmax()]
        return best * np.sign(best @ way)

    def drives_and_joints(self) -> tuple[dict[str, Pair], dict[str, Pair]]:
        """As the card has them."""
        share = float(self.share)
        commands = {name: _pair(a, a + share * (b - a)) for name, (a, b) in self.commands.items()}
        ends = {
            name: _pair(*(self._within(name, data) for data in (self.closed, self.open)))
            for name in self.chain.gripper
        }
        most = max(abs(b - a) for a, b in ends.values())
        joints = {name: (a, b) for name, (a, b) in ends.items() if abs(b - a) > 0.1 * most}
        drives = {name: joints[name] for name in self.driven_by_joints if name in joints} or commands
        return drives, joints

    def _within(self, name: str, data: Any) -> float:
        """A joint's position, as far as its limits go, which give way to a force."""
        position, index = float(data.joint(name).qpos[0]), self.model.joint(name).id
        if not self.model.jnt_limited[index]:
            return position
        return float(np.clip(position, *self.model.jnt_range[index]))


def _pair(closed: float, open: float) -> Pair:
    return round(float(closed), 5) + 0.0, round(float(open), 5) + 0.0


def _add_drives(spec: Any, chain: Chain) -> tuple[str, ...]:
    """Servos for a gripper without actuators, on the joints that its fingers hang on; their names, and those
    of the joints that follow them.
    """
    if list(spec.actuators):
        return ()
    model = spec.compile()
    joints = [spec.joint(name) for name in chain.gripper]
    inner = {name for joint in joints for name in _names_below(joint.parent)}
    first = [j for j in joints if j.name not in inner and not model.joint(j.name).stiffness[0]]
    followers = {e.name1 for e in spec.equalities if e.type == mujoco.mjtEq.mjEQ_JOINT and e.name2}
    for joint in first:
        if joint.name in followers:
            continue
        inertia = float(model.dof_M0[model.joint(joint.name).dofadr[0]])
        servo = spec.add_actuator(name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        servo.set_to_position(kp=inertia * QUICK**2, kv=2 * inertia * QUICK)
    return tuple(joint.name for joint in first)


def _keep_shapes_from(spec: Any, body: Any) -> None:
    """Shapes of a body and of what hangs on it: reading the arm's meshes again would take a second."""
    kept = {body.name} | {below.name for below in bodies_below(body)}
    for geom in [geom for geom in spec.geoms if geom.parent.name not in kept]:
        spec.delete(geom)
    drop_unused_meshes(spec)


def _names_below(body: Any) -> list[str]:
    return [
        name
        for child in body.bodies
        for name in (*(joint.name for joint in child.joints), *_names_below(child))
    ]
