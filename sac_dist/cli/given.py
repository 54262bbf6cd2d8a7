"""The settings that were given, file and flags together, and what a command takes of them."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from sac_dist.cli.flags import Parser, build_parser, file_path, spelled, task_options
from sac_dist.cli.settings_file import read_settings
from sac_dist.cli.terminal import warn
from sac_dist.settings import ConfigError, DataConfig, EnvConfig
from sac_dist.settings.config import take
from sac_dist.settings.idle import refuse_idle
from sac_dist.settings.presets import OF_DATA, expanded, listed, values_of


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """The settings that were given, by name: file first, flags over it, each over its own preset.

    Raises ConfigError on anything unknown, and on what would do nothing in the run that is asked for.
    """
    parser = build_parser(named_algorithms(arguments))
    flags = vars(parser.parse_args(arguments))
    file: dict[str, Any] = {}
    if "config" in flags:
        file = vars(parser.parse_args(read_settings(flags.pop("config"))))
    given = file | flags
    algo = given.get("algo", DataConfig.algo)
    settings = expanded(flags, algo)
    if file:
        settings = over(folded(expanded(file, algo)), folded(settings))
    if {"train", "offline", "optimize"} & settings.keys():
        refuse_idle(settings, set(given))
        if "preset" in given:
            refuse_preset_without_data(given["preset"], given)
            tell_preset(values_of(given["preset"], algo), given)
    if "preset" in given and {"train", "optimize"} & settings.keys():
        settings = settings | {"preset": given["preset"]}  # beneath which there is no general one
    return settings


def refuse_preset_without_data(name: str, given: Collection[str]) -> None:
    """Raise ConfigError for a preset that is about demonstrations where there are none."""
    if name in OF_DATA and "demos" not in given:
        raise ConfigError(f"--preset {name} learns from demonstrations: give --train and --demos FILE")


def tell_preset(values: dict[str, Any], given: dict[str, Any]) -> None:
    """One line with what the preset sets."""
    taken = {key: value for key, value in values.items() if key not in given}
    warn(f"preset {given['preset']}: {listed(taken)}")


def over(file: dict[str, Any], flags: dict[str, Any]) -> dict[str, Any]:
    """The file's settings and the flags' over them: folded both, so that a flag goes over the file's value
    under either name.
    """
    if "env_kwargs" in file and "env_kwargs" in flags:
        return file | flags | {"env_kwargs": file["env_kwargs"] | flags["env_kwargs"]}
    return file | flags


def named_algorithms(arguments: Sequence[str]) -> list[str]:
    """The algorithms package.module:Class that the arguments name: each brings flags of its own."""
    parser = Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--algo")
    parser.add_argument("--online-algo")
    parser.add_argument("--config", type=file_path)
    given = vars(parser.parse_known_args(arguments)[0])
    if "config" in given:
        given = vars(parser.parse_known_args(read_settings(given.pop("config")))[0]) | given
    names = [given[name] for name in ("algo", "online_algo") if ":" in given.get(name, "")]
    return list(dict.fromkeys(names))


def folded(settings: dict[str, Any]) -> dict[str, Any]:
    """``settings`` with the tasks' own flags among the environment's arguments. Raise ConfigError for two
    values of one argument.
    """
    options = {name: settings[name] for name in task_options() if name in settings}
    if not options:
        return settings
    kwargs = settings.get("env_kwargs", {})
    for name, value in options.items():
        if kwargs.get(name, value) != value:
            raise ConfigError(f"{name} is {value!r} and in env_kwargs {kwargs[name]!r}: give it once")
    rest = {name: value for name, value in settings.items() if name not in options}
    return rest | {"env_kwargs": kwargs | options}


def take_environment(settings: dict[str, Any]) -> EnvConfig:
    """The environment, whose settings leave ``settings``."""
    rest = folded(settings)
    for name in set(settings) - set(rest):
        del settings[name]
    settings.update(rest)
    environment: EnvConfig = take(settings, EnvConfig)
    return environment


def take_model(settings: dict[str, Any]) -> str | Path | None:
    """The one policy of ``--model``."""
    models: list[str | Path] = settings.pop("model", [])
    if len(models) > 1:
        raise ConfigError(f"--model names {len(models)} policies: several go with --test --sweep alone")
    return models[0] if models else None


def refuse_rest(settings: dict[str, Any], mode: str) -> None:
    if settings:
        raise ConfigError(f"{spelled(next(iter(settings)))} has no meaning with {spelled(mode)}")
