"""How well a policy does where the world is another one: the call behind ``--test --sweep``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from envs.tasks.randomization import LOOKS, QUANTITIES, Randomization
from sac_dist.acting.environment import is_arm_task
from sac_dist.acting.evaluation import Evaluation
from sac_dist.acting.playback import play, silent
from sac_dist.settings import ConfigError, EnvConfig
from sac_dist.storage.checkpoint import Checkpoint


def sweep(
    policy: Checkpoint,
    overrides: EnvConfig,
    quantity: str,
    values: Sequence[float],
    episodes: int,
    deterministic: bool = True,
    on_value: Callable[[float, Evaluation], None] = lambda value, evaluation: None,
    note: Callable[[str], None] = silent,
) -> list[Evaluation]:
    """:func:`play` with ``quantity`` at each of ``values``; the quantities are those of the tasks' option
    ``randomize`` (envs/tasks/randomization.py).

    What else the policy's training randomised is off, so that policies are compared in one world;
    ``overrides`` may randomise other quantities. Episodes begin alike at each value.

    Raises ConfigError for a quantity or a value that makes no sense, and for another environment than a task
    of a robot at its table.
    """
    check_sweep(quantity, values)
    config = overrides.over(policy.config.env)
    if not is_arm_task(config):
        raise ConfigError(
            f"{config.name} has no {quantity} to sweep: only the tasks of this package and your own on "
            "envs.tasks.arm.ArmEnv do"
        )
    others = _ranges(overrides.kwargs.get("randomize"))
    measured: list[Evaluation] = []
    for value in map(float, values):
        world = {**overrides.kwargs, "randomize": {**others, quantity: [value, value]}}
        evaluation = play(
            policy,
            replace(overrides, kwargs=world),
            episodes,
            deterministic,
            note=silent if measured else note,
        )
        if evaluation.successes is None:
            raise ConfigError(f'{config.name} does not say in info["success"] what a success is')
        measured.append(evaluation)
        on_value(value, evaluation)
    return measured


def check_sweep(quantity: str, values: Sequence[float]) -> None:
    """Raises ConfigError for a quantity that there is not, and for a value that it cannot have."""
    known = {name: each for name, each in QUANTITIES.items() if name not in LOOKS}
    if quantity in LOOKS:
        raise ConfigError(f"a sweep over {quantity} shows nothing: it changes pictures, which no policy sees")
    if quantity not in known:
        raise ConfigError(f"there is no {quantity!r} to sweep: choose one of {', '.join(known)}")
    for value in values:
        if not known[quantity].allows(value):
            raise ConfigError(f"a sweep over {quantity} cannot have {value}: it is {known[quantity].wanted}")


def _ranges(randomize: Mapping[str, Any] | str | None) -> dict[str, tuple[float, float]]:
    try:
        return {} if randomize is None else Randomization(randomize).ranges
    except ValueError as error:
        raise ConfigError(str(error)) from None
