"""Objects as data: sets, names, users' files."""

import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
import solids

from envs.backends.base import BackendError
from envs.objects.compounds import hammer
from envs.objects.generator import FAMILIES, FRICTION, HEAVIEST, LIGHTEST, NARROW, WIDE, object_set
from envs.objects.library import NAMED, find_objects
from envs.objects.mesh_files import read_mesh
from envs.objects.meshes import settled
from envs.objects.shape import Mesh, Object, Shape

WIDTH = 0.072


@pytest.fixture
def without_coacd(monkeypatch):
    monkeypatch.setitem(sys.modules, "coacd", None)


def test_the_sets_are_as_large_as_promised_and_no_two_objects_are_equal():
    training, held_out = find_objects("random", WIDTH), find_objects("held-out", WIDTH)
    assert (len(training), len(held_out)) == (100, 30)
    assert len({(thing.shapes, thing.mass) for thing in training + held_out}) == 130
    for things in (training, held_out):
        assert {thing.name.split("_")[0] for thing in things} == set(FAMILIES)
        assert len({thing.name for thing in things}) == len(things)


@pytest.mark.parametrize("width", [0.05, WIDTH, 0.11])
def test_every_object_of_the_sets_is_in_the_ranges(width):
    for thing in find_objects("random", width) + find_objects("held-out", width):
        assert NARROW * width <= thing.grasp_width <= WIDE * width, thing.name
        assert LIGHTEST <= thing.mass <= HEAVIEST
        assert all(FRICTION[0] <= shape.friction <= FRICTION[1] for shape in thing.shapes)
        assert all(0 <= part <= 1 for part in thing.colour)
        assert thing.rest_height > 0.2 * width, f"{thing.name}: fingers touch the table before they are there"


def test_fingers_have_room_beside_the_head_of_a_hammer_and_the_bar_of_a_cross():
    finger = 0.2 * WIDTH  # half of a finger along the handle, with air
    heavy_head = hammer((0.04, 0.01, 0.018), 0.06, 0.0175, 0.1)  # its centre of mass is too near to the head
    for thing in (heavy_head, *find_objects("random", WIDTH), *find_objects("held-out", WIDTH)):
        if thing.name.startswith(("hammer", "cross")):
            handle, *others = thing.shapes
            assert handle.bounds[0, 0] < -finger and handle.bounds[1, 0] > finger, thing.name
            for other in others:
                assert other.bounds[0, 0] > finger or other.bounds[1, 0] < -finger, thing.name


def test_a_set_is_the_same_every_time_and_a_longer_one_begins_alike():
    assert object_set(7, 12, WIDTH) == object_set(7, 20, WIDTH)[:12]
    assert object_set(7, 12, WIDTH) != object_set(8, 12, WIDTH)


def test_objects_survive_pickling_and_can_be_keys():
    things = find_objects("held-out", WIDTH)
    assert [thing.rest_height for thing in things] and pickle.loads(pickle.dumps(things)) == things
    assert len(set(things)) == 30


@pytest.mark.parametrize(
    ("shape", "half", "volume"),
    [
        (Shape("box", (0.01, 0.02, 0.03)), (0.01, 0.02, 0.03), 4.8e-5),
        (Shape("sphere", (0.02,)), (0.02, 0.02, 0.02), 3.351e-5),
        (Shape("cylinder", (0.02, 0.03)), (0.02, 0.02, 0.03), 7.540e-5),
        (Shape("capsule", (0.02, 0.03)), (0.02, 0.02, 0.05), 1.0891e-4),
        (Shape("ellipsoid", (0.01, 0.02, 0.03)), (0.01, 0.02, 0.03), 2.513e-5),
        (Shape("mesh", (), mesh=Mesh(*solids.block((0.01, 0.02, 0.03)))), (0.01, 0.02, 0.03), 4.8e-5),
    ],
)
def test_bounds_and_volumes_also_when_turned(shape, half, volume):
    assert shape.bounds == pytest.approx(np.array([np.negative(half), half]))
    assert shape.volume == pytest.approx(volume, rel=0.02)  # the block's edges are rounded
    quarter_about_x = replace(shape, position=(1.0, 2.0, 3.0), quaternion=(0.5**0.5, 0.5**0.5, 0, 0))
    x, y, z = half
    assert quarter_about_x.bounds == pytest.approx(np.array([[1 - x, 2 - z, 3 - y], [1 + x, 2 + z, 3 + y]]))


def test_every_name_is_one_object_scaled_to_the_fingers():
    for name in NAMED:
        (thing,), (large,) = find_objects(name, WIDTH), find_objects(name, 2 * WIDTH)
        assert isinstance(thing, Object) and thing.name == name
        assert large.half == pytest.approx(2 * thing.half, rel=0.02)
        assert NARROW * WIDTH <= thing.grasp_width <= WIDE * WIDTH


@pytest.mark.parametrize("name", ["boxes", "", "cup.ply"])
def test_an_unknown_name_is_answered_with_those_known(name):
    with pytest.raises(BackendError, match=r"no object .*: choose box, cylinder, .*mug.*FILE\.stl") as caught:
        find_objects(name, WIDTH)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("write", [solids.write_obj, solids.write_stl])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_a_file_in_metres_or_in_millimetres_gives_the_same_object(tmp_path, without_coacd, write, scale):
    vertices, faces = solids.block()
    path = write(tmp_path / f"block.{write.__name__[-3:]}", vertices * scale, faces)
    with pytest.warns(UserWarning) as said:
        (thing,) = find_objects(str(path), WIDTH)
    assert thing.half == pytest.approx((0.04, 0.015, 0.02), abs=2e-4)
    assert thing.grasp_width == pytest.approx(0.03, abs=2e-4)
    notes = " ".join(str(note.message) for note in said)
    assert "convex hull" in notes and ("millimetres" in notes) == (scale == 1000.0)


