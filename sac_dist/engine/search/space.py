"""What a search may change: the ranges that ``--optimize`` tries by itself, and those of a user's file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sac_dist.settings import AgentConfig, Config, ConfigError
from sac_dist.settings.values import kinds, of_kind
from sac_dist.settings.yaml_file import read_mapping

OF_TRAINING = ("batch_size", "warmup_steps", "actor_warmup_steps", "update_ratio")
OF_DATA = ("demo_ratio", "her_ratio")
SEARCHABLE = (*(field.name for field in fields(AgentConfig)), *OF_TRAINING, *OF_DATA)
STEP_SIZES = ("actor_lr", "critic_lr", "alpha_lr")
USAGE = "a list of values, or {low: 1, high: 5} with log: true where wanted"


@dataclass(frozen=True)
class Range:
    """The values that a trial may give to settings: one and the same to all of ``names``."""

    names: tuple[str, ...]
    choices: tuple[Any, ...] = ()
    low: float = 0.0  # without choices
    high: float = 0.0
    log: bool = False

    @property
    def label(self) -> str:
        return ", ".join(self.names)

    @property
    def ends(self) -> tuple[Any, ...]:
        return self.choices or (self.low, self.high)

    def __contains__(self, value: Any) -> bool:
        return value in self.choices if self.choices else self.low <= value <= self.high

    def to_plain(self) -> Any:
        """As a file of ranges has it."""
        if self.choices:
            return list(self.choices)
        return {"low": self.low, "high": self.high, "log": self.log}


def usual_ranges(config: Config, actions: int, given: Collection[str]) -> list[Range]:
    """For a search around ``config``, of an environment with so many actions, that leaves alone what was
    ``given``. Each has the value of ``config``.
    """
    lists: dict[str, tuple[Any, ...]] = {
        "discount": (0.9, 0.95, 0.98, 0.99, 0.995),
        "hidden_width": (64, 128, 256),
        "batch_size": (64, 128, 256, 512),
        "update_ratio": (0.33, 0.5, 1.0, 2.0),
        "normalize_observations": (False, True),
    }
    if config.agent.target_network:
        lists["tau"] = (0.005, 0.01, 0.02, 0.05)
    if not config.data.relabels and config.train.engine == "local":
        lists["n_step"] = tuple(n for n in (1, 3, 5) if n <= (config.env.horizon or n))
    if config.agent.alpha is None:
        lists["target_entropy"] = tuple(-actions * share for share in (0.25, 0.5, 1.0))
    present = values_in(config, actions)
    ranges = [
        Range((name,), tuple(sorted({*values, present[name]})))
        for name, values in lists.items()
        if name not in given
    ]
    sizes = tuple(name for name in STEP_SIZES if name not in given)
    if sizes:
        rates = [present[name] for name in sizes]
        ranges.insert(0, Range(sizes, low=min(1e-4, *rates), high=max(3e-3, *rates), log=True))
    return ranges


def values_in(config: Config, actions: int) -> dict[str, Any]:
    """The settings of ``config`` by flat name; ``target_entropy`` in nats."""
    values = config.flat()
    return {"target_entropy": -0.5 * actions} | values


def read_ranges(path: Path, given: Collection[str]) -> list[Range]:
    """Those of a YAML file. Raises ConfigError."""
    known = kinds()
    ranges: list[Range] = []
    for label, value in read_mapping(path).items():
        names = tuple(name.strip().replace("-", "_") for name in str(label).split(","))
        for name in names:
            if name not in SEARCHABLE:
                raise ConfigError(
                    f"{path}: {name} is nothing to search over; {', '.join(SEARCHABLE[:6])}, … are"
                )
            if name in given:
                raise ConfigError(f"--{name.replace('_', '-')} is given and in {path}: leave one out")
            if any(name in other.names for other in ranges):
                raise ConfigError(f"{path}: {name} stands there twice: give it once")
        ranges.append(_range(names, value, known[names[0]], f"{path}: {label}"))
    return ranges


def _range(names: tuple[str, ...], value: Any, kind: Any, where: str) -> Range:
    try:
        if isinstance(value, list) and value:
            choices = tuple(of_kind(one, kind) for one in value)
            if len(set(choices)) == len(choices):
                return Range(names, choices)
        elif isinstance(value, Mapping) and {"low", "high"} <= value.keys() <= {"low", "high", "log"}:
            low, high = of_kind(value["low"], kind), of_kind(value["high"], kind)
            log = value.get("log", False)
            numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
            if numbers and low < high and isinstance(log, bool) and not (log and low <= 0):
                return Range(names, low=low, high=high, log=log)
    except (ValueError, OverflowError):
        raise ConfigError(f"{where} cannot be {value!r}") from None
    raise ConfigError(f"{where} is no range: give {USAGE}")


def check_ranges(ranges: Iterable[Range], config: Config) -> None:
    """Raise ConfigError for a value that no run takes."""
    for each in ranges:
        for value in each.ends:
            config.with_settings(dict.fromkeys(each.names, value))


def distributions(ranges: Iterable[Range]) -> dict[str, Any]:
    """As Optuna has them."""
    from optuna import distributions as known

    found: dict[str, Any] = {}
    for each in ranges:
        if each.choices:
            found[each.label] = known.CategoricalDistribution(each.choices)
        elif isinstance(each.low, int) and isinstance(each.high, int):
            found[each.label] = known.IntDistribution(each.low, each.high, log=each.log)
        else:
            found[each.label] = known.FloatDistribution(each.low, each.high, log=each.log)
    return found


def settings_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by flat name from a trial's values by label."""
    return {name: value for label, value in params.items() for name in label.split(", ")}
