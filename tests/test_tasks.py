"""Every task: gymnasium's contract, rewards and ends by hand, exact states, seeds, scripts, another robot."""

from __future__ import annotations

import warnings
from dataclasses import replace
from math import tanh
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from robot_files import write_arm
from test_envs_logic import AT_REST, HELD, scripted

import envs
from envs import Readings
from envs.objects.library import CLUTTER
from envs.robots.library import find_robot
from envs.tasks.arm import APART
from envs.tasks.expert import Expert

IDS = tuple(envs.TASKS)
GENERAL = tuple(id for id in IDS if id not in envs.SAWYER_IDS)
GOALS = ("Reach-v0", "Push-v0", "PickAndPlace-v0")
RANGES = {
    "mass": [0.3, 3],
    "friction": [0.5, 1.5],
    "damping": [0.5, 2],
    "gain": [0.5, 1],
    "action_delay": [0, 2],
    "observation_delay": [0, 2],
    "observation_noise": [0, 0.02],
}
every_task = pytest.mark.parametrize("id", IDS)


def make(id: str, **options: Any) -> Any:
    return gymnasium.make(id, backend="mujoco", **options).unwrapped


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return all(np.array_equal(one[name], other[name]) for name in one)
    return np.array_equal(one, other)


def actions(env: Any, count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, env.action_space.shape).astype(np.float32) for _ in range(count)]


# gymnasium's contract


@every_task
def test_gymnasiums_checker_finds_nothing_and_numbers_stay_in_bounds(id: str) -> None:
    env = make(id)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)
    for seed in range(2):
        observation, info = env.reset(seed=seed)
        for action in actions(env, env.horizon, seed):
            assert env.observation_space.contains(observation)
            observation, reward, terminated, truncated, info = env.step(action)
            assert np.isfinite(reward) and info["distance"] > 0
            assert [type(flag) for flag in (terminated, truncated, info["success"])] == [bool] * 3
            if terminated:
                break
        assert truncated is not terminated, "the horizon ends what nothing else ended"


@every_task
def test_entries_are_what_an_observation_holds(id: str) -> None:
    env = make(id)
    assert sum(entry.size for entry in env.entries) == env.observation_space.shape[0]
    assert all(entry.meaning and entry.unit for entry in env.entries)


@every_task
def test_dense_rewards_are_sparse_ones_less_a_cost_and_augmented_ones_are_lower_still(id: str) -> None:
    rewards, ends = [], []
    for mode in ("sparse", "dense", "augmented"):
        env = make(id, reward=mode)
        env.reset(seed=1)
        trace = []
        for action in actions(env, 20):
            trace.append(env.step(action)[1:4])
            if any(trace[-1][1:]):
                break
        rewards.append([step[0] for step in trace])
        ends.append([step[1:] for step in trace])
    sparse, dense, augmented = map(np.array, rewards)
    assert ends[0] == ends[1] == ends[2]
    assert (dense < sparse).all() and (augmented <= dense).all() and (augmented < dense).any()
    assert (sparse - dense < 1.5).all(), "a cost is about 1 at most"


@every_task
def test_the_same_seed_is_the_same_episode_in_every_environment(id: str) -> None:
    env, other = make(id), make(id)
    other.reset(seed=5)
    for action in actions(other, 5):
        other.step(action)
    firsts = []
    for seed in (3, 4, 3):
        one, two = env.reset(seed=seed)[0], other.reset(seed=seed)[0]
        assert equal(one, two)
        firsts.append(one)
        for action in actions(env, 6, seed):
            one, two = env.step(action), other.step(action)
            assert equal(one[0], two[0]) and one[1:4] == two[1:4]
    assert equal(firsts[0], firsts[2]) and not equal(firsts[0], firsts[1])


