"""The base of all tasks: a robot at its table, its options, its observations, and what a task may say.

Everything is computed from a backend's Readings, so a task runs on every simulator that gives them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from math import isfinite, pi
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from envs.backends.base import (
    CONTROL_TIMESTEP,
    Backend,
    Marks,
    OptionError,
    Readings,
    RestorableBackend,
    Unstable,
)
from envs.backends.choice import BACKENDS, has_display, start_backend
from envs.controllers import CONTROLLERS
from envs.objects.library import SAWYER_WIDTH, find_objects
from envs.objects.scene import Placing, Scene
from envs.robots.card import need_gripper
from envs.robots.library import find_robot
from envs.robots.sawyer import START_NOISE
from envs.tasks import terms
from envs.tasks.checks import check_choice, check_count, check_name
from envs.tasks.lag import Lags
from envs.tasks.randomization import Randomization
from envs.tasks.sight import MODES, Sight
from envs.tasks.terms import Term
from envs.tasks.unstable import Explosions
from envs.tasks.viewing import ViewedTask

READINGS = tuple(field.name for field in fields(Readings))
APART = 0.11  # m between the centres of things on the table, for an arm of the Sawyer's size
TRIES = 200  # to find a free place


class ArmEnv(ViewedTask, gymnasium.Env[np.ndarray, np.ndarray]):
    """A task for a robot at a table; a task of your own is a subclass that says what its methods below say.

    ``examples/own_task.py`` has one. The tasks' own docstrings tell their rewards and ends; docs/tasks.md has
    the options, and docs/observations.md, made from the code, every number of the observations and actions.

    Raises:
        OptionError: an option has a value it does not know.
        BackendError: the robot, the objects or the simulator are missing or do not work. A step after which
            the physics is not finite ends the episode, with info["unstable"]; five such episodes in a row
            raise this.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["human", "rgb_array"],
        "render_fps": round(1 / CONTROL_TIMESTEP),
    }
    truncates_at_horizon: ClassVar[bool] = True  # so that nobody has to bound its episodes from outside
    default_horizon: ClassVar[int] = 60
    default_objects: ClassVar[str] = "box"
    gripper_action: ClassVar[bool] = True  # whether the last action opens and closes the gripper
    hand: ClassVar[float | None] = None  # where it does not: the opening at which the task holds the gripper
    needs_gripper: ClassVar[bool] = True
    has_goal: ClassVar[bool] = False  # whether it takes goal_conditioned
    needs_mujoco: ClassVar[bool] = False  # for what CoppeliaSim's scenes do not have
    turn: ClassVar[float] = pi / 4  # rad, how far the object is turned at most with random_yaw
    touch_cost: ClassVar[float] = (
        0.05  # of a step in which the robot touches the table, in the augmented reward
    )
    mechanics_known: ClassVar[tuple[str, ...]] = ("clean",)
    remembers: ClassVar[tuple[str, ...]] = ()  # attributes that change during an episode, for get_state

    def __init__(
        self,
        robot: str = "sawyer",
        objects: str | None = None,
        backend: str | Callable[[], Backend] = "auto",
        control: str = "joint_velocity",
        observation: str = "relative",
        cameras: str = "wrist",
        camera_size: int = 64,
        privileged: bool = False,
        reward: str = "augmented",
        random_target: bool = True,
        random_yaw: bool | None = None,
        start: str = "centre",
        horizon: int | None = None,
        scene: str | None = None,
        reinit_every: int | None = None,
        mechanics: str = "clean",
        randomize: Mapping[str, Any] | str | None = None,
        goal_conditioned: bool = False,
        render_mode: str | None = None,
        width: int = 640,
        height: int = 480,
    ) -> None:
        horizon = self.default_horizon if horizon is None else horizon
        if isinstance(backend, str):
            check_choice("backend", backend, BACKENDS)
        check_choice("control", control, tuple(CONTROLLERS))
        check_choice("observation", observation, ("relative", "book", *MODES))
        check_choice("reward", reward, ("sparse", "dense", "augmented"))
        check_choice("random_target", random_target, (True, False))
        check_choice("random_yaw", random_yaw, (None, True, False))
        check_choice("goal_conditioned", goal_conditioned, (True, False))
        check_name("robot", robot)
        objects = self.default_objects if objects is None else objects
        check_name("objects", objects)
        kind = type(self).__name__.removesuffix("Env")
        if goal_conditioned and not self.has_goal:
            raise OptionError(f"goal_conditioned is for tasks with a goal, as Reach and Push, not for {kind}")
        check_choice("start", start, ("centre", "book"))
        check_choice("mechanics", mechanics, self.mechanics_known)
        check_choice("render_mode", render_mode, (None, "human", "rgb_array"))
        check_count("horizon", horizon)
        check_count("width", width)
        check_count("height", height)
        if reinit_every is not None:
            check_count("reinit_every", reinit_every)
        check_choice("privileged", privileged, (True, False))
        if privileged and observation not in MODES:
            raise OptionError(f"privileged is for the observations {' and '.join(MODES)}")
        self.sight = Sight(observation, cameras, camera_size, privileged) if observation in MODES else None
        if goal_conditioned and self.sight is not None:
            raise OptionError("goal_conditioned observes what is achieved, which a camera policy has to see")
        self.observation_mode, self.reward_mode = observation, reward
        self.random_target, self.start = random_target, start
        self.goal_conditioned = goal_conditioned
        self.as_the_book = mechanics == "book"
        self.randomization = None if randomize is None else Randomization(randomize)
        self.drawn: dict[str, float] = {}  # of the randomization, in this episode
        self.random_yaw = random_target and not self.as_the_book if random_yaw is None else random_yaw
        self.horizon, self.render_mode, self.width, self.height = (
            int(horizon),
            render_mode,
            int(width),
            int(height),
        )
        if render_mode != "human" and not has_display():
            self.metadata = {**self.metadata, "render_modes": ["rgb_array"]}  # type: ignore[misc]  # what works on this machine
        self.card = find_robot(robot)
        if self.needs_gripper:
            need_gripper(self.card, kind)
        self.objects = find_objects(objects, self.fitting_width)
        self.scenes = self.stage()
        self.backend: Backend = start_backend(
            backend,
            self.card,
            self.scenes,
            self._mujoco_only(objects),
            self.sight is not None,
            scene,
            render_mode == "human",
            reinit_every,
            self.as_the_book,
        )
        self.arm = self.backend.arm
        if start not in self.arm.start_poses:
            self.backend.close()
            check_choice("start", start, tuple(self.arm.start_poses))
        self.size = self.arm.size
        self.controller = CONTROLLERS[control](self.arm, self.arm.start_poses[start], self.as_the_book)
        self.control = control
        actions = self.controller.actions + self.gripper_action
        self._action_shape = (actions,)
        self.action_space = Box(-1.0, 1.0, self._action_shape, np.float32)
        self._extra = self.terms() if observation == "relative" else ()
        sight = self.sight
        self.entries = (
            terms.entries(self.arm, observation, self._extra) if sight is None else sight.entries(self)
        )
        bounds = [np.broadcast_to(entry.bound, entry.size) for entry in self.entries]
        self._high = np.concatenate([*bounds, np.empty(0)], dtype=np.float32)
        self._low = -self._high
        numbers = Box(self._low, self._high, dtype=np.float32)
        space: Any = self.spaces(numbers) if sight is None else sight.space(self, numbers)
        self.observation_space = space
        self.readings: Readings | None = None  # the present instant; None before the first reset
        self._steps = 0
        self._explosions = Explosions(self.card.name)
        self._next_frame = 0.0

    # What a task says.

    def stage(self) -> tuple[Scene, ...]:
        """What stands on the table: alternatives, one of which is drawn for each episode."""
        return tuple(Scene((thing,)) for thing in self.objects)

    def region(self) -> np.ndarray:
        """(2, 2) m, x and y of the object with random_target, lowest and highest."""
        return self.backend.workplace.target_region

    def terms(self) -> tuple[Term, ...]:
        """Observations beside those of the arm, the hand and the object."""
        return terms.OBJECT_SIZE if len(self.objects) > 1 else ()

    def spaces(self, vector: Box) -> Any:
        """The observation space, given that of the vector of all entries."""
        return vector

    def draw(self, object_xy: np.ndarray) -> Placing | None:
        """Draw with ``self.np_random`` what else an episode begins with, such as a goal."""
        return None

    def begin(self, readings: Readings) -> None:
        """Set what the task remembers during an episode."""

    def success(self, readings: Readings) -> bool:
        """Whether the task is done at this instant; the episode ends then."""
        raise NotImplementedError

    def failed(self, readings: Readings) -> bool:
        """Whether the episode ends because the task can no longer be done."""
        return terms.has_fallen(readings)

    def cost(self, readings: Readings) -> float:
        """What a step costs in the dense and augmented reward: 0 when all is done, about 1 at the start."""
        raise NotImplementedError

    def reward(self, readings: Readings, success: bool) -> float:
        """Of the step that led to ``readings``."""
        reward = terms.SUCCESS_REWARD if success else terms.FALL_REWARD if self.failed(readings) else 0.0
        if self.reward_mode != "sparse":
            reward -= self.cost(readings)
        if self.reward_mode == "augmented":
            reward -= 0.02 * (terms.tilt(readings) + abs(terms.yaw_error(readings)))
            reward -= self.touch_cost if readings.table_contact else 0.0
        return reward

    def finish(self, readings: Readings) -> tuple[Readings, bool]:
        """Complete the environment step: the instant it ends at, and whether the task is done."""
        return readings, self.success(readings)

    def outcome(self, readings: Readings, success: bool) -> tuple[float, bool]:
        """The reward of the step that led to ``readings``, and whether it ends the episode."""
        return self.reward(readings, success), success or self.failed(readings)

    def info(self, readings: Readings, success: bool) -> dict[str, Any]:
        return {"success": success, "distance": terms.distance(readings)}

    def marks(self, readings: Readings) -> Marks:
        """Balls to draw in pictures, such as the goal: places in the base frame and radii, in m."""
        return ()

    # What gymnasium calls.

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        noise = 0.0 if self.as_the_book else START_NOISE
        joint_positions = self.arm.start_poses[self.start] + self.np_random.uniform(
            -noise, noise, self.arm.joints
        )
        place = self.backend.workplace
        object_xy = self.np_random.uniform(*self.region().T) if self.random_target else place.fixed_target
        yaw = self.np_random.uniform(-self.turn, self.turn) if self.random_yaw else 0.0
        which = int(self.np_random.integers(len(self.scenes))) if len(self.scenes) > 1 else 0
        placing = self.draw(object_xy)
        self._randomize(which)
        if self.readings is not None:
            self._explosions.none()
        self._steps = 0
        joint_positions = np.clip(joint_positions, *self.arm.joint_limits.T)
        if placing is None and which == 0:
            self.readings = self.backend.reset(joint_positions, object_xy, yaw)
        else:
            self.readings = self.backend.reset(joint_positions, object_xy, yaw, placing, which)  # type: ignore[call-arg]
        self.controller.begin(self.readings)
        self.begin(self.readings)
        if self.sight is not None:
            self.sight.look(self.backend)
        if self.render_mode == "human":
            self._show()
        return self._first_observation(), self.info(self.readings, False)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self.readings is None:
            raise gymnasium.error.ResetNeeded("step was called before reset")
        action = np.minimum(np.maximum(np.asarray(action, np.float64), -1.0), 1.0)
        if action.shape != self._action_shape or not isfinite(action @ action):
            raise ValueError(f"action is {action}: it must be finite, of shape {self.action_space.shape}")
        if self.drawn:
            action = self._lags.action(action)
        opening = (float(action[-1]) + 1.0) / 2.0 if self.gripper_action else self.hand
        self._velocities = self.controller.velocities(action, self.readings, self.backend)
        try:
            readings = self.backend.step(self._velocities, opening)
            self.readings, success = self.finish(readings)
        except Unstable as error:
            return self._broken_off(error)
        self._steps += 1
        reward, terminated = self.outcome(self.readings, success)
        truncated = not terminated and self._steps >= self.horizon
        if self.render_mode == "human":
            self._show()
        if self.sight is not None:
            self.sight.look(self.backend)
        observation = self.observed()
        if self.drawn:
            observation = self._lags.observation(observation, self.np_random)
        return observation, reward, terminated, truncated, self.info(self.readings, success)

    def get_state(self) -> dict[str, Any] | None:
        """What the rest of the episode depends on, as :meth:`set_state` takes it; None: CoppeliaSim, which
        does not give its own.
        """
        if self.readings is None or not isinstance(self.backend, RestorableBackend):
            return None
        return {
            "physics": self.backend.get_state(),
            # not to be computed again: the forces of contacts are those of the step before
            "readings": {name: getattr(self.readings, name) for name in READINGS},
            "random": self.np_random.bit_generator.state,
            "steps": self._steps,
            "task": {name: getattr(self, name) for name in self.remembers} | self.controller.memory(),
            "randomization": self.drawn
            and {
                "drawn": self.drawn,
                "scene": self._scene,
                **self._lags.get_state(),
            },
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`get_state` was called, bit for bit; after a reset. Raises ValueError or
        LookupError for the state of another task.
        """
        assert isinstance(self.backend, RestorableBackend)
        if self.drawn:
            kept = state["randomization"]
            self.drawn = kept["drawn"]
            self._lags.set_state(self.drawn, kept)
            self.backend.randomize(self.drawn, kept["scene"])  # type: ignore[attr-defined]
        self.backend.set_state(state["physics"])
        self.readings = Readings(**state["readings"])
        self.np_random.bit_generator.state = state["random"]
        self._steps = state["steps"]
        for name in self.remembers:
            setattr(self, name, state["task"][name])
        self.controller.remember(state["task"])
        if self.sight is not None:
            self.sight.look(self.backend)

    def render(self) -> np.ndarray | None:
        if self.render_mode == "rgb_array":
            marks = () if self.readings is None else self.marks(self.readings)
            return self.backend.render("scene", self.width, self.height, marks)
        if self.render_mode is None:
            gymnasium.logger.warn("render was called on an environment made without a render_mode")
        return None

    def close(self) -> None:
        self.backend.close()

    # What tasks share.

    @property
    def fitting_width(self) -> float:
        """m between fingers that objects are made for: those of the robot, or fewer where its workplace is
        small.
        """
        most = 2.0 * SAWYER_WIDTH * self.card.size
        return most if self.card.gripper is None else min(self.card.gripper.width, most)

    def distance(self, readings: Readings) -> float:
        """From the tool to the object, in m / size."""
        return terms.distance(readings) / self.size

    def free_spots(self, count: int, *taken: np.ndarray, apart: float = APART) -> np.ndarray:
        """(count, 2) m: places in the region, ``apart`` (m of the Sawyer) or, if that is more, as far as the
        two widest things of the scene need, from those that are taken and from each other; where there is no
        room, as far as was found.
        """
        scene = self.scenes[0]
        things = (*scene.objects, *(() if scene.fixture is None else (scene.fixture,)))
        radii = sorted(float(np.hypot(thing.half[0], thing.half[1])) for thing in things)
        apart = max(apart * self.size, sum(radii[-2:]))
        region = self.backend.workplace.target_region.T
        spots = list(taken)
        for _ in range(count):
            tried = self.np_random.uniform(region[0], region[1], (TRIES, 2))
            gaps = np.linalg.norm(tried[:, None] - np.array(spots), axis=-1).min(axis=1)
            far = np.flatnonzero(gaps >= apart)
            spots.append(tried[far[0] if len(far) else int(gaps.argmax())])
        return np.array(spots[len(taken) :])

    def _randomize(self, scene: int) -> None:
        if self.randomization is not None:
            self.drawn, self._scene = self.randomization.draw(self.np_random), scene
            self.backend.randomize(self.drawn, scene)  # type: ignore[attr-defined]

    def _first_observation(self) -> Any:
        first = self.observed()
        if not self.drawn:
            return first
        still = np.zeros(self.controller.actions + self.gripper_action)
        still[-1] = float(self.gripper_action)  # open
        self._lags = Lags(self.drawn, still, first, self._low, self._high)
        return self._lags.observation(first, self.np_random)

    def _broken_off(self, error: Unstable) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The end of an episode whose physics exploded, at the instant before: as if the object had fallen,
        or, where nothing terminates, cut.
        """
        readings = self.readings
        assert readings is not None
        self._explosions.another(error)
        observation, info = self.observed(), {**self.info(readings, False), "unstable": True}
        cuts = self.goal_conditioned
        reward = self.outcome(readings, False)[0] + (0.0 if cuts else terms.FALL_REWARD)
        self.readings = None  # nothing can be stepped before a reset
        return observation, reward, not cuts, cuts, info

    def _mujoco_only(self, objects: str) -> str | None:
        """What of the task CoppeliaSim's scenes do not have, for a message."""
        if self.needs_mujoco:
            return type(self).__name__.removesuffix("Env")
        if self.card.model is not None:
            return f"robot {self.card.name}"
        if objects != "box":
            return f"objects {objects}"
        return None if self.randomization is None else "randomize"

    def observed(self) -> Any:
        """The observation of the present instant."""
        readings = self.readings
        assert readings is not None
        if self.sight is not None:
            return self.sight.observed(self, readings, self._low, self._high)
        if self.observation_mode == "book":
            observed = terms.book_observation(readings)
        else:
            observed = terms.relative_observation(readings, self.size)
            if self._extra:
                extra = [np.atleast_1d(term.of(self, readings)) for term in self._extra]
                observed = np.concatenate([observed, *extra], dtype=np.float32)
        return np.minimum(np.maximum(observed, self._low), self._high)

    def _show(self) -> None:
        """Draw in the window, at the speed of the real robot."""
        time.sleep(max(0.0, self._next_frame - time.monotonic()))
        self._next_frame = time.monotonic() + CONTROL_TIMESTEP
        assert self.readings is not None
        self.backend.show(self.marks(self.readings))
