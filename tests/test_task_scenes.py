"""What stands on the tasks' tables: where it is drawn, and how it moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from robot_files import write_arm
from tasks import make, success_rate

from envs.objects.library import CLUTTER
from envs.tasks.arm import APART
from envs.tasks.expert import Expert


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_arm(tmp_path_factory.mktemp("robot"))


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