VARIANTS = [
    *((id, {}) for id in IDS),
    *((id, {"randomize": RANGES}) for id in GENERAL),
    *((id, {"goal_conditioned": True, "randomize": RANGES}) for id in GOALS),
    ("Lift-v0", {"objects": "held-out"}),
    ("Push-v0", {"objects": "held-out", "randomize": RANGES}),
    ("Lift-v0", {"control": "joint_position"}),
]


@pytest.mark.parametrize(("id", "options"), VARIANTS, ids=[f"{id}-{'-'.join(o)}" for id, o in VARIANTS])
def test_a_state_restores_the_middle_of_an_episode_bit_for_bit(id: str, options: dict[str, Any]) -> None:
    env, other = make(id, **options), make(id, **options)
    for seed in (3, 4):
        env.reset(seed=seed)
        other.reset(seed=77)
        for action in actions(env, 6, seed):
            env.step(action)
        state = env.get_state()
        after = [env.step(action) for action in actions(env, 6)]  # before the state is used
        other.set_state(state)
        for one, action in zip(after, actions(env, 6), strict=True):
            two = other.step(action)
            assert equal(one[0], two[0]) and one[1:4] == two[1:4], (id, options)
        assert equal(env.reset()[0], other.reset()[0]), "the generators too"


@pytest.mark.parametrize("id", ["Stack-v0", "Peg-v0"])
def test_a_restored_object_that_moves_is_not_taken_for_one_that_lies_still(id: str) -> None:
    env, other = make(id), make(id)
    env.reset(seed=0), other.reset(seed=1)
    env.last = np.array([0.5, 0.1, 0.2])
    other.set_state(env.get_state())
    np.testing.assert_array_equal(other.last, env.last)


# Rewards and ends by hand

SIZES = np.array([0.02, 0.02, 0.03])
HIGH = 0.4 * tanh(0.8)
THINGS = replace(AT_REST, object_half=SIZES)
TAKEN = replace(HELD, object_half=SIZES)
CUBES = replace(THINGS, object_half=np.full(3, 0.02), others=np.array([[0.65, 0.0, -0.1]]))
GOAL = np.array([0.65, 0.0, -0.1])
CARRY, PEG_CARRY = 0.28 * 0.072 + 0.02, 0.55 * 0.072 + 0.02  # m above its place of a cube, of a peg


def at(readings: Readings, *place: float, **others: Any) -> Readings:
    """The object there, in the hand if it is held."""
    where = np.array(place)
    tool = where if readings.proximity else readings.tool_position
    return replace(readings, object_position=where, tool_position=tool, **others)


def play(id: str, *instants: Readings, **options: Any) -> Any:
    """The task on these instants, with as many objects as it has."""
    others = np.zeros((len(CLUTTER) - 1, 3)) if id == "Clutter-v0" else CUBES.others
    script = [replace(each, others=others) for each in instants]
    return scripted(id, *script, first=replace(CUBES, others=others), **options)[0]


def on_its_way(x: float, up: float, carry: float) -> float:
    """The way of an object ``x`` beside and ``up`` above its place."""
    target = min(carry, 2 * x)
    return x + abs(up - target) + target