def test_an_stl_of_text(tmp_path):
    vertices, faces = solids.block()
    facets = "\n".join(
        "facet normal 0 0 0\nouter loop\n"
        + "\n".join(f"vertex {x:.6e} {y:.6e} {z:.6e}" for x, y, z in vertices[face])
        + "\nendloop\nendfacet"
        for face in faces
    )
    (tmp_path / "block.stl").write_text(f"solid block\n{facets}\nendsolid block\n", encoding="utf-8")
    assert np.ptp(read_mesh(tmp_path / "block.stl").vertices, axis=0) == pytest.approx([0.08, 0.03, 0.04])
    (tmp_path / "cut.stl").write_text(f"solid block\n{facets}", encoding="utf-8")
    with pytest.raises(BackendError, match="not a whole STL"):
        read_mesh(tmp_path / "cut.stl")


def test_triangles_that_turn_inwards_are_turned(tmp_path):
    vertices, faces = solids.block()
    mesh = read_mesh(solids.write_obj(tmp_path / "inside.obj", vertices, faces[:, ::-1]))
    assert mesh.volume_and_centre[0] > 0


def test_quads_and_negative_numbers_of_an_obj(tmp_path):
    corners = "\n".join(f"v {x} {y} {z}" for x in (0, 0.03) for y in (0, 0.03) for z in (0, 0.03))
    quads = "f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf -8 -6 -2 -4\nf 2/1 6/2 8/3 4/4\n"
    (tmp_path / "cube.obj").write_text(f"{corners}\n{quads}", encoding="utf-8")
    volume, centre = read_mesh(tmp_path / "cube.obj").volume_and_centre
    assert volume == pytest.approx(0.03**3) and centre == pytest.approx(np.full(3, 0.015))


def test_a_tilted_mesh_is_laid_on_its_nearest_face():
    vertices, faces = solids.rod()
    mesh = settled(Mesh(solids.turned(vertices, roll=1.0, pitch=0.3), faces))
    assert np.ptp(mesh.vertices[:, 2]) == pytest.approx(0.03, abs=3e-4)
    standing = settled(Mesh(vertices, faces))
    assert np.ptp(standing.vertices[:, 2]) == pytest.approx(0.12, abs=1e-4), (
        "it stood, and is to stay as it was"
    )


def bad_files(folder):
    vertices, faces = solids.block()
    plate = np.array([[0, 0, 0], [0.05, 0, 0], [0, 0.05, 0]])
    yield "missing.obj", None, "cannot be read"
    yield "empty.obj", b"", "no triangles"
    yield "empty.stl", b"", "not a whole STL"
    yield "points.obj", b"v 0 0 0\nv 1 0 0\n", "no triangles"
    yield "words.obj", b"v a b c\n", "not a whole OBJ"
    yield "flat.obj", b"v 0 0\n", "not a whole OBJ"
    yield "beyond.obj", b"v 0 0 0\nf 1 2 3\n", "vertices that are not there"
    yield "cut.stl", solids.write_stl(folder / "x.stl", vertices, faces).read_bytes()[:-20], "not a whole STL"
    yield (
        "open.stl",
        solids.write_stl(folder / "x.stl", vertices, faces[len(faces) // 2 :]).read_bytes(),
        "not closed",
    )
    both = np.array([[0, 1, 2], [0, 2, 1]])
    yield "plate.stl", solids.write_stl(folder / "x.stl", plate, both).read_bytes(), "no volume"
    yield "metre.stl", solids.write_stl(folder / "x.stl", vertices * 15, faces).read_bytes(), "1.2 m long"
    yield "grain.stl", solids.write_stl(folder / "x.stl", vertices / 50, faces).read_bytes(), "0.0016 m long"
    yield (
        "wide.stl",
        solids.write_stl(folder / "x.stl", vertices * 5, faces).read_bytes(),
        "72 mm apart find no",
    )
    cube = solids.write_stl(folder / "x.stl", *solids.block((0.05, 0.05, 0.05))).read_bytes()
    yield "corner.stl", cube, "72 mm apart find no"  # not by a corner, which fingers slip off
    yield "nan.obj", solids.write_obj(folder / "x.obj", vertices * np.nan, faces).read_bytes(), "not finite"
    ball = solids.write_stl(folder / "x.stl", *solids.dumbbell()).read_bytes()
    yield "upright_dumbbell.stl", ball, "lay it down"


def test_bad_files_are_refused_in_a_line(tmp_path):
    for name, content, message in bad_files(tmp_path):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(BackendError) as caught:
            find_objects(str(tmp_path / name), WIDTH)
        text = str(caught.value)
        assert message in text and name in text and "\n" not in text, f"{name}: {text}"


def test_a_mesh_of_too_many_triangles_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("envs.objects.mesh_files.MOST_TRIANGLES", 10)
    path = solids.write_stl(tmp_path / "fine.stl", *solids.block())
    with pytest.raises(BackendError, match="at most 10"):
        find_objects(str(path), WIDTH)
