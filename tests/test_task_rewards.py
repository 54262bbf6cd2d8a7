"""Every task's rewards and ends, by hand."""

from __future__ import annotations

from dataclasses import replace
from math import tanh
from typing import Any

import numpy as np
import pytest
from tasks import IDS
from test_envs_logic import AT_REST, HELD, scripted

from envs import Readings
from envs.objects.library import CLUTTER

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
    ("Push-v0", {"goal": GOAL}, THINGS, 0.5 * tanh(6 * np.hypot(0.02, 0.2)) + 0.5 * tanh(0.4)),
    ("Push-v0", {"goal": GOAL}, at(TAKEN, 0.6, 0, -0.1), 0.5 * tanh(6 * 0.02) + 0.5 * tanh(0.2)),
    ("PickAndPlace-v0", {"goal": GOAL}, THINGS, 0.25 * tanh(0.8) + 0.75),
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
NEAR = np.array([0.61, 0.0, -0.1])  # 4 cm from GOAL
ON_TOP = at(CUBES, 0.655, 0, -0.06)
PEG_DOWN = at(replace(AT_REST, object_half=np.array([0.012, 0.012, 0.04])), 0.65, 0, -0.075)
BASE = {"base": np.array([0.65, 0, -0.12])}
ENDS = [
    # task, what it remembers, instants, whether the last one is a success
    ("Reach-v0", {}, [at(AT_REST, 0.55, 0, 0.081)], True),
    ("Reach-v0", {}, [at(AT_REST, 0.55, 0, 0.079)], False),
    ("Push-v0", {"goal": GOAL}, [at(THINGS, *NEAR)], True),
    ("Push-v0", {"goal": GOAL}, [at(THINGS, 0.59, 0, -0.1)], False),
    ("PickAndPlace-v0", {"goal": GOAL}, [at(TAKEN, *NEAR)], True),
    ("PickAndPlace-v0", {"goal": GOAL}, [at(TAKEN, 0.65, 0, -0.04)], False),
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


@pytest.mark.parametrize("id", IDS)
def test_an_object_that_falls_ends_the_tasks_that_have_one(id: str) -> None:
    fallen = replace(CUBES, object_position=np.array([0.2, 0.0, -0.3]))
    env = play(id, fallen, reward="sparse")
    _, reward, terminated, _, info = env.step(np.zeros(env.action_space.shape))
    fixed = id in ("Drawer-v0", "Button-v0")  # where nothing can fall
    assert (terminated, reward, info["success"]) == ((False, 0.0, False) if fixed else (True, -10.0, False))