CUBE_HELD = replace(HELD, object_half=CUBES.object_half, others=CUBES.others)
PEG_HELD = replace(HELD, object_half=np.array([0.012, 0.012, 0.04]))
COSTS = [
    # task, what it remembers, instant, cost
    ("Reach-v0", {}, AT_REST, 0.2),
    ("Reach-v0", {}, replace(AT_REST, tool_position=np.array([0.55, 0.0, 0.0])), 0.1),
    ("Push-v0", {"goal": GOAL}, THINGS, 0.3 * tanh(4 * np.hypot(0.035, 0.2)) + 0.7 * tanh(0.4)),
    ("Push-v0", {"goal": GOAL}, at(TAKEN, 0.6, 0, -0.1), 0.3 * tanh(4 * 0.035) + 0.7 * tanh(0.2)),
    ("PickAndPlace-v0", {"goal": GOAL}, THINGS, 0.25 * tanh(0.8) + 0.25 + 0.5 * tanh(0.4)),
    ("PickAndPlace-v0", {"goal": GOAL}, at(TAKEN, 0.6, 0, -0.1), 0.5 * tanh(0.2)),
    ("PickAndPlace-v0", {"goal": GOAL}, at(TAKEN, *GOAL), 0.0),
    ("Drawer-v0", {}, AT_REST, 0.5 * tanh(0.8) + 0.5),
    ("Drawer-v0", {}, replace(HELD, fixture=0.5), 0.25),
    ("Button-v0", {}, replace(HELD, fixture=1.0), 0.0),
    ("Clutter-v0", {"rest_height": -0.1}, AT_REST, 0.4 * tanh(0.8) + 0.25 + 0.35),
    ("Clutter-v0", {"rest_height": -0.1}, at(HELD, 0.55, 0, -0.06), 0.175),
    (
        "Stack-v0",
        {},
        CUBES,
        0.2 * tanh(0.8) + 0.2 + 0.6 * tanh(3 * on_its_way(0.1, -0.04, CARRY)),
    ),
    ("Stack-v0", {}, at(CUBE_HELD, 0.65, 0, -0.03), 0.6 * tanh(3 * 0.03)),
    ("Stack-v0", {}, at(CUBE_HELD, 0.65, 0, -0.06), 0.1),
    ("Stack-v0", {}, at(CUBES, 0.65, 0, -0.06), 0.0),
    (
        "Peg-v0",
        {"base": np.array([0.65, 0, -0.12])},
        at(PEG_HELD, 0.55, 0, -0.02),
        0.6 * tanh(3 * on_its_way(0.1, 0.06, PEG_CARRY)),
    ),
    ("Peg-v0", {"base": np.array([0.65, 0, -0.12])}, at(PEG_HELD, 0.65, 0, -0.08), 0.1),
]


@pytest.mark.parametrize(("id", "remembered", "readings", "cost"), COSTS)
def test_the_cost_of_a_step_by_hand(
    id: str, remembered: dict[str, Any], readings: Readings, cost: float
) -> None:
    env = play(id, readings)
    vars(env).update(remembered)
    assert env.cost(readings) == pytest.approx(cost)
    for mode, reward in {"sparse": 0.0, "dense": -cost}.items():
        env.reward_mode = mode
        assert env.reward(readings, False) == pytest.approx(reward)
        assert env.reward(readings, True) == pytest.approx(reward + 10.0)
    env.reward_mode = "augmented"
    touching = env.reward(replace(readings, table_contact=True), False)
    assert touching == pytest.approx(env.reward(readings, False) - 0.05)


