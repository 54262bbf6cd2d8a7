"""What every task observes, does and rewards, as Markdown, made from the code.

python -m envs.tasks.tables > docs/observations.md
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

import gymnasium
import numpy as np

import envs  # noqa: F401  (registers the tasks)
from envs.controllers import CONTROLLERS, GRIPPER
from envs.tasks import TASKS
from envs.tasks.goal_conditioned import HIGH, GoalTask
from envs.tasks.terms import OBJECT_SIZE, Term

HEAD = """# Observations and actions

`python -m envs.tasks.tables` makes this page from the code. The Sawyer has 7 joints, other arms have J.
"m / size" are metres divided by the arm's size, which is 1 for the Sawyer, so that a small arm's numbers are
as large; "5 x m / size" are five times that. The base frame is the robot's: x forward, y left, z up.

## Actions

All numbers are in -1 … 1; the last column says what 1 is. The option `control` chooses the arm's part, and in
tasks with a gripper to close its number follows.
"""
COMMON = """## Observations

Every task observes these first. Observations are cut to their range; only a collision or a falling object
comes near its ends. n is the number of the object's sides that the fingers fit (a box: 4).
"""
SEVERAL = """Where a task's object is one of several (`objects`, such as `random`), its size follows:
"""
BOOK = """With `observation="book"` a task observes these alone:
"""
COLUMNS = ("of the Sawyer", "with J joints", "meaning", "unit", "range")


def page() -> str:
    """All of docs/observations.md."""
    grasp = sawyer("Grasp-v0")
    several = sawyer("Grasp-v0", objects="random")
    assert several.entries[-1:] == OBJECT_SIZE
    common = rows(grasp)
    parts = [HEAD, actions(grasp), COMMON, table(COLUMNS, common)]
    parts += [SEVERAL, table(COLUMNS, rows(several)[len(common) :])]
    parts += [BOOK, table(COLUMNS, rows(sawyer("Grasp-v0", observation="book")))]
    ids: dict[str, list[str]] = {}
    for id, place in TASKS.items():
        ids.setdefault(place, []).append(id)
    return "\n".join([*parts, *(task(names, common) for names in ids.values())])


def actions(env: Any) -> str:
    lines = [
        (f"`{name}`" if first == 0 else "", index, *entry[:2])
        for name, controller in CONTROLLERS.items()
        for first, (index, entry) in enumerate(
            numbered(controller(env.arm, env.arm.start_poses["centre"]).entries)
        )
    ]
    return table(("`control`", "of the Sawyer", "meaning", "1 is"), [*lines, ("", "the last", *GRIPPER[:2])])


def task(ids: list[str], common: list[tuple[str, ...]]) -> str:
    """The section of one task, by its ids."""
    env = sawyer(ids[0])
    observed = rows(env)
    assert observed[: len(common)] == common
    own = observed[len(common) :]
    gripper = " and the gripper's" if env.gripper_action else ""
    count = f"{env.action_space.shape[0]} of the Sawyer by its joints"
    then = ", and then" if own else "."
    parts = [
        f"## {', '.join(ids)}\n\n{prose(type(env))}",
        "### Actions and observations\n",
        f"Actions: the arm's{gripper}, {count}. Observations: those of every task{then}\n",
    ]
    if own:
        parts.append(table(COLUMNS, own))
    if isinstance(env, GoalTask):
        parts.append(
            "With `goal_conditioned=True` they are the field `observation`, beside `achieved_goal` and "
            f"`desired_goal` (3 each, m / size, ±{HIGH:g}).\n"
        )
    return "\n".join(parts)


def sawyer(id: str, **options: Any) -> Any:
    return gymnasium.make(id, backend="mujoco", **options).unwrapped


def rows(env: Any) -> list[tuple[str, ...]]:
    """A row for each entry of its observations."""
    found: list[tuple[str, ...]] = []
    joints = rest = 0  # of the entries before: joints J + rest
    for index, entry in numbered(env.entries):
        first = number(joints, rest)
        if entry.size == env.arm.joints:  # 7; nothing else is of that many numbers
            joints += 1
        else:
            rest += entry.size
        general = span(first, number(joints, rest - 1))
        found.append((index, general, entry.meaning, entry.unit, bounds(entry)))
    return found


def numbered(entries: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    start = 0
    for entry in entries:
        yield span(str(start), str(start + entry.size - 1)), entry
        start += entry.size


def number(joints: int, rest: int) -> str:
    """``joints`` J + ``rest``."""
    if not joints:
        return str(rest)
    sign = f" + {rest}" if rest > 0 else f" - {-rest}" if rest else ""
    return f"{'' if joints == 1 else joints}J{sign}"


def span(first: str, last: str) -> str:
    return first if first == last else f"{first} … {last}"


def bounds(entry: Term) -> str:
    high = np.unique(np.broadcast_to(entry.bound, entry.size).round(2))
    return f"±{span(f'{high[0]:g}', f'{high[-1]:g}')}"


def prose(kind: type) -> str:
    """A class's docstring, its headings a level down, each paragraph a line."""
    names = {place.rpartition(":")[2]: id for id, place in reversed(TASKS.items())}
    text = (inspect.getdoc(kind) or "").replace("``", "`")
    text = re.sub(r":class:`(\w+)`", lambda found: names[found[1]], text)
    text = re.sub(r"^## ", "### ", text, flags=re.MULTILINE)
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text)) + "\n"


def table(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, ("---",) * len(head), *lines])


if __name__ == "__main__":
    print(page(), end="")
