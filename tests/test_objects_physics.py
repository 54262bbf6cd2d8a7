"""Objects in MuJoCo: that they rest, stop rolling, and that fingers which come from above lift them."""

import time
from dataclasses import replace

import gripper
import mujoco
import numpy as np
import pytest
import solids

from envs.backends.mujoco.objects import add_to
from envs.objects.library import NAMED, find_objects
from envs.objects.primitives import roll, sphere

WIDTH = gripper.WIDTH
ALL = find_objects("random", WIDTH) + find_objects("held-out", WIDTH)
ONE_OF_EACH = [find_objects(name, WIDTH)[0] for name in NAMED]


def moved(thing, drop=0.001, seconds=1.0, push=0.0):
    """m and degrees between where an object is put and where it is after a time, and its speed then."""
    model = gripper.scene(thing)
    data = mujoco.MjData(model)
    gripper.place(model, data, "object", (0, 0), thing.rest_height + drop)
    data.qvel[1] = push
    mujoco.mj_step(model, data, round(seconds / gripper.TIMESTEP))
    body = data.body("object")
    angle = 2 * np.degrees(np.arccos(min(abs(body.xquat[0]), 1.0)))
    distance = np.linalg.norm(body.xpos - [0, 0, thing.rest_height])
    return distance, angle, np.linalg.norm(data.qvel[:3])


def test_the_box_is_the_one_that_the_sawyers_policies_were_trained_on():
    spec = mujoco.MjSpec()
    add_to(spec, find_objects("box", 0.072)[0], "object", looks=False)
    box = spec.compile().geom("object")
    assert box.size.tolist() == [0.02, 0.02, 0.03] and box.friction.tolist() == [1.0, 0.005, 0.0001]
    assert (box.contype[0], box.conaffinity[0], box.condim[0], box.priority[0]) == (2, 1, 3, 0)
    assert spec.compile().body("object").mass[0] == 0.1


def test_everything_rests_where_it_is_put_within_a_second():
    for thing in ALL + tuple(ONE_OF_EACH):
        distance, angle, speed = moved(thing)
        assert distance < 0.003 and angle < 3 and speed < 0.01, (thing.name, distance, angle, speed)


def test_nothing_creeps():
    for thing in ONE_OF_EACH:
        after_one, after_six = moved(thing)[0], moved(thing, seconds=6.0)[0]
        assert abs(after_six - after_one) < 0.001, thing.name


@pytest.mark.parametrize("thing", [sphere(0.015, 0.03), sphere(0.027, 0.3), roll(0.015, 0.03, 0.03)])
def test_what_is_pushed_stops_rolling_within_a_second(thing):
    distance, _, speed = moved(thing, drop=0.0, push=0.2)
    assert 0.002 < distance < 0.1 and speed < 1e-3


def test_models_have_the_mass_of_the_object_and_a_compile_is_quick():
    began = time.perf_counter()
    for thing in ALL:
        model = gripper.scene(thing)
        assert model.body("object").mass == pytest.approx(thing.mass)
        assert (model.body("object").inertia > 0).all()
    assert time.perf_counter() - began < 0.05 * len(ALL)


def test_fingers_lift_at_least_95_percent_of_the_sets():
    lost = [thing.name for i, thing in enumerate(ALL) if not gripper.lifts(thing, turns=i // 10 % 4)]
    assert len(lost) <= 0.05 * len(ALL), lost


@pytest.mark.parametrize("thing", ONE_OF_EACH, ids=lambda thing: thing.name)
def test_fingers_lift_one_of_each_on_all_its_sides(thing):
    assert all(gripper.lifts(thing, turns) for turns in range(max(thing.sides, 2)))


@pytest.mark.parametrize("width", [0.05, 0.11])
def test_fingers_of_other_grippers_lift_their_sets(width):
    things = find_objects("held-out", width)
    assert np.mean([gripper.lifts(thing, width=width) for thing in things]) >= 0.95


def test_the_gripper_of_these_tests_can_lose_an_object():
    (box,) = find_objects("box", WIDTH)
    assert not gripper.lifts(replace(box, mass=20.0))
    assert not gripper.lifts(replace(box, shapes=(box.shapes[0].moved((0, 0.1, 0)),)))


def test_a_ray_from_above_through_the_grasp_point_meets_the_object():
    for thing in ALL + tuple(ONE_OF_EACH):
        model = gripper.scene(thing)
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        met = np.zeros(1, np.int32)
        mujoco.mj_ray(model, data, np.array([0, 0, 0.5]), np.array([0, 0, -1.0]), None, 1, -1, met)
        assert model.geom_bodyid[met[0]] == model.body("object").id, thing.name


@pytest.mark.parametrize("meets_others", [True, False])
def test_objects_meet_each_other_only_where_they_are_to(meets_others):
    spec = mujoco.MjSpec()
    for name in ("object", "other"):
        add_to(spec, ONE_OF_EACH[0], name, looks=False, meets_others=meets_others)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    assert (data.ncon > 0) == meets_others


def test_looks_change_neither_joints_nor_mass():
    for thing in ONE_OF_EACH:
        bare, drawn = gripper.scene(thing), gripper.scene(thing, looks=True)
        assert bare.nq == drawn.nq and drawn.ngeom == bare.ngeom + len(thing.shapes)
        for name in ("mass", "inertia", "ipos"):
            assert getattr(bare.body("object"), name) == pytest.approx(getattr(drawn.body("object"), name))
        assert drawn.mat("object").rgba[:3] == pytest.approx(thing.colour, abs=1e-6)


@pytest.mark.filterwarnings("ignore:.*convex hull")
@pytest.mark.parametrize("solid", [solids.block, solids.rod, solids.dumbbell])
def test_a_mesh_rests_and_is_lifted(tmp_path, solid):
    vertices, faces = solid()
    lying = solids.turned(vertices, roll=0.1, pitch=1.4, yaw=0.7)
    (thing,) = find_objects(str(solids.write_stl(tmp_path / "solid.stl", lying, faces)), WIDTH)
    distance, angle, _ = moved(thing)
    assert distance < 0.003 and angle < 3
    if solid is not solids.dumbbell:
        assert thing.half[1] == pytest.approx(thing.grasp_width / 2, abs=1.5e-3), "y is the fingers' line"
    model = gripper.scene(thing, looks=True)
    assert model.body("object").mass == pytest.approx(thing.mass)
    if solid is not solids.dumbbell or len(thing.shapes) > 1:  # a hull hides the dumbbell's middle
        assert gripper.lifts(thing)


def test_coacd_leaves_the_hole_of_a_ring_open(tmp_path):
    pytest.importorskip("coacd")
    path = solids.write_obj(tmp_path / "tube.obj", *solids.tube())
    (thing,), (again,) = find_objects(str(path), WIDTH), find_objects(str(path), WIDTH)
    assert len(thing.shapes) > 4 and thing.grasp_width < 0.02
    for one, other in zip(thing.shapes, again.shapes, strict=True):
        assert np.array_equal(one.mesh.vertices, other.mesh.vertices)
    assert gripper.lifts(thing)