HALF_OPEN, OPEN = (replace(AT_REST, fixture=far) for far in (0.79, 0.81))
NEAR = np.array([0.63, 0.0, -0.1])  # 2 cm from GOAL
ON_TOP = at(CUBES, 0.655, 0, -0.06)
PEG_DOWN = at(replace(AT_REST, object_half=np.array([0.012, 0.012, 0.04])), 0.65, 0, -0.075)
BASE = {"base": np.array([0.65, 0, -0.12])}
ENDS = [
    # task, what it remembers, instants, whether the last one is a success
    ("Reach-v0", {}, [at(AT_REST, 0.55, 0, 0.081)], True),
    ("Reach-v0", {}, [at(AT_REST, 0.55, 0, 0.079)], False),
    ("Push-v0", {"goal": GOAL}, [at(THINGS, *NEAR)], True),
    ("Push-v0", {"goal": GOAL}, [at(THINGS, 0.62, 0, -0.1)], False),
    ("PickAndPlace-v0", {"goal": GOAL}, [at(TAKEN, *NEAR)], True),
    ("PickAndPlace-v0", {"goal": GOAL}, [at(TAKEN, 0.65, 0, -0.07)], False),
    ("Drawer-v0", {}, [HALF_OPEN], False),
    ("Drawer-v0", {}, [OPEN], True),
    ("Button-v0", {}, [OPEN], True),
    ("Stack-v0", {}, [ON_TOP, ON_TOP], True),
    ("Stack-v0", {}, [ON_TOP], False),  # it has only just come there
    ("Stack-v0", {}, [replace(ON_TOP, left_contact=True)] * 2, False),
    ("Stack-v0", {}, [at(CUBES, 0.675, 0, -0.06)] * 2, False),
    ("Stack-v0", {}, [at(CUBES, 0.655, 0, -0.05)] * 2, False),
    ("Peg-v0", BASE, [PEG_DOWN, PEG_DOWN], True),
    ("Peg-v0", BASE, [replace(PEG_DOWN, right_contact=True)] * 2, False),
    ("Peg-v0", BASE, [at(PEG_DOWN, 0.65, 0, -0.06)] * 2, False),  # 20 mm above the bottom
    ("Peg-v0", BASE, [at(PEG_DOWN, 0.62, 0, -0.08)] * 2, False),  # beside the hole
    ("Clutter-v0", {}, [at(HELD, 0.55, 0, -0.01)] * 3, True),
    ("Clutter-v0", {}, [at(HELD, 0.55, 0, -0.01)] * 2, False),
]


@pytest.mark.parametrize(("id", "remembered", "instants", "success"), ENDS)
def test_success_by_hand(
    id: str, remembered: dict[str, Any], instants: list[Readings], success: bool
) -> None:
    env = play(id, *instants, reward="sparse")
    vars(env).update(remembered)
    for _ in instants:
        _, reward, terminated, _, info = env.step(np.zeros(env.action_space.shape))
    assert (terminated, info["success"], reward) == (success, success, 10.0 if success else 0.0)


@every_task
def test_an_object_that_falls_ends_the_tasks_that_have_one(id: str) -> None:
    fallen = replace(CUBES, object_position=np.array([0.2, 0.0, -0.3]))
    env = play(id, fallen, reward="sparse")
    _, reward, terminated, _, info = env.step(np.zeros(env.action_space.shape))
    fixed = id in ("Drawer-v0", "Button-v0")  # where nothing can fall
    assert (terminated, reward, info["success"]) == ((False, 0.0, False) if fixed else (True, -10.0, False))


# Scripts


def success_rate(env: Any, episodes: int, act: Any, first: int = 1000) -> float:
    won = 0
    for seed in range(first, first + episodes):
        env.reset(seed=seed)
        done = False
        while not done:
            _, _, terminated, truncated, info = env.step(act())
            done = terminated or truncated
        won += info["success"]
    return won / episodes


@pytest.mark.parametrize("id", GENERAL)
def test_the_expert_does_it_nearly_always(id: str) -> None:
    env = make(id)
    assert success_rate(env, 40, Expert(env).act) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("id", GENERAL)
def test_chance_does_not_do_it(id: str) -> None:
    env = make(id)
    env.action_space.seed(0)
    assert success_rate(env, 100, env.action_space.sample) <= 0.02


# Another robot


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_arm(tmp_path_factory.mktemp("robot"))


@pytest.mark.parametrize("id", ["Reach-v0", "Grasp-v0", "Lift-v0", "Push-v0"])
def test_the_expert_does_it_with_another_robot(arm: str, id: str) -> None:
    env = make(id, robot=arm)
    assert success_rate(env, 5, Expert(env).act) == 1.0


