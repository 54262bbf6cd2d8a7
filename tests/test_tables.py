"""docs/observations.md, which is made from the code."""

from pathlib import Path

import numpy as np
import pytest

from envs.controllers import CONTROLLERS, JointVelocity
from envs.robots.sawyer import SAWYER
from envs.tasks.tables import page, prose, rows, sawyer

PAGE = Path(__file__).parents[1] / "docs" / "observations.md"


def test_the_page_is_what_the_code_prints():
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m envs.tasks.tables > docs/observations.md"


def test_the_rows_name_every_number_of_an_observation_with_any_joints():
    env = sawyer("Clutter-v0")
    found = rows(env)
    assert found[-1][:2] == ("31 … 42", "2J + 17 … 2J + 28") and env.observation_space.shape == (43,)
    assert [row[1] for row in found[:3]] == ["0 … J - 1", "J … 2J - 1", "2J … 2J + 2"]


@pytest.mark.parametrize(("control", "size"), [*zip(CONTROLLERS, (7, 7, 4, 6), strict=True)])
def test_the_entries_of_an_action_are_as_many_as_its_numbers(control, size):
    env = sawyer("Lift-v0", control=control)
    assert sum(entry.size for entry in env.controller.entries) == size
    assert env.action_space.shape == (size + 1,), "and the gripper's"


def test_an_action_of_1_is_what_the_table_says():
    (entry,) = JointVelocity(SAWYER, np.zeros(7)).entries
    assert "1 rad/s of the Sawyer" in entry.unit and (SAWYER.max_velocity == 1.0).all()
    assert SAWYER.tool_speed == 0.4


def test_a_docstring_becomes_paragraphs_with_the_tasks_ids():
    class Own:
        """One
        line.

        ## End

        As in :class:`LiftEnv`, ``horizon``.
        """

    assert prose(Own) == "One line.\n\n### End\n\nAs in Lift-v0, `horizon`.\n"
