"""Environments that only the calling program knows, made ready for the other processes of a run.

A class or function of a script, a notebook or ``python -c`` cannot be imported by a child process, and an id
that a script registers under its main guard is unknown there. Cloudpickle, which gymnasium brings, writes
such things down by value.
"""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import cloudpickle
import gymnasium

from sac_dist.settings import ConfigError, EnvConfig
from sac_dist.settings.environment import plain

KNOWN_EVERYWHERE = ("gymnasium.", "envs.")  # where the entry points of ids lie that every process registers


def ship(config: EnvConfig) -> EnvConfig:
    """``config`` as the other processes of a run can take it and, without ``shipped``, a file can hold it.

    Raises ConfigError for what cannot be written down.
    """
    if config.shipped is not None:
        return config
    if config.is_named:
        config = replace(config, kwargs=plain(config.kwargs))  # what trains is what a resumed run gets
        spec = gymnasium.registry.get(str(config.id))
        if spec is None or (
            isinstance(spec.entry_point, str) and spec.entry_point.startswith(KNOWN_EVERYWHERE)
        ):
            return config
        return replace(config, shipped=_dumped(config.name, (spec, {})))
    maker, kwargs = unpacked(config)
    if isinstance(maker, str):
        maker = gymnasium.registry.get(maker, maker)
    return replace(EnvConfig.from_dict(config.to_dict()), shipped=_dumped(config.name, (maker, kwargs)))


def unpacked(config: EnvConfig) -> tuple[Any, dict[str, Any]]:
    """What makes the environment (a callable, a spec, or an id that gymnasium knows) and its arguments.

    Raises ConfigError where a file says no more than that it was given from Python.
    """
    kwargs = dict(config.kwargs)
    if config.shipped is not None:
        maker, shipped = pickle.loads(config.shipped)
        return maker, kwargs | shipped
    if isinstance(config.id, str) and config.id.startswith("<"):
        name = config.id.strip("<>")
        raise ConfigError(
            f"{name} was given from Python, and no file can hold it: give it again from Python, as in "
            f"resume(run, env={name}) or play(policy, EnvConfig({name}), episodes)"
        )
    return config.id, kwargs


def _dumped(name: str, maker: tuple[Any, dict[str, Any]]) -> bytes:
    try:
        return bytes(cloudpickle.dumps(maker))
    except Exception as error:  # whatever a foreign object's pickling raises
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{name} cannot be sent to the other processes of the run: {line}; put it into a module and "
            "name it module:Id-v0"
        ) from error