def test_lengths_are_in_units_of_the_arms_size(arm: str) -> None:
    env = make("Push-v0", robot=arm)
    size = find_robot(arm).size
    assert size == env.size and not 0.9 < size < 1.1 and make("Push-v0").size == 1.0
    observation, _ = env.reset(seed=0)
    now, J = env.readings, env.arm.joints
    expected = [
        *now.joint_positions,
        *now.joint_velocities,
        *now.object_position / size,
        *now.tool_position / size,
        *5 * (now.object_position - now.tool_position) / size,
    ]
    np.testing.assert_allclose(observation[: 2 * J + 9], expected, atol=1e-6)
    np.testing.assert_allclose(observation[-6:-3], env.goal / size, atol=1e-6)
    np.testing.assert_allclose(observation[-3:], 5 * (env.goal - now.object_position) / size, atol=1e-5)
    way = env.goal - now.object_position
    far = float(np.linalg.norm(way))
    behind = now.object_position - (now.object_half[:2].max() + 0.015 * size) * way / far
    to_it = np.linalg.norm(now.tool_position - behind) / size
    assert env.cost(now) == pytest.approx(0.3 * tanh(4 * to_it) + 0.7 * tanh(4 * far / size))


# What stands on the table


@pytest.mark.parametrize("id", ["Push-v0", "Stack-v0", "Clutter-v0", "Peg-v0"])
def test_things_and_goals_keep_their_distance(id: str) -> None:
    env = make(id)
    region = env.backend.workplace.target_region
    least = 0.10 if id == "Push-v0" else APART
    for seed in range(20):
        env.reset(seed=seed)
        goal = [env.goal] if id == "Push-v0" else [env.base] if id == "Peg-v0" else []
        spots = np.array([env.readings.object_position, *env.readings.others, *goal])[:, :2]
        gaps = np.linalg.norm(spots[:, None] - spots, axis=-1)[np.triu_indices(len(spots), 1)]
        assert len(spots) == (len(CLUTTER) if id == "Clutter-v0" else 2)
        assert gaps.min() > least - 1e-3, (seed, gaps.min())
        assert ((spots > region[:, 0] - 1e-3) & (spots < region[:, 1] + 1e-3)).all()


def test_the_widest_things_of_a_scene_do_not_overlap(arm: str) -> None:
    """The block of a small arm's peg is wide against the arm."""
    for env in (make("Peg-v0"), make("Peg-v0", robot=arm)):
        scene = env.scenes[0]
        radii = [float(np.hypot(*thing.half[:2])) for thing in (scene.objects[0], scene.fixture)]
        for seed in range(20):
            env.reset(seed=seed)
            gap = np.linalg.norm((env.readings.object_position - env.base)[:2])
            assert gap > sum(radii) - 1e-3 and gap > APART * env.size - 1e-3
        wide = replace(scene.fixture, half=(0.09, 0.0, 0.02))
        env.scenes = (replace(scene, fixture=wide),)
        here = env.readings.object_position[:2]
        for _ in range(30):
            assert np.linalg.norm(env.free_spots(1, here)[0] - here) >= 0.09 + radii[0]


@pytest.mark.parametrize("id", ["Peg-v0", "Drawer-v0", "Button-v0"])
def test_a_fixture_stands_where_the_episode_puts_it(id: str) -> None:
    env = make(id)
    places = set()
    for seed in range(3):
        env.reset(seed=seed)
        body = env.backend.data.body("fixture")
        places.add(tuple(body.xpos.round(3)))
        assert body.xpos[2] == pytest.approx(-0.12)
        if id == "Peg-v0":
            np.testing.assert_allclose(body.xpos, env.base, atol=1e-9)
        else:
            expected = body.xpos + body.xmat.reshape(3, 3) @ env.scenes[0].fixture.handle
            np.testing.assert_allclose(env.readings.object_position, expected, atol=1e-9)
    assert len(places) == 3


def test_the_named_object_of_clutter_differs_and_is_the_one_observed() -> None:
    env = make("Clutter-v0")
    named = set()
    for seed in range(20):
        env.reset(seed=seed)
        scene = env.backend._now.scene
        named.add(scene.objects[0].name)
        np.testing.assert_allclose(env.readings.object_half, scene.objects[0].half)
        np.testing.assert_allclose(env.readings.object_position, env.backend.data.body("object").xpos)
        np.testing.assert_allclose(env.readings.others[2], env.backend.data.body("object4").xpos)
    assert named == set(CLUTTER)


