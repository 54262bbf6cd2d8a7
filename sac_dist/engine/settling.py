"""From the settings that were given to those of the run: no ``auto``, no missing budget, no relative path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium

import envs
from envs.options import OPTIONS, PATHS
from sac_dist.acting.environment import with_absolute_paths
from sac_dist.acting.shipping import ship
from sac_dist.data.transitions import Transitions
from sac_dist.formats import files
from sac_dist.settings import Config, ConfigError, DataConfig, EnvConfig
from sac_dist.settings.by_environment import for_unknown
from sac_dist.settings.data import DEFAULT_OFFLINE_STEPS
from sac_dist.settings.presets import listed
from sac_dist.settings.training import DEFAULT_STEPS
from sac_dist.settings.values import defaults

PLAIN = (str, bool, int, float)


def settle(config: Config, demos: Sequence[Transitions]) -> tuple[Config, str]:
    """``config`` with every ``auto`` and missing budget replaced by what it comes to, and a line about the
    choice. Without a word about it the environment is that of the demonstrations.
    """
    env = config.env
    if env.id == "auto" and demos:
        env = env.over(recorded_env(demos[0]) or EnvConfig())
        check_registered(env, config.data.files[0])
    env, choice = settle_environment(env)
    data = config.data
    if data.offline and data.offline_steps is None:
        data = replace(data, offline_steps=DEFAULT_OFFLINE_STEPS)
    data = with_absolute_names(data)
    train = config.train
    if not data.offline and train.steps is None and train.episodes is None and train.time is None:
        train = replace(train, steps=DEFAULT_STEPS)
    return replace(config, env=env, train=train, data=data), f"environment: {env.name} ({choice})"


def settle_unknown(
    config: Config, arm_task: bool, horizon: int | None, her: Any, pictures: bool
) -> tuple[Config, str | None]:
    """``config`` with a preset where nobody tuned anything for its environment, and a line about it. ``her``
    is DataConfig's, settled.
    """
    config = replace(config, data=replace(config.data, her=her))
    names = config.if_unknown
    if arm_task or not names:
        return replace(config, if_unknown=frozenset()), None
    preset, values = for_unknown(config.flat(), names, horizon, pictures)
    known = defaults()
    told = {name: value for name, value in values.items() if value != known[name]}
    line = f"nothing is tuned for {config.env.name}, preset {preset}: {listed(told)}"
    return config.with_settings(values), line


def settle_environment(env: EnvConfig) -> tuple[EnvConfig, str]:
    """``env`` with the real id and simulator, as every process of the run can make it; and why this one."""
    choice = "as given"
    if isinstance(env.id, str):
        try:
            resolved = envs.resolve(env.id, env.kwargs)
        except (envs.BackendError, ValueError) as error:
            raise ConfigError(str(error)) from None
        choice = resolved.reason
        kwargs = with_absolute_paths(env.kwargs)
        if resolved.backend is not None:
            kwargs["backend"] = resolved.backend
        env = replace(env, id=resolved.id, kwargs=kwargs)
    return ship(env), choice


def recorded_env(demos: Transitions) -> EnvConfig | None:
    """The environment that demonstrations say they are of, but for the simulator; None: they do not say."""
    env = demos.source.get("env")
    if not isinstance(env, dict) or not isinstance(env.get("env"), str):
        return None
    values = {name: value for name, value in env.items() if type(value) in PLAIN and name != "backend"}
    return EnvConfig.from_dict(values | {"env_kwargs": _mapping(env.get("env_kwargs"))})


def check_recorded_env(config: Config, part: Transitions, name: str) -> None:
    """Raise ConfigError if the demonstrations ``name`` say that they are not of the run's environment."""
    recorded = recorded_env(part)
    if recorded is None:
        return
    pairs: dict[str, tuple[Any, Any]] = {"env": (recorded.name, config.env.name)}
    for option, (_, _, default) in OPTIONS.items():
        if default is not None:
            theirs, ours = (each.kwargs.get(option) or default for each in (recorded, config.env))
            pairs[option] = (theirs, ours) if option not in PATHS else (_files(theirs), _files(ours))
    for option, (theirs, ours) in pairs.items():
        if not (_same_environment(theirs, ours) if option == "env" else theirs == ours):
            raise ConfigError(
                f"{name}: recorded with {option} {theirs}, this run has {ours}: record anew, or "
                f"give --{option} {theirs}"
            )


def _files(name: Any) -> Any:
    """A robot by the names of its files, which may lie elsewhere on the machine that recorded."""
    return "+".join(part.rpartition("/")[2] for part in name.split("+")) if isinstance(name, str) else name


def check_registered(env: EnvConfig, name: str) -> None:
    """Raise ConfigError if the id that file ``name`` gives is in no package that is imported."""
    try:
        if isinstance(env.id, str) and ":" not in env.id and env.id != "auto":
            gymnasium.spec(env.id)
    except gymnasium.error.Error:
        raise ConfigError(
            f"{name} was recorded in {env.id} of a package that it does not name: give "
            f"--env MODULE:{env.id}, where importing MODULE registers it"
        ) from None


def _same_environment(theirs: str, ours: str) -> bool:
    """Whether two ids name one environment: what gymnasium calls Name-v0 may be given as module:Name-v0."""
    modules, names = zip(*(id.rpartition(":")[::2] for id in (theirs, ours)), strict=True)
    return names[0] == names[1] and (modules[0] == modules[1] or not all(modules))


def with_absolute_names(data: DataConfig) -> DataConfig:
    """Names of files that a later --resume finds from any folder."""
    demos, offline = (tuple(map(files.absolute, names)) for names in (data.demos, data.offline))
    return replace(data, demos=demos, offline=offline)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) and all(isinstance(name, str) for name in value) else {}
