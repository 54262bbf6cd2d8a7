"""Two tasks for a Sawyer above a table: grasp the object, and lift it. Everything is computed from a
backend's Readings.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields
from math import pi
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from envs.backends.base import CONTROL_TIMESTEP, Backend, Readings, RestorableBackend
from envs.backends.choice import BACKENDS, has_display, start_backend
from envs.controllers.joint_velocity import stop_at_limits, tool_to_joint_velocities
from envs.robots.arm import Arm
from envs.robots.sawyer import BOOK_OPEN, START_NOISE, START_POSES
from envs.tasks import terms

TOOL_SPEED = 0.4  # m/s, an action of 1 in end_position
YAW_RATE = 1.0  # rad/s, the same
AUTO_CLOSE_DISTANCE = 0.316  # m
CLOSING_STEPS = 5  # 0.25 s
REOPENING_STEPS = 3  # 0.15 s
LIFTED_STEPS = 3  # control steps in a row that make a lift
READINGS = tuple(field.name for field in fields(Readings))


def observation_bounds(arm: Arm, mode: str) -> np.ndarray:
    """Observations are cut to ± these; only a collision or a falling object comes near."""
    joints = [np.abs(arm.joint_limits).max(axis=1) + 0.1, np.full(arm.joints, 10.0)]
    tool = [np.full(3, 2.0), np.full(3, 20.0), np.ones(8)] if mode == "relative" else []
    return np.concatenate([*joints, np.full(3, 2.0), *tool]).astype(np.float32)


class SawyerEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """What both tasks share; see :class:`SawyerGraspEnv` and :class:`SawyerLiftEnv`."""

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["human", "rgb_array"],
        "render_fps": round(1 / CONTROL_TIMESTEP),
    }
    truncates_at_horizon: ClassVar[bool] = True  # so that nobody has to bound its episodes from outside
    default_horizon: ClassVar[int]
    gripper_action: ClassVar[bool]
    mechanics_known: ClassVar[tuple[str, ...]] = ("clean",)

    def __init__(
        self,
        backend: str | Callable[[], Backend] = "auto",
        control: str = "joint_velocity",
        observation: str = "relative",
        reward: str = "augmented",
        random_target: bool = True,
        random_yaw: bool | None = None,
        start: str = "centre",
        horizon: int | None = None,
        scene: str | None = None,
        reinit_every: int | None = None,
        mechanics: str = "clean",
        render_mode: str | None = None,
        width: int = 640,
        height: int = 480,
    ) -> None:
        horizon = self.default_horizon if horizon is None else horizon
        if isinstance(backend, str):
            check_choice("backend", backend, BACKENDS)
        check_choice("control", control, ("joint_velocity", "end_position"))
        check_choice("observation", observation, ("relative", "book"))
        check_choice("reward", reward, ("sparse", "dense", "augmented"))
        check_choice("random_target", random_target, (True, False))
        check_choice("random_yaw", random_yaw, (None, True, False))
        check_choice("start", start, tuple(START_POSES))
        check_choice("mechanics", mechanics, self.mechanics_known)
        check_choice("render_mode", render_mode, (None, "human", "rgb_array"))
        for name, count in (
            ("horizon", horizon),
            ("reinit_every", reinit_every),
            ("width", width),
            ("height", height),
        ):
            if name == "reinit_every" and count is None:
                continue
            if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
                raise ValueError(f"{name} is {count!r}: it must be a whole number above 0")
        self.control, self.observation_mode, self.reward_mode = control, observation, reward
        self.random_target, self.start = random_target, start
        self.as_the_book = mechanics == "book"
        self.random_yaw = random_target and not self.as_the_book if random_yaw is None else random_yaw
        self.horizon, self.render_mode, self.width, self.height = (
            int(horizon),
            render_mode,
            int(width),
            int(height),
        )
        if render_mode != "human" and not has_display():
            self.metadata = {**self.metadata, "render_modes": ["rgb_array"]}  # type: ignore[misc]  # what works on this machine
        self.backend: Backend = start_backend(
            backend, scene, render_mode == "human", reinit_every, self.as_the_book
        )
        self.arm = self.backend.arm
        if start not in self.arm.start_poses:
            self.backend.close()
            check_choice("start", start, tuple(self.arm.start_poses))
        actions = (self.arm.joints if control == "joint_velocity" else 4) + self.gripper_action
        self.action_space = Box(-1.0, 1.0, (actions,), np.float32)
        self._high = observation_bounds(self.arm, observation)
        self._low = -self._high
        self.observation_space = Box(self._low, self._high, dtype=np.float32)
        self._observe = terms.relative_observation if observation == "relative" else terms.book_observation
        self.readings: Readings | None = None  # the present instant; None before the first reset
        self._steps = 0
        self._next_frame = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        place = self.backend.workplace
        noise = 0.0 if self.as_the_book else START_NOISE
        joint_positions = self.arm.start_poses[self.start] + self.np_random.uniform(
            -noise, noise, self.arm.joints
        )
        object_xy = (
            self.np_random.uniform(*place.target_region.T) if self.random_target else place.fixed_target
        )
        yaw = self.np_random.uniform(-pi / 4, pi / 4) if self.random_yaw else 0.0
        self._steps = 0
        self.readings = self.backend.reset(np.clip(joint_positions, *self.arm.joint_limits.T), object_xy, yaw)
        self._begin(self.readings)
        if self.render_mode == "human":
            self._show()
        return self._observation(), self._info(self.readings, False)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self.readings is None:
            raise gymnasium.error.ResetNeeded("step was called before reset")
        action = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        if action.shape != self.action_space.shape or not np.isfinite(action).all():
            raise ValueError(f"action is {action}: it must be finite, of shape {self.action_space.shape}")
        opening = (float(action[-1]) + 1.0) / 2.0 if self.gripper_action else None
        self._velocities = self._joint_velocities(action, self.readings)
        readings = self.backend.step(self._velocities, opening)
        self.readings, success = self._finish(readings)
        self._steps += 1
        reward = self._reward(self.readings, success)
        terminated = success or terms.has_fallen(self.readings)
        truncated = not terminated and self._steps >= self.horizon
        if self.render_mode == "human":
            self._show()
        return self._observation(), reward, terminated, truncated, self._info(self.readings, success)

    def get_state(self) -> dict[str, Any] | None:
        """What the rest of the episode depends on, as :meth:`set_state` takes it; None: CoppeliaSim, which does
        not give its own.
        """
        if self.readings is None or not isinstance(self.backend, RestorableBackend):
            return None
        return {
            "physics": self.backend.get_state(),
            # not to be computed again: the forces of contacts are those of the step before
            "readings": {name: getattr(self.readings, name) for name in READINGS},
            "random": self.np_random.bit_generator.state,
            "steps": self._steps,
            "task": self._memory(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`get_state` was called, bit for bit; after a reset. Raises ValueError or LookupError
        for the state of another task.
        """
        assert isinstance(self.backend, RestorableBackend)
        self.backend.set_state(state["physics"])
        self.readings = Readings(**state["readings"])
        self.np_random.bit_generator.state = state["random"]
        self._steps = state["steps"]
        self._remember(state["task"])

    def render(self) -> np.ndarray | None:
        if self.render_mode == "rgb_array":
            return self.backend.render("scene", self.width, self.height)
        if self.render_mode is None:
            gymnasium.logger.warn("render was called on an environment made without a render_mode")
        return None

    def close(self) -> None:
        self.backend.close()

    def _begin(self, readings: Readings) -> None:
        """Set what a task remembers during an episode."""

    def _memory(self) -> dict[str, Any]:
        """The same, for :meth:`get_state`."""
        return {}

    def _remember(self, memory: dict[str, Any]) -> None:
        """Undo :meth:`_memory`."""

    def _finish(self, readings: Readings) -> tuple[Readings, bool]:
        """Complete the environment step: the instant it ends at, and whether the task is done."""
        raise NotImplementedError

    def _reward(self, readings: Readings, success: bool) -> float:
        raise NotImplementedError

    def _joint_velocities(self, action: np.ndarray, readings: Readings) -> np.ndarray:
        if self.control == "joint_velocity":
            velocities = self.arm.max_velocity * action[: self.arm.joints]
        else:
            velocities = tool_to_joint_velocities(
                self.backend.jacobian(),
                readings.joint_positions,
                readings.tool_rotation,
                TOOL_SPEED * action[:3],
                YAW_RATE * action[3],
                self.arm.start_poses[self.start],
            )
        if self.as_the_book:  # which drives joints into their limits
            return velocities
        return stop_at_limits(velocities, readings.joint_positions, self.arm)

    def _observation(self) -> np.ndarray:
        assert self.readings is not None
        return np.minimum(np.maximum(self._observe(self.readings), self._low), self._high)

    def _info(self, readings: Readings, success: bool) -> dict[str, Any]:
        return {"success": success, "distance": terms.distance(readings)}

    def _show(self) -> None:
        """Draw in the window, at the speed of the real robot."""
        time.sleep(max(0.0, self._next_frame - time.monotonic()))
        self._next_frame = time.monotonic() + CONTROL_TIMESTEP
        self.backend.show()