def test_random_objects_change_with_the_episode_and_are_compiled_once() -> None:
    env = make("Lift-v0", objects="random")
    assert len(env.scenes) == 100
    seen = {}
    for seed in range(30):
        env.reset(seed=seed)
        seen.setdefault(env.backend._scene, env.backend.model)
        assert seen[env.backend._scene] is env.backend.model
        assert env.readings.object_half == pytest.approx(env.backend._now.scene.objects[0].half)
    assert 20 < len(seen) <= 30 and len(env.backend._parts) <= len(seen) + 1


def hold(env: Any, force: tuple[float, float, float], steps: int) -> float:
    """How far the fixture is moved (0 … 1) after a force (N, in the fixture's frame) on its moving part."""
    data, moving = env.backend.data, env.backend.model.body("fixture/moving").id
    turn = data.body("fixture").xmat.reshape(3, 3)
    data.xfrc_applied[moving, :3] = turn @ force
    for _ in range(steps):
        env.step(np.zeros(env.action_space.shape))
    return env.readings.fixture


def test_a_drawer_opens_when_it_is_pulled_and_stays() -> None:
    env = make("Drawer-v0")
    env.reset(seed=0)
    assert env.readings.fixture == 0.0
    assert hold(env, (0.3, 0, 0), 5) < 0.01 and hold(env, (-0.3, 0, 0), 5) < 0.01, "its friction holds it"
    opened = hold(env, (-3.0, 0, 0), 4)
    assert opened > 0.3
    rest = hold(env, (0, 0, 0), 10)
    assert rest >= opened and hold(env, (0, 0, 0), 10) == pytest.approx(rest, abs=0.01)
    assert hold(env, (-3.0, 0, 0), 20) > 0.98 and hold(env, (3.0, 0, 0), 30) < 0.02


def test_the_drawers_handle_is_further_off_for_a_hand_that_is_wide_for_its_arm(arm: str) -> None:
    env, other = make("Drawer-v0"), make("Drawer-v0", robot=arm)
    assert env.gap == 0.044 and other.gap > 1.1 * env.gap
    assert success_rate(other, 3, Expert(other).act) == 1.0


def test_a_button_springs_back() -> None:
    env = make("Button-v0")
    env.reset(seed=0)
    assert hold(env, (0, 0, 0), 10) < 0.02
    assert 0.3 < hold(env, (0, 0, -2.0), 10) < 0.8, "a spring of 200 N/m"
    assert hold(env, (0, 0, -5.0), 10) > 0.95
    assert hold(env, (0, 0, 0), 10) < 0.02


def test_a_peg_falls_into_its_hole_and_is_done() -> None:
    env = make("Peg-v0")
    env.reset(seed=0)
    backend = env.backend
    address = backend.model.joint("object").qposadr[0]
    backend.data.qpos[address : address + 3] = np.add(env.base, (0.0, 0.0, 3.0 * env.deep))
    backend.data.qpos[address + 3 : address + 7] = 1, 0, 0, 0
    for _ in range(20):
        _, _, terminated, _, info = env.step(np.append(np.zeros(env.arm.joints), 1.0))
        if terminated:
            break
    assert info["success"] and env.readings.object_position[2] < env.base[2] + 1.4 * env.deep


def test_friction_between_object_and_table_is_the_objects() -> None:
    env = make("Push-v0", objects="random")
    env.reset(seed=0)
    model, data = env.backend.model, env.backend.data
    of_object = env.objects[env.backend._scene].shapes[0].friction
    touching = [contact for contact in data.contact if model.geom("table").id in contact.geom]
    assert touching and of_object != 1.0
    for contact in touching:
        assert contact.friction[0] == pytest.approx(of_object)
