"""What a run takes where nothing is said: tuned files, the presets general and plain, and lines where settings
hardly suit.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import toy_envs
from gymnasium.spaces import Box

from sac_dist.acting.environment import make_env
from sac_dist.acting.episode import Episode
from sac_dist.acting.suitability import RewardWatch, about_actions, about_discount
from sac_dist.cli import main as cli
from sac_dist.cli.given import parse
from sac_dist.cli.train import found_for
from sac_dist.engine.settling import settle_unknown
from sac_dist.settings import AgentConfig, Config, ConfigError, EnvConfig, TrainConfig, tuned
from sac_dist.settings.by_environment import OF_UNKNOWN, discount_for, taken
from sac_dist.settings.presets import GENERAL, GOALS, PLAIN, PRESETS
from sac_dist.settings.resuming import as_settled, check_resumable
from sac_dist.storage import checkpoint

CROSSQ = PRESETS["crossq"] | {"critic_width": 256}
C51 = {"distribution": "c51", "normalize_returns": True, "initial_alpha": 0.01}
ARM = {"hidden_width": 128, "update_ratio": 1.0}
MEASURED = {  # as they were when they lay in one table
    **dict.fromkeys(("Lift-v0", "Clutter-v0", "Push-v0", "PickAndPlace-v0", "Stack-v0", "Peg-v0"), ARM),
    **{task: {} for task in ("SawyerGrasp-v0", "SawyerLift-v0")},
    "Pendulum-v1": {"update_ratio": 2.0},
    "gymnasium_robotics:FetchReach-v4": {**GOALS, "eval_interval": 500},
    **dict.fromkeys(
        [f"gymnasium_robotics:Fetch{task}-v4" for task in ("Push", "PickAndPlace", "Slide")],
        GOALS | {"hidden_width": 128, "batch_size": 256, "warmup_steps": 3000, "noise_repeat": 4},
    ),
    "Hopper-v5": CROSSQ,
    **dict.fromkeys(("HalfCheetah-v5", "Ant-v5"), CROSSQ | C51),
    "Walker2d-v5": CROSSQ | C51 | {"update_ratio": 0.5},
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tuned").mkdir()
    return tmp_path / "tuned"


@pytest.mark.parametrize("name", MEASURED)
def test_what_was_measured_is_taken_and_nothing_else(name):
    config = Config.of(name)
    assert config.flat() == Config().flat() | {"env": name} | MEASURED[name] and not config.if_unknown
    assert (config == Config(EnvConfig(name))) == (not MEASURED[name])


def test_every_file_of_the_package_is_measured_and_says_how():
    files = sorted(tuned.SHIPPED.glob("*.yaml"))
    assert [path.name for path in files] == sorted(map(tuned.file_name, MEASURED))
    for path in files:
        comment = [line for line in path.read_text().splitlines() if line.startswith("# ")]
        assert len(comment) > 1 and comment[-1].startswith("# python ")


def test_flags_go_over_the_config_that_over_tuned_values_and_those_over_general(elsewhere):
    (elsewhere / "X-v0.yaml").write_text("tau: 1e-3\nbatch_size: 7\nhidden_width: 8\n")
    (elsewhere.parent / "c.yaml").write_text("batch_size: 9\nhidden_width: 10\n")
    given = parse(["--train", "--env", "X-v0", "--config", "c.yaml", "--hidden-width", "11"])
    settings, line, if_unknown = found_for(given)
    assert (settings["tau"], settings["batch_size"], settings["hidden_width"]) == (1e-3, 9, 11)
    assert not if_unknown and "discount" not in settings
    assert line == "settings tuned for X-v0 (tuned/X-v0.yaml): tau 0.001"
    settings, line, if_unknown = found_for(
        parse(["--train", "--env", "Y-v0", "--config", "c.yaml", "--tau", "0.3"])
    )
    assert settings["batch_size"] == 9 and settings["tau"] == 0.3
    assert if_unknown == OF_UNKNOWN - {"batch_size", "hidden_width", "tau"}


def test_a_users_file_goes_before_the_packages(elsewhere):
    (elsewhere / "HalfCheetah-v5.yaml").write_text("env: HalfCheetah-v5\npreset: simba\ntau: 0.5\n")
    assert taken({"env": "HalfCheetah-v5"}).settings == PRESETS["simba"] | {
        "tau": 0.5,
        "env": "HalfCheetah-v5",
    }


@pytest.mark.parametrize("env", ["Grasp-v0", "Lift-v0", "auto"])
def test_a_policy_that_sees_takes_what_is_tuned_for_pictures(elsewhere, env):
    camera = ["--train", "--env", env, "--observation", "camera+state"]
    settings, line, if_unknown = found_for(parse([*camera, "--buffer-size", "5000"]))
    assert settings.items() >= (PRESETS["pixels"] | {"buffer_size": 5000}).items() and not if_unknown
    assert line.startswith("settings tuned for ") and "pictures: " in line and "actor_lr 0.0005" in line
    config = Config.of(EnvConfig(env, {"observation": "camera"}))
    assert config.train.buffer_size == 100_000 and config.env.kwargs == {"observation": "camera"}
    assert found_for(parse([*camera, "--no-tuned"])).settings.keys() == {"train", "env", "observation"}
    if env == "auto":
        return
    (elsewhere / f"{env}.yaml").write_text("buffer_size: 7000\n")
    assert found_for(parse(camera)).settings["buffer_size"] == 7000


@pytest.mark.parametrize("arguments", [["--no-tuned"], ["--config", "c.yaml"]])
def test_it_can_be_left_out(elsewhere, arguments):
    (elsewhere.parent / "c.yaml").write_text("tuned: false")
    for env in ("HalfCheetah-v5", "Humanoid-v5"):
        settings, line, if_unknown = found_for(parse(["--train", "--env", env, *arguments]))
        assert settings == {"env": env, "train": True} and not if_unknown and line is None


@pytest.mark.parametrize("arguments", [[], ["--env", "auto"], ["--env", "X-v0", "--preset", "book"]])
def test_general_is_neither_beneath_a_preset_nor_for_what_auto_chooses(arguments):
    assert not found_for(parse(["--train", *arguments])).if_unknown


@pytest.mark.parametrize(
    "env", ["a:b/C-v0", "gymnasium_robotics:FetchReach-v4", "../../etc/passwd", "x" * 300, "a\0b", ""]
)
def test_every_id_has_a_file_name_in_its_folder(elsewhere, env):
    path = tuned.OWN / tuned.file_name(env)
    assert path.parent == tuned.OWN
    if len(env) < 200 and "\0" not in env:
        path.write_text("tau: 0.5")
        assert taken({"env": env}).settings["tau"] == 0.5
    else:
        assert tuned.file_of(env) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tau: [", "is not YAML"),
        ("", "holds no settings"),
        ("tau: 1\ntau: 2", "tau stands there twice"),
        ("taw: 1", "taw is no setting"),
        ("tau: fast", "tau cannot be 'fast'"),
        ("workers: 1.5", "workers cannot be 1.5"),
        ("layer_norm: 3", "layer_norm cannot be 3"),
        ("network: cnn", "network cannot be 'cnn'"),
        ("preset: best", "'best' is no preset"),
        ("env: Z-v0", "is for Z-v0, and is named after X-v0"),
    ],
)
def test_a_file_that_cannot_be_taken_is_refused_in_one_line(elsewhere, text, words):
    (elsewhere / "X-v0.yaml").write_text(text)
    with pytest.raises(ConfigError, match=f"tuned/X-v0.yaml[: ].*{words}") as error:
        found_for(parse(["--train", "--env", "X-v0"]))
    assert "\n" not in str(error.value)


def test_no_file_is_read_without_need():
    look = (
        "import sys; from sac_dist.settings import Config;"
        "Config.of('Humanoid-v5'); assert 'yaml' not in sys.modules;"
        "Config.of('HalfCheetah-v5'); assert not {'torch', 'gymnasium'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", look], check=True, timeout=60)


@pytest.mark.parametrize(
    ("steps", "discount"), [(1, 0.95), (100, 0.95), (200, 0.975), (500, 0.99), (10**9, 0.99)]
)
def test_the_discount_follows_from_the_horizon(steps, discount):
    assert discount_for(steps) == discount


def settled_for(config, her="none", pictures=False, horizon=200):
    return settle_unknown(config, False, horizon, her, pictures)


def test_general_is_settled_once_the_environment_is_known():
    config = Config.of(EnvConfig("X-v0", {"size": 3}))
    settled, line = settled_for(config)
    assert settled.flat() == Config(config.env).flat() | GENERAL | {"discount": 0.975, "her": "none"}
    assert settled.env == config.env and not settled.if_unknown
    assert line.startswith("nothing is tuned for X-v0, preset general: ") and "discount 0.975" in line
    assert "tau" not in line  # nothing that stays as it is
    arm, line = settle_unknown(config, True, 200, "none", False)
    assert arm.agent == AgentConfig() and arm.train == TrainConfig() and line is None


def test_a_single_worker_makes_the_updates_itself():
    settled, line = settled_for(opened(workers=1))
    assert settled.train.learner is None and "preset general: " in line and "learner" not in line
    assert settled_for(opened(workers=1, learner="central"))[0].train.central
    assert settled_for(opened(workers=2))[0].train.central


def opened(**given):
    """Where ``given`` is all that was said."""
    return replace(Config.of_settings(dict(given)), if_unknown=OF_UNKNOWN - given.keys())


@pytest.mark.parametrize(
    ("given", "her", "pictures"),
    [
        ({"tau": 0.01}, "none", False),  # the default too, as it was asked for
        ({"layer_norm": True}, "none", False),
        ({"network": "simba"}, "none", False),
        ({"learner": "workers"}, "none", False),
        ({"distribution": "tqc"}, "none", False),
        ({"normalize_returns": False}, "none", False),
        ({"dropout": 0.01}, "none", False),
        ({"reward_scale": 2.0}, "none", False),
        ({"reward_bias": 1.0}, "none", False),
        ({"normalize_rewards": True}, "none", False),
        ({"engine": "ray"}, "none", False),
        ({"offline": ("x.npz",), "algo": "cql"}, "none", False),
        ({"demos": ("x.npz",), "offline_steps": 10}, "none", False),
        ({"demos": ("x.npz",), "bc_steps": 10}, "none", False),
        ({}, "future", False),
        ({}, "none", True),
    ],
)
def test_where_general_cannot_be_it_is_plain(given, her, pictures):
    settled, line = settled_for(opened(**given), her, pictures)
    unscaled = {"reward_scale", "reward_bias", "normalize_rewards"} & given.keys() or given.get("engine")
    wanted = PLAIN | {"discount": 0.975} | ({"normalize_returns": False} if unscaled else {}) | given
    found = settled.flat()
    assert "preset plain: " in line
    assert {n: found[n] for n in PLAIN} == {n: wanted[n] for n in PLAIN}
    assert settled.agent.network == given.get("network", "mlp") and settled.agent.policy_every == 1


@pytest.mark.parametrize(
    "given",
    [
        {"network": "crossq", "target_network": False, "learner": "central"},
        {"hidden_width": 32, "normalize_observations": True, "n_step": 3, "batch_size": 64},
        {"demos": ("x.npz",)},
    ],
)
def test_what_goes_with_general_lies_over_it(given):
    settled, line = settled_for(opened(**given))
    wanted = GENERAL | {"discount": 0.975} | given
    found = settled.flat()
    assert "preset general: " in line
    assert {n: found[n] for n in GENERAL} == {n: wanted[n] for n in GENERAL}
    assert all(found[name] == value for name, value in given.items() if name != "demos")


class Acts(gymnasium.Env):
    observation_space = Box(-1, 1, (1,), np.float32)

    def __init__(self, low, high):
        self.action_space = Box(np.array(low, np.float32), np.array(high, np.float32))


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        ([-1, -100], [1, 100], "action 1 lies in [-100, 100]"),
        ([-1e-3, -1], [1e-3, 1], "action 0 lies in [-0.001, 0.001]"),
        ([-1, -1], [1, 1], ""),
        ([0, -5], [0.4, 20], ""),
    ],
)
def test_a_strange_range_of_actions_is_told(low, high, words):
    lines = about_actions(make_env(EnvConfig(Acts, {"low": low, "high": high})))
    assert len(lines) == bool(words) and all(words in line for line in lines)


def test_a_short_sighted_discount_is_told():
    (line,) = about_discount(0.95, 1000)
    assert "looks about 20 steps ahead" in line and "1,000" in line
    assert (
        not about_discount(0.99, 1000)
        + about_discount(0.95, 400)
        + about_discount(0.0, None)
        + about_discount(1.0, 10**6)
    )


def test_large_rewards_are_told_once_and_not_where_they_are_scaled():
    def episode(total):
        return Episode(total, 100, None, False)

    watch = RewardWatch(AgentConfig())
    assert watch.take(episode(-10_000.0)) is None  # 100 a step
    assert "-1e+04 a step" in watch.take(episode(-1e6)) and watch.take(episode(-1e6)) is None
    for scaled in (
        AgentConfig(reward_scale=0.01),
        AgentConfig(normalize_returns=True),
        AgentConfig(normalize_rewards=True),
    ):
        assert RewardWatch(scaled).take(episode(-1e6)) is None


class Far(toy_envs.Point):
    """Point with large rewards and actions, and no end of its own."""

    action_space = Box(-100, 100, (2,), np.float32)
    horizon = 10**9

    def step(self, action):
        place, reward, _, truncated, info = super().step(np.asarray(action) / 100)
        return place, 1e4 * reward, False, truncated, info


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("flags", "told", "untold"),
    [
        (
            (),
            ["preset general: ", "discount 0.975", "action 0 lies in [-100, 100]"],
            ["rewards of about", "looks about"],
        ),
        (
            ("--no-tuned", "--discount", "0.8"),
            ["rewards of about -", "looks about 5 steps ahead"],
            ["preset general"],
        ),
    ],
)
def test_a_run_says_what_it_took_and_what_hardly_suits(capsys, flags, told, untold):
    small = (
        "--hidden-width",
        "8",
        "--batch-size",
        "16",
        "--warmup-steps",
        "50",
        "--compile",
        "off",
        "--workers",
        "1",
    )
    given = (
        "--env",
        "test_tuned:Far-v0",
        "--horizon",
        "200",
        "--steps",
        "450",
        "--eval-interval",
        "0",
        "--no-video",
    )
    assert cli.main(["--train", *given, *small, *flags, "--run-dir", "run"]) == 0
    err = capsys.readouterr().err
    assert all(words in err for words in told), err
    assert not any(words in err for words in untold), err
    config = checkpoint.read(Path("run/checkpoints/last.safetensors")).config
    assert config.agent.normalize_returns == (not flags) and config.agent.hidden_width == 8
    assert config.agent.network == ("mlp" if flags else "crossq")


gymnasium.register("Far-v0", entry_point=Far)


def test_a_run_goes_on_with_what_it_settled_where_its_settings_were_open():
    config = Config.of("Humanoid-v5")
    began = config.with_settings({"hidden_width": 200, "her": "none"})  # as if ``general`` had been that
    assert config.if_unknown and as_settled(began, config).agent.hidden_width == 200
    check_resumable(began, as_settled(began, replace(config, agent=began.agent)))
    given = replace(Config(EnvConfig("Humanoid-v5")), agent=AgentConfig(hidden_width=100))
    with pytest.raises(ConfigError, match=r"^--hidden-width cannot change"):
        check_resumable(began, as_settled(began, given))