class SawyerGraspEnv(SawyerEnv):
    """Grasp: bring the open gripper over the object; it closes by itself once it is there.

    When the proximity ray between the fingers sees the object and the distance is below 0.316 m, the arm
    stops, the gripper closes for 0.25 s, and opens again for 0.15 s if it missed; all within the same
    environment step.

    ## Action space: Box(-1, 1, (7,), float32), or (4,) with control="end_position"

    | Index | control="joint_velocity" (default) | An action of 1 |
    |---|---|---|
    | 0-6 | velocity of joint 0-6, stopped 0.03 rad before a joint's limit | 1 rad/s |

    | Index | control="end_position" | An action of 1 |
    |---|---|---|
    | 0, 1, 2 | velocity of the tool-centre point along the base's x (forward), y (left), z (up) | 0.4 m/s |
    | 3 | turn of the tool about the base's z; the tool is held pointing down | 1 rad/s |

    ## Observation space: Box((31,), float32), observation="relative" (default)

    | Index | Meaning | Unit | Range |
    |---|---|---|---|
    | 0-6 | joint positions | rad | ± the joint's limit + 0.1 |
    | 7-13 | joint velocities | rad/s | ±10, mostly ±1 |
    | 14-16 | object's centre, base frame | m | ±2 |
    | 17-19 | tool-centre point, base frame | m | ±2 |
    | 20-22 | object - tool-centre point | m / 5 | ±20, mostly ±3 |
    | 23-25 | approach axis of the tool, base frame | 1 | ±1 |
    | 26, 27 | sine, cosine of n x yaw error, the angle between the fingers' line and the nearest of n sides that fit; n = 4 | 1 | ±1 |
    | 28 | opening of the gripper, 0 closed, 1 open | 1 | 0 to 1 |
    | 29, 30 | left, right pad presses on the object | 1 | 0 or 1 |

    observation="book" has entries 0-16 only, the object's centre in the simulator's world frame (in MuJoCo
    the base's).

    ## Reward

    augmented (default): -distance - 0.02 (tilt + \\|yaw error\\|), -1 while the robot touches the table; tilt
    is the angle (rad) between approach axis and straight down. dense: -distance. sparse: 0. In every mode +10
    on success and -10 if the object falls.

    ## Start

    Joints at the pose that ``start`` names, "centre" or "book", ± 0.05 rad. Object at x 0.42-0.77 m, y ±0.30
    m, yaw ±45°; with random_target=False at (0.65, 0.15) m. random_yaw=None (default) follows random_target
    (and is off with mechanics="book"); a fixed yaw is 0. With backend="coppelia", ``scene`` names a .ttt file: of the book's, whose box (n = 2)
    lies where the book's does, or with another arm and a card (envs/backends/coppelia/card.py), whose J
    joints take the place of the 7; and ``reinit_every`` episodes launch the simulator anew. mechanics="book"
    drives the simulator as the book's code does, which bends the gripper (envs/backends/coppelia/book.py):
    the arm starts without noise, runs into its limits, goes on while the gripper closes for one step, and
    the left pad alone decides.

    ## End

    terminated: success (both pads press with more than 0.5 N and the ray sees the object), or the object fell
        off the table.
    truncated: after ``horizon`` steps (30). ``info`` has "success" (bool) and "distance" (m) at every step.

    Raises:
        ValueError: an option has a value it does not know.
        BackendError: the simulator is missing or its state is no longer finite.
    """

    default_horizon = 30
    gripper_action = False
    mechanics_known = ("clean", "book")

    def _finish(self, readings: Readings) -> tuple[Readings, bool]:
        near = readings.proximity and terms.distance(readings) < AUTO_CLOSE_DISTANCE
        if self.as_the_book:
            return self._finish_as_the_book(readings, near)
        if not near:
            return readings, False
        still = np.zeros(self.arm.joints)
        for _ in range(CLOSING_STEPS):
            readings = self.backend.step(still, 0.0)
        if terms.is_held(readings):
            return readings, True
        for _ in range(REOPENING_STEPS):
            readings = self.backend.step(still, 1.0)
        return readings, False

    def _finish_as_the_book(self, readings: Readings, near: bool) -> tuple[Readings, bool]:
        if near:
            self.backend.step(self._velocities, 1.0)
            readings = self.backend.step(self._velocities, 0.0)
            if terms.is_held(readings):
                return readings, True
        if near or readings.opening < BOOK_OPEN:
            readings = self.backend.step(self._velocities, 1.0)
        return readings, False

    def _reward(self, readings: Readings, success: bool) -> float:
        return terms.grasp_reward(readings, self.reward_mode, success)


