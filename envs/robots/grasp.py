"""The fingers of a hand, and its tool frame: from the shapes, wherever the model's sites say it is."""

from __future__ import annotations

import re

import mujoco
import numpy as np

from envs.backends.base import BackendError
from envs.robots.card import Tool
from envs.robots.hand import Hand

BEHIND = 0.18  # of the width, from the tip back to the tool point, as the Sawyer's
EXPOSED = 0.3  # of the width, behind the tool point: where the fingers' inner surfaces are looked for
FROM_FIXED_JAW = 0.3  # of the width, to the tool point: only the other jaw comes to an object
INNER = 0.6  # of the width, from the tool point: what lies behind that touches no object
SAME = 0.12  # of the width: a site this near to the tool point is taken for it
TOOL_SITES = re.compile(r"tcp|pinch|grasp|gripper_?frame|tool|(^|_)ee|attach", re.IGNORECASE)


class Grasp:
    """``origin`` (3,) m and ``rotation`` (3, 3) of the tool frame, ``width`` (m) between the open fingers,
    ``fingers``, the bodies of the left and of the right one; ``site``: which of the model's lies there.
    """

    def __init__(self, hand: Hand) -> None:
        self.hand = hand
        self._find()

    def _find(self) -> None:
        approach = self.hand.approach
        middles = [
            [self.hand.corners(data, group)[self.hand.tips[group]].mean(0) for group in (0, 1)]
            for data in (self.hand.closed, self.hand.open)
        ]
        moved = np.subtract(*middles[1]) - np.subtract(*middles[0])
        across = moved - (moved @ approach) * approach
        across /= np.linalg.norm(across)
        called = " ".join(self._names_to_hand(self.hand.groups[0][0]))
        left = 1 if "right" in called and "left" not in called and not self.hand.one_jaw else 0
        across = across if left == 0 else -across
        side = np.cross(across, approach)
        self.rotation = np.stack([side, across, approach], axis=1)
        groups = [left, 1 - left]
        tips = [self.hand.corners(self.hand.open, group)[self.hand.tips[group]] for group in groups]
        inner = np.array([(tips[0] @ across).min(), (tips[1] @ across).max()])
        tip = min(
            (self.hand.corners(self.hand.half, group)[self.hand.tips[group]] @ approach).max()
            for group in groups
        )
        width = float(inner[0] - inner[1])
        if width <= 0:
            raise BackendError(f"{self.hand.path}: the open gripper's fingers leave no room between them")
        along = np.concatenate(
            [self.hand.corners(self.hand.half, g)[self.hand.tips[g]] @ side for g in groups]
        )
        origin = self.rotation @ [along.mean(), inner.mean(), tip - BEHIND * width]
        origin, width = self._between(origin, width, groups)
        self.origin = self.rotation @ [*(origin @ self.rotation)[:2], tip - BEHIND * width]
        self.width, self.tip = width, tip
        self.fingers = (self._exposed(groups[0], 1), self._exposed(groups[1], -1))
        if self.hand.one_jaw:
            self.origin = self.origin - (0.5 - FROM_FIXED_JAW) * width * across
        self.site = self._maker_site()

    def _between(self, origin: np.ndarray, width: float, groups: list[int]) -> tuple[np.ndarray, float]:
        """The point halfway between the open fingers' inner surfaces at that height, and their distance."""
        across = self.rotation[:, 1]
        ways = []
        for group, sign in zip(groups, (1.0, -1.0), strict=True):
            found = [
                hit[0]
                for x in (-0.05, 0.0, 0.05)
                for z in (-0.1, -0.05, 0.0)
                if (
                    hit := self._hit(origin + self.rotation @ [x * width, 0, z * width], sign * across, group)
                )
            ]
            ways.append(float(np.median(found)) if found else width / 2)
        return origin + across * (ways[0] - ways[1]) / 2, ways[0] + ways[1]

    def _hit(self, start: np.ndarray, direction: np.ndarray, group: int) -> tuple[float, int] | None:
        """How far the group's first shape is, and which it is, in the open hand."""
        model, data = self.hand.model, self.hand.open
        found = []
        for g in self.hand.groups[group]:
            if model.geom_type[g] == mujoco.mjtGeom.mjGEOM_MESH:
                distance = mujoco.mj_rayMesh(model, data, g, start, direction)
            else:
                distance = mujoco.mju_rayGeom(
                    data.geom_xpos[g],
                    data.geom_xmat[g],
                    model.geom_size[g],
                    start,
                    direction,
                    model.geom_type[g],
                )
            if distance >= 0:
                found.append((float(distance), g))
        return min(found) if found else None

    def _exposed(self, group: int, sign: int) -> tuple[str, ...]:
        """The bodies of a finger's inner surface around the tool point."""
        reach = self.tip - float(self.origin @ self.hand.approach)
        bodies = []
        for x in (-0.1, 0.0, 0.1):
            for z in np.linspace(-EXPOSED * self.width, reach, 9):
                start = self.origin + self.rotation @ [x * self.width, 0, z]
                hit = self._hit(start, sign * self.rotation[:, 1], group)
                if hit is not None and hit[0] < INNER * self.width:
                    bodies.append(int(self.hand.model.geom_bodyid[hit[1]]))
        if not bodies:  # between two of a hand's bars, say
            bodies = [int(self.hand.model.geom_bodyid[g]) for g in self.hand.groups[group]]
        return tuple(self.hand.model.body(b).name for b in sorted(set(bodies)))

    def _maker_site(self) -> str | None:
        """Take the origin from the site that the model has for it, if it lies at the same place."""
        data = self.hand.closed
        for index in range(self.hand.model.nsite):
            name = self.hand.model.site(index).name
            away = (data.site_xpos[index] - self.origin) @ self.rotation
            if TOOL_SITES.search(name) and np.abs(away).max() < SAME * self.width:
                self.origin = data.site_xpos[index].copy()
                return str(name)
        return None

    def tool(self) -> Tool:
        body = self.hand.closed.body(self.hand.chain.hand)
        turn = body.xmat.reshape(3, 3)
        quaternion = np.zeros(4)
        mujoco.mju_mat2Quat(quaternion, (turn.T @ self.rotation).ravel())
        position = turn.T @ (self.origin - body.xpos)
        return Tool(self.hand.chain.hand, _floats(position), _floats(quaternion))

    def _names_to_hand(self, geom: int) -> list[str]:
        """Of the bodies from a shape to the hand, and of their joints."""
        model, body, names = self.hand.model, int(self.hand.model.geom_bodyid[geom]), []
        while body not in (0, self.hand.hand):
            first = model.body_jntadr[body]
            names += [model.joint(first + i).name for i in range(model.body_jntnum[body])]
            names.append(model.body(body).name)
            body = int(model.body_parentid[body])
        return names


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value), 5) + 0.0 for value in values)
