"""Schemas: of spaces, of rows, in JSON, and where a policy meets an environment."""

from collections import OrderedDict

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.spaces import Box, Discrete

from sac_dist.acting.observation import FlatObservation, check_policy_fits, schema_of
from sac_dist.data.schema import Field, Schema
from sac_dist.settings import ConfigError

ACTION = Box(-1, 1, (2,), np.float32)
PARTS = {
    "velocity": Box(-2, 2, (2,), np.float64),
    "door": Discrete(3),
    "camera": Box(0, 1, (2, 2), np.float32),
}
VALUES = {"velocity": np.array([5.0, 6.0]), "door": 1, "camera": np.arange(4, dtype=np.float32).reshape(2, 2)}


class Parts(gymnasium.Env):
    """Observes VALUES, its parts in the order of ``names``."""

    action_space = ACTION

    def __init__(self, names: list[str]) -> None:
        self.observation_space = spaces.Dict(OrderedDict((name, PARTS[name]) for name in names))

    def reset(self, *, seed=None, options=None):
        return {name: VALUES[name] for name in self.observation_space}, {}


SORTED, OWN = ["camera", "door", "velocity"], ["velocity", "camera", "door"]


@pytest.mark.parametrize("names", [SORTED, OWN])
def test_parts_lie_side_by_side_in_the_order_of_their_names(names):
    env = FlatObservation(Parts(names))
    observation, _ = env.reset()
    assert observation.dtype == np.float32 and observation.tolist() == [0, 1, 2, 3, 0, 1, 0, 5, 6]
    assert (
        env.observation_space.high.tolist() == [1] * 7 + [2, 2] and env.observation_space.dtype == np.float32
    )
    schema = schema_of(gymnasium.wrappers.TimeLimit(env, 3))
    assert schema.places == {"camera": slice(0, 4), "door": slice(4, 7), "velocity": slice(7, 9)}
    assert (schema.observation_size, schema.action_size, schema.row_width) == (9, 2, 23)
    assert env.reordered == (names == OWN)


def test_a_policy_of_0_1_whose_environment_has_another_order_is_refused_in_a_line():
    vector = Schema.vector(9, 2)
    check_policy_fits(vector, FlatObservation(Parts(SORTED)), "Parts")
    with pytest.raises(
        ConfigError, match=r"order of Parts's \(camera, door, velocity\) has changed since"
    ) as caught:
        check_policy_fits(vector, FlatObservation(Parts(OWN)), "Parts")
    assert "\n" not in str(caught.value)
    check_policy_fits(schema_of(FlatObservation(Parts(SORTED))), FlatObservation(Parts(OWN)), "Parts")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (Schema.vector(8, 2), "the policy has 8 observations, Parts with these options has 9"),
        (Schema.vector(9, 3), "the policy has 3 actions"),
        (Schema((Field("camera", (4,)), Field("other", (5,))), 2), "camera 4, other 5.*is not that of Parts"),
    ],
)
def test_a_policy_of_another_schema_is_refused(schema, words):
    with pytest.raises(ConfigError, match=words):
        check_policy_fits(schema, FlatObservation(Parts(SORTED)), "Parts")


def test_rows_and_their_parts():
    schema = Schema.vector(3, 2)
    rng = np.random.default_rng(0)
    parts = {name: rng.normal(size=(4, *shape)).astype(np.float32) for name, shape in schema.shapes.items()}
    rows = schema.rows(parts)
    assert rows.shape == (4, schema.row_width) and rows.dtype == np.float32
    for name, view in schema.views(rows).items():
        np.testing.assert_array_equal(view, parts[name])
        assert view.base is not None
    rows[:, schema.columns["terminated"]] = [0, 1, 0, 1]
    rows[:, schema.columns["truncated"]] = [0, 0, 1, 1]
    assert schema.discounts(rows, 0.5).tolist() == [0.5, 0, 0.5, 0]
    assert schema.ended(rows).tolist() == [False, True, True, True]


def test_json_gives_the_schema_back():
    schema = schema_of(FlatObservation(Parts(OWN)))
    assert Schema.from_dict(schema.to_dict()) == schema
    assert str(schema) == "observation: camera 2×2, door 3, velocity 2; action: 2"


@pytest.mark.parametrize(
    "space",
    [
        Box(0, 255, (3, 64, 64), np.uint8),
        spaces.Dict({"inner": spaces.Dict({"camera": Box(0, 255, (8, 8), np.uint8)})}),
        spaces.Sequence(Discrete(2)),
    ],
)
def test_what_does_not_become_numbers_is_refused(space):
    with pytest.raises(ConfigError, match=r"picture|flatten"):
        Schema.from_spaces(space, ACTION)


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (Field("b", (1,)), Field("a", (1,))),
        (Field("a", (1,)),) * 2,
        (Field("a", (-2, -1)),),
        (Field("a", (0,)),),
    ],
)
def test_impossible_fields_are_refused(fields):
    with pytest.raises(ConfigError):
        Schema(fields, 1)
