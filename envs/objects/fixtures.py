"""What is fixed to the table: a drawer, a button, a block with a hole. Lengths in m for an arm of the
Sawyer's size, others get them scaled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from envs.objects.shape import Shape, Vector

HANDLE_GAP = 0.044  # m


@dataclass(frozen=True)
class Fixture:
    """Shapes that stand still, and shapes that slide along one axis. The frame's origin is on the table; at
    yaw 0 a drawer opens along -x, towards the arm.
    """

    name: str
    still: tuple[Shape, ...]
    handle: Vector  # what the hand goes to: on the moving part, or the mouth of the hole
    half: Vector  # half the lengths of the box around all of it
    sides: int = 0  # on how many sides of the handle, evenly spaced in yaw, the fingers' line fits along y
    moving: tuple[Shape, ...] = ()
    axis: Vector = (0.0, 0.0, 1.0)  # along which the moving part goes
    travel: float = 0.0  # m
    stiffness: float = 0.0  # N/m of the spring that pushes it back
    damping: float = 0.0  # N s/m
    friction_loss: float = 0.0  # N
    mass: float = 0.0  # kg of the moving part

    def scaled(self, size: float) -> Fixture:
        def vector(values: Vector) -> Vector:
            x, y, z = (size * value for value in values)
            return (x, y, z)

        def shapes(parts: tuple[Shape, ...]) -> tuple[Shape, ...]:
            return tuple(
                replace(part, size=tuple(size * value for value in part.size), position=vector(part.position))
                for part in parts
            )

        return replace(
            self,
            still=shapes(self.still),
            moving=shapes(self.moving),
            travel=size * self.travel,
            handle=vector(self.handle),
            half=vector(self.half),
        )


def box(half: Vector, centre: Vector) -> Shape:
    return Shape("box", half, centre)


def drawer(gap: float = HANDLE_GAP) -> Fixture:
    """A chest 24 cm wide and 10 cm high. The handle is a bar across, ``gap`` m before the front."""
    wall, width, depth, height = 0.006, 0.12, 0.09, 0.05
    chest = (
        box((depth, width, wall), (0, 0, wall)),
        box((depth, width, wall), (0, 0, 2 * height - wall)),
        box((depth, wall, height), (0, width - wall, height)),
        box((depth, wall, height), (0, wall - width, height)),
        box((wall, width, height), (depth - wall, 0, height)),
    )
    front = -depth - 0.006
    bar = front - gap
    tray = (
        box((0.006, width - 0.003, height - 0.004), (front, 0, height)),
        box((depth - 0.01, width - 0.02, 0.003), (0.0, 0, 0.02)),
        *(box((gap / 2, 0.005, 0.005), (front - gap / 2, side * 0.06, height)) for side in (-1, 1)),
        box((0.006, 0.065, 0.012), (bar, 0, height)),
    )
    return Fixture(
        name="drawer",
        still=chest,
        moving=tray,
        sides=2,
        axis=(-1, 0, 0),
        travel=0.12,
        damping=2.0,
        friction_loss=0.5,
        mass=0.3,
        handle=(bar, 0, height),
        half=(depth + 0.03, width, height),
    )


def button() -> Fixture:
    """A round button 5 cm across on a housing 4 cm high; a spring of 200 N/m pushes it up."""
    return Fixture(
        name="button",
        still=(box((0.05, 0.05, 0.02), (0, 0, 0.02)),),
        moving=(Shape("cylinder", (0.025, 0.015), (0, 0, 0.055)),),
        axis=(0, 0, -1),
        travel=0.018,
        stiffness=200.0,
        damping=4.0,
        mass=0.05,
        handle=(0, 0, 0.07),
        half=(0.05, 0.05, 0.035),
    )


def hole(half_width: float, clearance: float, half_height: float, wall: float) -> Fixture:
    """A block with a square hole, open above; ``clearance`` m beside a peg of ``half_width`` on each side.
    Its walls are 2 ``wall`` m thick.
    """
    inner = half_width + clearance
    outer = inner + 2 * wall
    block = (
        box((wall, outer, half_height), (inner + wall, 0, half_height)),
        box((wall, outer, half_height), (-inner - wall, 0, half_height)),
        box((inner, wall, half_height), (0, inner + wall, half_height)),
        box((inner, wall, half_height), (0, -inner - wall, half_height)),
    )
    return Fixture(name="hole", still=block, handle=(0, 0, 2 * half_height), half=(outer, outer, half_height))
