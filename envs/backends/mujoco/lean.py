"""What a policy's cameras see: the shapes that collide, in plain colours, so that a core draws hundreds a
second.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import mujoco
import numpy as np

from envs.backends.base import BackendError
from envs.backends.mujoco.parts import pads, robot_bodies
from envs.backends.mujoco.picture import Picture, open_renderer
from envs.backends.mujoco.world import object_name, world_spec
from envs.backends.views import room_views, wrist_view
from envs.objects.library import SAWYER_WIDTH, find_objects
from envs.objects.scene import Scene
from envs.robots.arm import Table
from envs.robots.card import RobotCard
from envs.robots.library import find_robot
from envs.robots.spec import robot_spec
from envs.robots.workplace import table_of

WOOD, METAL, RUBBER = (0.72, 0.55, 0.36), (0.60, 0.62, 0.66), (0.15, 0.15, 0.17)
FLOOR = (0.45, 0.47, 0.50)
PATTERN, FIELDS = 32, 8  # sides of the texture, in pixels and in fields of one colour
PATTERNED = ("table", "floor")
NOT_DRAWN = (
    mujoco.mjtRndFlag.mjRND_SHADOW,
    mujoco.mjtRndFlag.mjRND_REFLECTION,
    mujoco.mjtRndFlag.mjRND_SKYBOX,
    mujoco.mjtRndFlag.mjRND_HAZE,
    mujoco.mjtRndFlag.mjRND_FOG,
)


class LeanPicture(Picture):
    """Draws square pictures of ``size`` pixels from the cameras scene, closeup and wrist, and from the robot's own."""

    def __init__(self, card: RobotCard, scene: Scene, size: int) -> None:
        robot, table = robot_spec(card, looks=False, cameras=True), table_of(card)
        spec = world_spec(robot, card, table, scene, looks=False)
        own = {camera.name for camera in spec.cameras}
        for name, view in room_views(table.middle, card.size).items():
            if name not in own:
                turn = quaternion(view.rotation)
                spec.worldbody.add_camera(name=name, pos=view.place, quat=turn, fovy=view.angle)
        if "wrist" not in own:
            add_wrist(spec, card.size)
        add_lights(spec, table)
        add_pattern(spec)
        spec.visual.global_.offwidth = spec.visual.global_.offheight = size
        spec.visual.quality.offsamples = spec.visual.quality.shadowsize = 0
        super().__init__(scene, spec.compile())
        paint(self.model, scene)
        self._colours = self.model.geom_rgba.copy()
        self._depth = 0.0  # of the pattern that is drawn; without one no texture costs time
        self._patterned = [self.model.geom(name).id for name in PATTERNED]
        self.model.geom_matid[self._patterned] = -1
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 1

    def see(
        self, state: mujoco.MjData, cameras: tuple[str, ...], size: int, look: Mapping[str, float]
    ) -> dict[str, np.ndarray]:
        """(size, size, 3) uint8 of each camera; see BackendError of ``render``."""
        for camera in cameras:
            self._check(camera)
        if self._renderer is None:
            renderer = open_renderer(self.model, size, size)
            for flag in NOT_DRAWN:
                renderer.scene.flags[flag] = 0
            self._keep(renderer)
        self._change(look)
        self._pose(state)
        pictures = {}
        for camera in cameras:
            self._renderer.update_scene(self.data, camera, self._option)
            pictures[camera] = self._renderer.render().copy()
        return pictures

    def _check(self, camera: str) -> None:
        names = [self.model.camera(i).name for i in range(self.model.ncam)]
        if camera not in names:
            raise BackendError(f"there is no camera {camera!r}: choose from {', '.join(names)}")

    def _change(self, look: Mapping[str, float]) -> None:
        super()._change(look)
        if "colour" in look:
            # the number that was drawn is how far, and what draws which way
            random = np.random.default_rng(abs(int(look["colour"] * 2**40)))
            ways = random.uniform(-1.0, 1.0, (self.model.ngeom, 3))
            shades = self._colours[:, :3] + look["colour"] * ways[self._painted]
            self.model.geom_rgba[:, :3] = np.clip(shades, 0.0, 1.0)
        if (depth := look.get("texture", 0.0)) != self._depth:
            self._draw_pattern(depth)

    def _draw_pattern(self, depth: float) -> None:
        """Darken random fields of table and floor by up to ``depth``."""
        self._depth, texture = depth, self.model.texture("pattern").id
        self.model.geom_matid[self._patterned] = self.model.material("patterned").id
        fields = np.random.default_rng(int(depth * 2**40)).uniform(0.0, 1.0, (FIELDS, FIELDS, 3))
        pixels = np.kron(1.0 - depth * fields, np.ones((PATTERN // FIELDS, PATTERN // FIELDS, 1)))
        self.model.tex_data[-pixels.size :] = (255 * pixels).astype(np.uint8).ravel()
        self._renderer._gl_context.make_current()
        mujoco.mjr_uploadTexture(self.model, self._renderer._mjr_context, texture)

    @property
    def _painted(self) -> np.ndarray:
        """(geoms,) shapes of one colour change together."""
        _, which = np.unique(self._colours, axis=0, return_inverse=True)
        return np.asarray(which).ravel()


def add_wrist(spec: mujoco.MjSpec, size: float) -> None:
    tool, view = spec.site("tool"), wrist_view(size)
    inside, turn = np.zeros(3), np.zeros(4)
    orientation = tool.quat / np.linalg.norm(tool.quat)
    mujoco.mju_rotVecQuat(inside, view.place, orientation)
    mujoco.mju_mulQuat(turn, orientation, quaternion(view.rotation))
    tool.parent.add_camera(name="wrist", pos=tool.pos + inside, quat=turn, fovy=view.angle)


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """(4,) of (3, 3)."""
    turn = np.zeros(4)
    mujoco.mju_mat2Quat(turn, rotation.ravel())
    return turn


def add_lights(spec: mujoco.MjSpec, table: Table) -> None:
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = (0.42, 0.42, 0.42), (0.25, 0.25, 0.25)
    spec.visual.headlight.specular = (0, 0, 0)
    spec.visual.map.znear = 0.01
    spec.worldbody.add_light(
        pos=table.middle + np.array([0.9, -0.9, 2.5]),
        dir=(-0.3, 0.3, -1),
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        diffuse=(0.5, 0.5, 0.5),
        specular=(0, 0, 0),
        castshadow=False,
    )
    spec.worldbody.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        pos=(0, 0, table.floor),
        size=(4, 4, 1),
        contype=0,
        conaffinity=0,
        rgba=(*FLOOR, 1),
    )


def add_pattern(spec: mujoco.MjSpec) -> None:
    """A texture on table and floor, white until one is drawn."""
    spec.add_texture(
        name="pattern",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        rgb1=(1, 1, 1),
        width=PATTERN,
        height=PATTERN,
    )
    material = spec.add_material(name="patterned", texrepeat=(2, 2), specular=0, reflectance=0)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "pattern"
    for geom in spec.geoms:
        if geom.name in PATTERNED:
            geom.material = "patterned"


def paint(model: mujoco.MjModel, scene: Scene) -> None:
    """Robot, fingers, table and objects apart from each other."""
    colours = model.geom_rgba
    colours[np.isin(model.geom_bodyid, robot_bodies(model)), :3] = METAL
    colours[list(frozenset().union(*pads(model))), :3] = RUBBER
    colours[model.geom("table").id, :3] = WOOD
    for index, thing in enumerate(scene.objects):
        mine = model.geom_bodyid == model.body(object_name(index)).id
        alike = sum(other.colour == thing.colour for other in scene.objects[:index])
        colours[mine, :3] = np.roll(thing.colour, alike)  # so that one can tell which is the first


def measured(size: int = 64, frames: int = 100) -> float:
    """Pictures of the Sawyer's wrist that this machine draws a second; BackendError without OpenGL."""
    card = find_robot("sawyer")
    picture = LeanPicture(card, Scene(tuple(find_objects("box", SAWYER_WIDTH)[:1])), size)
    state = mujoco.MjData(picture.model)
    picture.see(state, ("wrist",), size, {})
    begin = time.perf_counter()
    for _ in range(frames):
        picture.see(state, ("wrist",), size, {})
    return frames / (time.perf_counter() - begin)
