"""The settings by themselves: their forms in files, presets, and what may change on resume."""

from dataclasses import replace

import numpy as np
import pytest

from sac_dist.cli.given import parse, take_environment
from sac_dist.settings import AgentConfig, Config, ConfigError, EnvConfig, TrainConfig
from sac_dist.settings.by_environment import taken
from sac_dist.settings.presets import BOOK
from sac_dist.settings.resuming import RESUMABLE, check_resumable
from sac_dist.storage.run_folder import RunFolder


class Reach:
    pass


def test_the_environment_of_version_0_1_lies_flat_and_is_read():
    old = {"env": "SawyerLift-v0", "backend": "mujoco", "control": None, "random_yaw": False, "horizon": 26}
    expected = EnvConfig("SawyerLift-v0", {"backend": "mujoco", "random_yaw": False}, horizon=26)
    assert Config.from_dict({"env": old}).env == expected
    assert EnvConfig.from_dict(expected.flat()) == expected
    assert expected.flat() == {name: value for name, value in old.items() if value is not None}


def test_arguments_that_are_called_like_a_setting_survive_the_flat_form():
    config = EnvConfig("X-v0", {"env": "inner", "size": 3}, success="last")
    assert EnvConfig.from_dict(config.flat()) == config == EnvConfig.from_dict(config.to_dict())


@pytest.mark.parametrize("config", [EnvConfig(Reach), EnvConfig("Reach", {"mass": np.zeros(2)})])
def test_what_only_python_can_give_is_named_and_nothing_else_is_kept(config):
    assert config.to_dict() == {"env": "<Reach>", "env_kwargs": {}, "horizon": None, "success": None}
    assert not config.is_named and not EnvConfig.from_dict(config.to_dict()).is_named


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"id": 5}, "an id or what makes one"),
        ({"kwargs": [1]}, "a mapping from names"),
        ({"kwargs": {1: 2}}, "a mapping from names"),
        ({"horizon": 0}, "horizon is 0"),
        ({"success": "some"}, "success is 'some'"),
    ],
)
def test_an_environment_that_cannot_be_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        EnvConfig(**settings)


def test_settings_over_others_keep_what_they_do_not_name():
    base = EnvConfig("A-v0", {"size": 1, "mass": 2}, horizon=5, success="last")
    assert EnvConfig().over(base) == base
    assert EnvConfig("auto", {"size": 3}, success="any").over(base) == EnvConfig(
        "A-v0", {"size": 3, "mass": 2}, horizon=5, success="any"
    )


def test_arguments_come_from_json_a_file_and_the_flags_of_the_tasks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(
        "env: A-v0\nenv_kwargs:\n  size: 3\n  parts: [{x: 1.5}]\ncontrol: end_position\n"
    )
    given = parse(["--train", "--config", "c.yaml", "--env-kwargs", '{"size": 4}', "--no-random-yaw"])
    assert take_environment(given) == EnvConfig(
        "A-v0", {"size": 4, "parts": [{"x": 1.5}], "control": "end_position", "random_yaw": False}
    )
    for bad in ("{", "[1]", "3"):
        with pytest.raises(ConfigError, match="--env-kwargs"):
            parse(["--train", "--env-kwargs", bad])


def test_a_preset_in_a_file_lies_beneath_the_files_own_values(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("preset: book\nhidden_depth: 3\n")
    given = parse(["--train", "--config", str(path)])
    assert given == {"train": True, "preset": "book", **BOOK, "hidden_depth": 3}
    assert parse(["--train", "--config", str(path), "--preset", "offline"])["cal_ql"] is True


def test_every_name_that_may_change_is_a_setting():
    for section, names in RESUMABLE.items():
        assert all(hasattr(getattr(Config(), section), name) for name in names)


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"agent": AgentConfig(hidden_width=32)}, "--hidden-width"),
        ({"train": TrainConfig(seed=1)}, "--seed"),
        ({"env": EnvConfig("B-v0")}, "--env"),
        ({"env": EnvConfig("A-v0", {"size": 2})}, "--env-kwargs"),
        ({"env": EnvConfig("A-v0", horizon=3)}, "--horizon"),
    ],
)
def test_what_cannot_change_on_resume_is_refused_by_name(change, flag):
    saved = Config(EnvConfig("A-v0"))
    with pytest.raises(ConfigError, match=f"^{flag} cannot change when a run is resumed$"):
        check_resumable(saved, replace(saved, **change))


def test_what_may_change_on_resume_is_let_through():
    saved = Config(EnvConfig("A-v0"))
    more = replace(saved, train=TrainConfig(steps=9, workers=7), agent=AgentConfig(actor_lr=1.0))
    check_resumable(saved, more)
    local = Config(train=TrainConfig(learner="workers"))
    check_resumable(local, replace(local, train=TrainConfig(engine="ray")))


