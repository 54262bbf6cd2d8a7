"""What may change when a run goes on: what to do with the time and the size of the steps, not what is
learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Any

from sac_dist.settings.cluster import ClusterConfig
from sac_dist.settings.config import SECTIONS, Config
from sac_dist.settings.option import ConfigError, flag_of, options_of

RESUMABLE: dict[str, tuple[str, ...]] = {
    "env": (),
    "agent": ("actor_lr", "critic_lr", "alpha_lr", "grad_clip"),
    "train": (
        *("steps", "episodes", "time", "success_target", "workers", "eval_interval", "eval_episodes"),
        *("checkpoint_interval", "keep_interval", "step_timeout", "worker_memory"),
        *(
            "compile",
            "device",
            "engine",
            "wandb",
            "video",
            "interventions",
            "watch",
            "watch_host",
            "watch_port",
        ),
    ),
    "data": ("offline_steps", "demos", "offline"),  # the files by new names: their content is compared
    "cluster": tuple(option.name for option in fields(ClusterConfig)),
}


def check_names(names: Iterable[str]) -> None:
    """Raise ConfigError for the first of the settings' names that is not in ``RESUMABLE``."""
    for name in names:
        if not any(name in those for those in RESUMABLE.values()):
            raise ConfigError(f"--{name.replace('_', '-')} cannot change when a run is resumed")


def changed(config: Config, settings: dict[str, Any]) -> Config:
    """The configuration of a run with what ``settings``, by name, change.

    The other engine's own settings are left behind with it. Raises ConfigError for what cannot change.
    """
    check_names(settings)
    sections = {name: getattr(config, name) for name in (*SECTIONS, "algorithms")}
    if "demos" in settings:
        if not config.data.files:
            raise ConfigError("the run began without demonstrations: --demos cannot give it some")
        role = "offline" if config.data.offline else "demos"
        others = {name: value for name, value in settings.items() if name != "demos"}
        settings = {**others, role: tuple(settings["demos"])}
    if settings.get("engine", config.train.engine) == "local":
        sections["cluster"] = ClusterConfig()
    elif config.train.learner == "workers":  # on a cluster the learner is central
        sections["train"] = replace(sections["train"], learner=None)
    for section, names in RESUMABLE.items():
        sections[section] = replace(
            sections[section], **{name: settings[name] for name in names if name in settings}
        )
    return Config(**sections)


def as_settled(saved: Config, config: Config) -> Config:
    """``config`` with what it leaves open as the run settled it when it began."""
    if config.data.her is None:
        config = replace(config, data=replace(config.data, her=saved.data.her))
    settled = {name: old for name, old, _ in _settings(saved, config)}
    return config.with_settings({name: settled[name] for name in config.if_unknown})


def check_resumable(saved: Config, config: Config) -> None:
    """Raise ConfigError unless a run saved as ``saved`` can go on as ``config``."""
    settings = {name: value for name, old, value in _settings(saved, config) if old != value}
    if "learner" in settings and "engine" in settings:
        settings.pop("learner")  # as changed() leaves it behind
    if dict(saved.algorithms) != dict(config.algorithms):
        raise ConfigError("an algorithm's own settings cannot change when a run is resumed")
    check_names(settings)


def _settings(saved: Config, config: Config) -> Iterator[tuple[str, Any, Any]]:
    for name, section in SECTIONS.items():
        for option in options_of(section):
            old, new = (getattr(getattr(each, name), option.name) for each in (saved, config))
            yield flag_of(option), old, new
