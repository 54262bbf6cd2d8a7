"""What is drawn anew each episode: each quantity changes what it says, and nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from tasks import RANGES

import envs
from envs import BackendError, OptionError
from envs.backends.mujoco.parts import RANDOMIZED
from envs.tasks.lag import Lag
from envs.tasks.randomization import QUANTITIES, Randomization
from sac_dist.acting.environment import make_env
from sac_dist.settings import ConfigError, EnvConfig

EVERYTHING = {**RANGES, "camera": [-0.05, 0.05], "light": [0.5, 1.5]}


def make(ranges: Any = None, id: str = "Lift-v0", **options: Any) -> Any:
    return gymnasium.make(id, backend="mujoco", randomize=ranges, **options).unwrapped


def constants(env: Any) -> dict[str, np.ndarray]:
    return {name: getattr(env.backend.model, name).copy() for name in RANDOMIZED}


def changes(name: str, factor: float, **options: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """An environment in which a quantity is ``factor``, and which entries of the model it multiplied by what."""
    usual = constants(make(**options))
    env = make({name: [factor, factor]}, **options)
    env.reset(seed=0)
    now = constants(env)
    return env, {
        key: np.divide(now[key], usual[key], out=np.ones_like(usual[key]), where=usual[key] != 0)
        for key in RANDOMIZED
    }


def places(array: np.ndarray, factor: float) -> set[int]:
    """The rows in which ``factor`` is found; elsewhere nothing may have changed."""
    assert np.isclose(array[array != 1], factor).all()
    return set(np.flatnonzero((array != 1).reshape(len(array), -1).any(axis=1)).tolist())


def test_masses_are_those_of_the_objects() -> None:
    env, ratio = changes("mass", 2.5, id="Stack-v0")
    bodies = {env.backend.model.body(name).id for name in ("object", "object2")}
    assert env.backend.model.body("object").mass == pytest.approx(0.25)
    for name in ("body_mass", "body_inertia"):
        assert places(ratio.pop(name), 2.5) == bodies
    assert all((array == 1).all() for array in ratio.values())


def test_friction_is_that_of_objects_and_fingers() -> None:
    env, ratio = changes("friction", 0.5)
    model = env.backend.model
    names = {"object", "left_pad", "right_pad"}
    assert places(ratio["geom_friction"], 0.5) == {model.geom(name).id for name in names}
    assert (ratio.pop("geom_friction")[:, 1:] == 1).all(), "the sliding one alone"
    assert all((array == 1).all() for array in ratio.values())
    for _ in range(3):
        env.step(np.append(np.zeros(7), 1.0))
    table = [contact for contact in env.backend.data.contact if model.geom("table").id in contact.geom]
    assert table and all(contact.friction[0] == pytest.approx(0.5) for contact in table)


def test_damping_is_that_of_the_arm() -> None:
    _, ratio = changes("damping", 3.0)
    assert places(ratio.pop("dof_damping"), 3.0) == set(range(7))
    assert all((array == 1).all() for array in ratio.values())


def test_gains_are_those_of_the_arms_servos() -> None:
    env, ratio = changes("gain", 0.25)
    for name in ("actuator_gainprm", "actuator_biasprm"):
        assert places(ratio.pop(name), 0.25) == set(env.backend._now.drive.actuators)
    assert all((array == 1).all() for array in ratio.values())


def test_weak_gains_are_felt() -> None:
    far = []
    for gain in (1.0, 0.02):
        env = make({"gain": [gain, gain]})
        env.reset(seed=0)
        before = env.readings.joint_positions
        for _ in range(5):
            env.step(np.append(np.eye(7)[1], 1.0))
        far.append((env.readings.joint_positions - before)[1])
    assert far[1] < 0.95 * far[0]


@pytest.mark.parametrize("delay", [0, 1, 2])
def test_an_action_takes_effect_after_exactly_so_many_steps(delay: int) -> None:
    env, plain = make({"action_delay": [delay, delay]}), make()
    env.reset(seed=0), plain.reset(seed=0)
    rng = np.random.default_rng(0)
    chosen = [rng.uniform(-1, 1, 8) for _ in range(6)]
    waiting = [np.append(np.zeros(7), 1.0)] * delay  # the hand stays open, the arm still
    for late, action in zip((waiting + chosen)[: len(chosen)], chosen, strict=True):
        one, two = env.step(action), plain.step(late)
        np.testing.assert_array_equal(one[0], two[0])
        assert one[1:4] == two[1:4]


@pytest.mark.parametrize("delay", [0, 1, 2])
def test_an_observation_is_exactly_so_many_steps_old(delay: int) -> None:
    env, plain = make({"observation_delay": [delay, delay]}), make()
    seen = [env.reset(seed=0)[0]]
    true = [plain.reset(seed=0)[0]]
    rng = np.random.default_rng(0)
    for _ in range(6):
        action = rng.uniform(-1, 1, 8)
        one, two = env.step(action), plain.step(action)
        seen.append(one[0])
        true.append(two[0])
        assert one[1:4] == two[1:4], "rewards are of the present"
    np.testing.assert_array_equal(seen, ([true[0]] * delay + true)[: len(seen)])


def test_a_lag_gives_what_went_in_before() -> None:
    lag = Lag(2, "first")
    assert [lag(value) for value in (1, 2, 3, 4)] == ["first", "first", 1, 2]


def test_noise_has_its_spread_and_stays_in_bounds() -> None:
    env, plain = make({"observation_noise": [0.01, 0.01]}, horizon=400), make(horizon=400)
    env.reset(seed=0), plain.reset(seed=0)
    still = np.append(np.zeros(7), 1.0)
    noise = []
    for _ in range(300):
        one, two = env.step(still)[0], plain.step(still)[0]
        assert env.observation_space.contains(one)
        noise.append(one - two)
    free = np.abs(plain.observed()) < 0.9 * env.observation_space.high  # not cut at the bound
    spread = np.std(noise, axis=0)[free]
    np.testing.assert_allclose(spread, 0.01, rtol=0.2)
    assert np.abs(np.mean(noise, axis=0)[free]).max() < 0.003


def test_camera_and_light_change_the_picture_and_only_that() -> None:
    pictures, ends = {}, {}
    try:
        for name, ranges in {
            "plain": None,
            "usual": {"camera": [0, 0], "light": [1, 1]},
            "camera": {"camera": [0.05, 0.05]},
            "dark": {"light": [0.3, 0.3]},
        }.items():
            env = make(ranges, render_mode="rgb_array", width=160, height=120)
            env.reset(seed=0)
            pictures[name] = env.render().astype(float)
            ends[name] = env.step(np.ones(8))[0]
            env.close()
    except BackendError as error:
        pytest.skip(str(error))
    assert all(np.array_equal(end, ends["plain"]) for end in ends.values())
    np.testing.assert_array_equal(pictures["usual"], pictures["plain"])
    assert np.abs(pictures["camera"] - pictures["plain"]).mean() > 3
    assert abs(pictures["camera"].mean() - pictures["plain"].mean()) < 5
    assert pictures["dark"].mean() < 0.8 * pictures["plain"].mean()


NEUTRAL = {name: [quantity.usual, quantity.usual] for name, quantity in QUANTITIES.items() if name != "gain"}


@pytest.mark.parametrize("id", ["SawyerLift-v0", "Push-v0"])
def test_usual_values_change_nothing_by_one_bit(id: str) -> None:
    env, plain = make(NEUTRAL | {"gain": [1, 1]}, id=id), make(id=id)
    first, second = env.reset(seed=3)[0], plain.reset(seed=3)[0]
    np.testing.assert_array_equal(first, second)
    rng = np.random.default_rng(0)
    for _ in range(20):
        action = rng.uniform(-1, 1, env.action_space.shape)
        one, two = env.step(action), plain.step(action)
        np.testing.assert_array_equal(one[0], two[0])
        assert one[1:4] == two[1:4]
    for name, array in constants(env).items():
        np.testing.assert_array_equal(array, constants(plain)[name], name)


def test_an_episodes_values_do_not_stay_for_the_next() -> None:
    env = make({"mass": [0.5, 2], "friction": [0.5, 2]})
    usual = constants(make())
    for seed in range(4):
        env.reset(seed=seed)
        drawn, now = env.drawn, constants(env)
        body, geom = (kind("object").id for kind in (env.backend.model.body, env.backend.model.geom))
        assert now["body_mass"][body] == pytest.approx(usual["body_mass"][body] * drawn["mass"])
        assert now["geom_friction"][geom, 0] == pytest.approx(drawn["friction"])


def test_the_seed_draws_and_a_state_restores_what_was_drawn() -> None:
    env, other = make(EVERYTHING), make(EVERYTHING)
    drawn = []
    for seed in (1, 2, 1):
        env.reset(seed=seed)
        drawn.append(env.drawn)
    assert drawn[0] == drawn[2] != drawn[1] and set(drawn[0]) == set(EVERYTHING)
    for _ in range(3):
        env.step(np.ones(8))
    other.reset(seed=9)
    other.set_state(env.get_state())
    assert other.drawn == env.drawn and other.backend._look == env.backend._look
    for name, array in constants(env).items():
        np.testing.assert_array_equal(array, constants(other)[name], name)


def test_values_fill_their_ranges() -> None:
    random = np.random.default_rng(0)
    drawn = [Randomization(EVERYTHING).draw(random) for _ in range(300)]
    for name, (low, high) in EVERYTHING.items():
        values = [each[name] for each in drawn]
        assert (
            low <= min(values) < low + 0.1 * (high - low) and high - 0.1 * (high - low) < max(values) <= high
        )
    assert {each["action_delay"] for each in drawn} == {0.0, 1.0, 2.0}


def test_only_mujoco_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.backends.choice.coppelia_obstacle", lambda: None)
    with pytest.raises(BackendError, match=r"^randomize is for the backend mujoco, not coppelia$"):
        gymnasium.make("Lift-v0", backend="coppelia", randomize={"mass": [1, 2]})


# Mistakes

BAD = [
    ("masss: [0.5, 2]", "has 'masss': it knows mass, friction"),
    ("mass: [2, 0.5]", "has mass [2, 0.5]: it is [lowest, highest], numbers from 0.001 up"),
    ("mass: [-1, 2]", "has mass [-1, 2]"),
    ("mass: [0, 2]", "has mass [0, 2]"),
    ("mass: heavy", "has mass 'heavy'"),
    ("mass: [light, 2]", "has mass ['light', 2]"),
    ("mass: [1, 2, 3]", "has mass [1, 2, 3]"),
    ("mass: 2", "has mass 2"),
    ("mass: [true, 2]", "has mass [True, 2]"),
    ("mass: [1, .inf]", "has mass [1, inf]"),
    ("mass: [.nan, 2]", "has mass [nan, 2]"),
    ("action_delay: [0, 1.5]", "has action_delay [0, 1.5]: it is [lowest, highest], whole numbers from 0 up"),
    ("action_delay: [-1, 1]", "has action_delay [-1, 1]"),
    ("[mass, friction]", "is no table of ranges"),
    ("mass", "is no table of ranges"),
    ("", "is no table of ranges"),
    ("mass: [0.5, 2", "cannot read randomize"),
    ("\0", "cannot read randomize"),
    ("5: [1, 2]", "has '5'"),
]


def line_of(file: Path) -> str:
    """What a user reads, first from Python, then through the trainer."""
    with pytest.raises(ValueError) as raised:
        envs.make("Lift-v0", backend="mujoco", randomize=str(file))
    assert isinstance(raised.value, OptionError)
    line = str(raised.value)
    with pytest.raises(ConfigError) as refused:
        make_env(EnvConfig("Lift-v0", {"backend": "mujoco", "randomize": str(file)}))
    assert str(refused.value) == f"Lift-v0 does not start: {line}"
    assert "\n" not in line and str(file) in line and len(line) < 400
    return line


@pytest.mark.parametrize(("text", "words"), BAD, ids=[each[1] or "nothing" for each in BAD])
def test_a_file_of_ranges_with_a_mistake_is_one_line(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "ranges.yaml").write_text(text)
    assert words in line_of(tmp_path / "ranges.yaml")


def test_files_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    assert "No such file" in line_of(tmp_path / "gone.yaml")
    assert "directory" in line_of(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00mass")
    assert "cannot read" in line_of(tmp_path / "binary.yaml")


def test_a_table_of_ranges_needs_no_file() -> None:
    with pytest.raises(OptionError, match=r"from 0 up, at most 100: control steps"):
        Randomization({"action_delay": [0, 10**9]})
    with pytest.raises(OptionError, match=r"^randomize has 'masss': it knows mass"):
        make({"masss": [1, 2]})
    assert make({"mass": (1, 2)}).randomization.ranges == {"mass": (1.0, 2.0)}