@pytest.mark.parametrize("name", ["update_ratio", "actor_lr", "reward_scale", "step_timeout", "alpha"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_are_finite(name: str, value: float) -> None:
    section = TrainConfig if name in ("update_ratio", "step_timeout") else AgentConfig
    with pytest.raises(ConfigError, match=f"{name} is (inf|nan): it must be a finite number"):
        section(**{name: value})


def test_a_seed_that_no_generator_takes_is_refused() -> None:
    with pytest.raises(ConfigError, match="it must be below"):
        TrainConfig(seed=2**63)


def test_a_flag_goes_over_a_files_value_under_either_name(tmp_path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("reward: sparse\ncompile: off\n")
    given = parse(["--train", "--config", str(path), "--env-kwargs", '{"reward": "dense"}'])
    assert given["env_kwargs"] == {"reward": "dense"} and given["compile"] == "off"
    path.write_text("env_kwargs: {reward: dense}\nreward: sparse\n")
    with pytest.raises(ConfigError, match="reward is 'sparse' and in env_kwargs 'dense': give it once"):
        parse(["--train", "--config", str(path)])


DATA = ["--train", "--demos", "x.npz"]


@pytest.mark.parametrize(
    ("arguments", "flag", "reason"),
    [
        (["--train", "--demo-mode", "append"], "demo-mode", "no demonstrations"),
        (["--train", "--demo-ratio", "0.2"], "demo-ratio", "no demonstrations"),
        ([*DATA, "--demo-mode", "prefill", "--demo-anneal", "9"], "demo-anneal", "--demo-mode mix"),
        ([*DATA, "--demo-mode", "append", "--demo-ratio", "0.2"], "demo-ratio", "--demo-mode mix"),
        (["--train", "--algo", "bc"], "algo", "no offline phase"),
        ([*DATA, "--algo", "sac"], "algo", "no offline phase"),
        ([*DATA, "--cal-ql"], "cal-ql", "no phase"),
        (["--train", "--cql-weight", "2"], "cql-weight", "no phase"),
        (["--offline", "x.npz", "--algo", "bc", "--cql-samples", "3"], "cql-samples", "no phase"),
        (["--train", "--alpha", "0.2", "--target-entropy", "-1"], "target-entropy", "--alpha fixes"),
        (["--train", "--alpha", "0.2", "--alpha-lr", "1"], "alpha-lr", "--alpha fixes"),
        (["--train", "--eval-interval", "0", "--eval-episodes", "3"], "eval-episodes", "none is made"),
        (
            ["--train", "--learner", "central", "--device", "cuda", "--compile", "on"],
            "compile",
            "as they are",
        ),
    ],
)
def test_what_would_do_nothing_is_refused_as_a_flag_and_in_a_file(tmp_path, arguments, flag, reason):
    with pytest.raises(ConfigError, match=f"^--{flag} would do nothing: .*{reason}"):
        parse(arguments)
    at = arguments.index(f"--{flag}")
    rest = [*arguments[:at], *arguments[at + 1 + (flag != "cal-ql") :]]
    (tmp_path / "c.yaml").write_text(f"{flag}: {'true' if flag == 'cal-ql' else arguments[at + 1]}")
    with pytest.raises(ConfigError, match=f"^--{flag} would do nothing"):
        parse([*rest, "--config", str(tmp_path / "c.yaml")])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--train", "--preset", "offline"],  # the preset's values are no request
        ["--train", "--preset", "book", "--alpha", "0.1"],
        ["--train", "--demo-mode", "mix", "--no-cal-ql", "--cql-weight", "5"],  # as it is without them
        ["--train", "--online-algo", "cql", "--cql-weight", "1"],
        [*DATA, "--offline-steps", "9", "--cal-ql", "--algo", "cql", "--demo-anneal", "7"],
        ["--offline", "x.npz", "--cal-ql", "--cql-weight", "1"],
        ["--resume", "run", "--eval-interval", "0", "--eval-episodes", "3"],
    ],
)
def test_what_does_something_or_was_not_asked_for_is_accepted(arguments):
    assert parse(arguments)


def test_the_settings_of_any_run_can_be_given_to_the_next(tmp_path):
    for arguments in (["--preset", "offline"], ["--env", "HalfCheetah-v5", "--alpha", "0.1"]):
        given = parse(["--train", *arguments])
        given = taken(given, given.pop("preset", None)).settings
        del given["train"]
        RunFolder(tmp_path).write_config(Config.of_settings(dict(given)))
        again = parse(["--train", "--config", str(tmp_path / "config.yaml")])
        assert again["actor_lr"] == given["actor_lr"]
