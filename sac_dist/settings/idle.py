"""Settings that do nothing beside others: who gives one is told so, and a preset's or default value is no
request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from sac_dist.settings.algorithms import ALGORITHMS, BEHAVIOUR_CLONING, names_of, settings_class
from sac_dist.settings.config import SECTIONS
from sac_dist.settings.option import ConfigError, flag_of, options_of

Value = Callable[[str], Any]  # of a setting, by its name: what is given, else its default


class Idle(NamedTuple):
    """These settings do nothing where the condition holds."""

    names: Callable[[Value], Collection[str]]
    condition: Callable[[Value], bool]
    reason: str


def used_algorithms(value: Value) -> set[str]:
    """The algorithms that a run's phases are of."""
    used = set() if value("offline") else {value("online_algo")}
    if value("offline") or value("offline_steps"):
        used.add(value("algo"))
    return used | ({BEHAVIOUR_CLONING} if value("bc_steps") else set())


def of_other_algorithms(value: Value) -> set[str]:
    """The settings of algorithms that no phase is of."""
    used = used_algorithms(value)
    named = {value("algo"), value("online_algo"), *ALGORITHMS}
    idle, in_use = (
        {name for each in those for name in names_of(settings_class(each))} for those in (named - used, used)
    )
    return idle - in_use


def these(*names: str) -> Callable[[Value], Collection[str]]:
    return lambda value: names


IDLE = (
    Idle(
        these("watch_host", "watch_port"),
        lambda value: not value("watch") and not value("interventions"),
        "give --watch",
    ),
    Idle(these("interventions"), lambda value: bool(value("offline")), "no arm moves in an offline phase"),
    Idle(
        these("demo_mode", "demo_anneal", "demo_overwrite"),
        lambda value: not value("demos") and not value("offline"),
        "there are no demonstrations: give --demos",
    ),
    Idle(
        these("demo_ratio"),
        lambda value: not value("demos") and not value("offline") and not value("interventions"),
        "there are no demonstrations: give --demos",
    ),
    Idle(
        these("demo_ratio", "demo_anneal"),
        lambda value: value("demo_mode") != "mix",
        "it is for --demo-mode mix",
    ),
    Idle(
        these("her_ratio"),
        lambda value: value("her") == "none",
        "--her none: no transition gets a goal in hindsight",
    ),
    Idle(
        these("algo"),
        lambda value: not value("offline") and not value("offline_steps"),
        "there is no offline phase: give --offline-steps and --demos, or --online-algo for the online phase",
    ),
    Idle(
        of_other_algorithms,
        lambda value: True,
        "no phase is of its algorithm: give --offline-steps and --demos, or name it in --online-algo",
    ),
    Idle(these("bins", "v_max"), lambda value: value("distribution") != "c51", "give --distribution c51"),
    Idle(
        these("quantiles", "dropped_quantiles"),
        lambda value: value("distribution") != "tqc",
        "give --distribution tqc",
    ),
    Idle(these("tau"), lambda value: not value("target_network"), "there is no target network"),
    Idle(
        these("layer_norm"),
        lambda value: value("network") != "mlp",
        "it is of the network mlp, the others have norms of their own",
    ),
    Idle(
        these("largest_return"),
        lambda value: not value("normalize_returns"),
        "rewards stay as they are: give --normalize-returns",
    ),
    Idle(these("lr_end"), lambda value: value("lr_decay") is None, "step sizes stay: give --lr-decay"),
    Idle(
        these("target_entropy", "initial_alpha", "alpha_lr"),
        lambda value: value("alpha") is not None,
        "--alpha fixes the temperature",
    ),
    Idle(
        these("eval_episodes"), lambda value: value("eval_interval") == 0, "--eval-interval 0: none is made"
    ),
    Idle(
        these("compile"),
        lambda value: value("device") == "cuda" and value("compile") == "on",
        "the updates of --device cuda are captured as they are",
    ),
)


def idle_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """Those of ``settings``, by their flags' names, that would do nothing in a run of them, and why. One at
    its default value asks for nothing.
    """
    named = (settings[name] for name in ("algo", "online_algo") if name in settings)
    algorithms = {*named, *ALGORITHMS}
    sections = [*SECTIONS.values(), *map(settings_class, algorithms)]
    defaults = {flag_of(option): option.default for section in sections for option in options_of(section)}

    def value(name: str) -> Any:
        return settings.get(name, defaults[name])

    told: dict[str, str] = {}
    for idle in IDLE:
        if idle.condition(value):
            told = dict.fromkeys(idle.names(value), idle.reason) | told
    return {name: told[name] for name, given in settings.items() if name in told and given != defaults[name]}


def refuse_idle(settings: Mapping[str, Any], asked: Collection[str]) -> None:
    """Raise ConfigError if one of ``asked``, the names that the user gave, would do nothing."""
    for name, reason in idle_settings(settings).items():
        if name in asked:
            raise ConfigError(f"--{name.replace('_', '-')} would do nothing: {reason}")