class SawyerLiftEnv(SawyerEnv):
    """Lift: grasp the object and raise it by 8 cm. Observation, control, start and options as in
    :class:`SawyerGraspEnv`.

    ## Action space: Box(-1, 1, (8,), float32), or (5,) with control="end_position"

    | Index | Meaning | -1 | 1 |
    |---|---|---|---|
    | 0-6, or 0-3 | as in SawyerGraspEnv | | |
    | last | commanded opening of the gripper | closed | open |

    ## Reward

    augmented (default): -0.4 tanh(4 distance) - 0.25 (not held) - 0.35 (1 - h held) - 0.02 (tilt + \\|yaw
    error\\|), -0.05 while the robot touches the table; h is the height above the table in units of 8 cm, cut
    to 0 … 1; held: both pads press with more than 0.5 N and the ray sees the object. dense: the first three
    terms. sparse: 0. In every mode +10 on success and -10 if the object falls.

    ## End

    terminated: success (held and at least 8 cm up for 3 steps in a row), or the object fell off the table.
    truncated: after ``horizon`` steps (60). ``info`` has "success", "distance" (m) and "height" (m above
        where the object lay).
    """

    default_horizon = 60
    gripper_action = True

    def _begin(self, readings: Readings) -> None:
        self._rest_height = float(readings.object_position[2])
        self._lifted = 0  # control steps in a row

    def _memory(self) -> dict[str, Any]:
        return {"rest_height": self._rest_height, "lifted": self._lifted}

    def _remember(self, memory: dict[str, Any]) -> None:
        self._rest_height, self._lifted = memory["rest_height"], memory["lifted"]

    def _finish(self, readings: Readings) -> tuple[Readings, bool]:
        up = terms.is_held(readings) and self._height(readings) >= terms.LIFT_HEIGHT
        self._lifted = self._lifted + 1 if up else 0
        return readings, self._lifted >= LIFTED_STEPS

    def _height(self, readings: Readings) -> float:
        return float(readings.object_position[2]) - self._rest_height

    def _reward(self, readings: Readings, success: bool) -> float:
        return terms.lift_reward(readings, self.reward_mode, success, self._rest_height)

    def _info(self, readings: Readings, success: bool) -> dict[str, Any]:
        return {**super()._info(readings, success), "height": self._height(readings)}


def check_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}: choose one of {', '.join(map(str, allowed))}")
