"""What a search leaves: a report in its folder, and the tuned file of its environment."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sac_dist.engine.search.space import OF_TRAINING
from sac_dist.engine.search.study import Study, settings_of_trial
from sac_dist.reporting.commands import command
from sac_dist.reporting.searches import Found, TrialRow, draw, write_page, write_trials
from sac_dist.settings import Config, tuned
from sac_dist.settings.values import defaults
from sac_dist.system.files import replacing

if TYPE_CHECKING:
    import optuna

KEPT = (*OF_TRAINING, "learner", "her", "her_ratio", "demo_ratio")  # of what is not the agent's


def write_report(study: Study, base: Config, labels: Sequence[str], path: Path) -> None:
    """``report.md``, ``report.png`` and ``trials.csv``. Raises OSError."""
    best = study.complete
    found = Found(
        title=f"{base.env.name}: {base.train.steps:,} steps a trial",
        kind="return" if best[0].user_attrs["success"] is None else "success",
        rows=[row(trial) for trial in study.ended],
        best=[row(trial) for trial in best],
        labels=labels,
        importances=study.importances(),
    )
    write_trials(found, path / "trials.csv")
    draw(found, path / "report.png")
    write_page(found, path / "report.md")


def row(trial: optuna.trial.FrozenTrial) -> TrialRow:
    pruned = trial.state.name == "PRUNED"
    seen = trial.intermediate_values
    score = trial.value if not pruned else seen[max(seen)] if seen else None
    return TrialRow(
        trial.number,
        score,
        pruned,
        trial.user_attrs.get("seconds", 0.0),
        trial.params,
        trial.user_attrs.get("why", ""),
    )


def write_tuned(study: Study, base: Config, path: Path, flags: Sequence[str]) -> str:
    """The best trial's settings as the environment's file in ``tuned/``, and a line about it. ``flags``: with
    which the search began. Raises OSError.
    """
    best, env = study.complete[0], base.env.name
    first = next((trial for trial in study.complete if trial.number == 0), None)
    assert best.value is not None
    if first is not None and first.value is not None and best.value <= first.value:
        return f"nothing was better than the settings it began with ({first.value:.4g}): no tuned file"
    target = tuned.OWN / tuned.file_name(env)
    mark = f"# From {path}: "
    before = target.read_text(encoding="utf-8") if target.is_file() else ""
    replaced = ""
    if before and not before.startswith(mark):
        kept = target.with_suffix(".yaml.before")
        target.replace(kept)
        replaced = f", the one that was there is {kept.name}"
    beginning = f"; {first.value:.4g} with the settings it began with" if first else ""
    comment = (
        f"{mark}{best.value:.4g} after {base.train.steps:,} steps, trial {best.number}, the best of "
        f"{len(study.ended)}{beginning}.\n# One seed, 100 unseen episodes.\n"
        f"# {command('--optimize', str(len(study.ended)), '--run-dir', path, *flags)}\n"
    )
    tuned.OWN.mkdir(exist_ok=True)
    with replacing(target) as temporary:
        text = yaml.safe_dump(settings_for(base.with_settings(settings_of_trial(best))), sort_keys=False)
        temporary.write_text(comment + text, encoding="utf-8")
    return f"{target}: {best.value:.4g}, taken by {command('--train', '--env', env)}{replaced}"


def flags_of(config: Config, names: Collection[str]) -> list[str]:
    """The settings of these names as the command line has them."""
    values, flags = config.flat(), []
    for name in ("env", "steps", *(name for name in names if name not in ("env", "steps", "run_dir"))):
        flag, value = f"--{name.replace('_', '-')}", values.get(name)
        if isinstance(value, bool):
            flags.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, tuple):
            flags += [flag, *value]
        elif value is not None:
            flags += [flag, json.dumps(value) if isinstance(value, dict) else str(value)]
    return flags


def settings_for(config: Config) -> Mapping[str, Any]:
    """What of a run's settings makes it learn as it does, where that is not the default."""
    known, found = defaults(), config.flat()
    own = {name for settings in config.to_dict()["algorithms"].values() for name in settings}
    names = [*config.to_dict()["agent"], *KEPT, *sorted(own)]
    kept = {name: found[name] for name in names if name in found and found[name] != known.get(name)}
    return {"env": config.env.name, **kept}
