"""The study of a search in its folder: settings that stay, trials, and what is known of them.

Optuna's storage is a SQLite file, so a search that was killed goes on where it was. Its sampler is seeded
anew for each trial by the trial's number: what it suggests depends on that and on the scores so far, not on
where the search was interrupted.
"""

from __future__ import annotations

import fcntl
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sac_dist.engine.search.space import Range, distributions, settings_of, values_in
from sac_dist.settings import Config, ConfigError, check_path
from sac_dist.system.files import replacing

if TYPE_CHECKING:
    import optuna

RANDOM = 8  # trials before the sampler goes by scores
COMPARED = 5  # trials before one is pruned
RANKED = 10  # trials with a score before importances mean anything


class SearchFolder:
    """Where a search lies: ``search.json``, ``study.db``, a folder for each trial, the report. It is locked
    until the process ends.
    """

    def __init__(self, path: Path) -> None:
        """Raises ConfigError if it cannot be made, holds something else, or another search is at it."""
        check_path(path)
        self.path, self.file = path, path / "search.json"
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not self.file.is_file() and any(child.name != "lock" for child in path.iterdir()):
                raise ConfigError(f"{path} holds something else than a search: give --run-dir a new folder")
            self._lock = open(path / "lock", "w")  # noqa: SIM115 (held until the process ends)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another search is writing to {path}") from None
        except OSError as error:
            raise ConfigError(
                f"cannot write {path}: {error.strerror}; choose another with --run-dir"
            ) from None

    def close(self) -> None:
        self._lock.close()

    def trial(self, number: int) -> Path:
        return self.path / f"trial-{number:04d}"

    def begin(self, config: Config, ranges: Sequence[Range], actions: int) -> None:
        """Write down what stays over the search."""
        found = {
            "config": config.to_dict(),
            "ranges": {each.label: each.to_plain() for each in ranges},
            "actions": actions,
        }
        with replacing(self.file) as temporary:
            temporary.write_text(json.dumps(found, indent=1))

    def begun(self) -> tuple[Config, list[Range], int] | None:
        """What :meth:`begin` wrote; None: the search is new. Raises ConfigError if it is damaged."""
        if not self.file.is_file():
            return None
        try:
            found = json.loads(self.file.read_text())
            ranges = [_range(label, value) for label, value in found["ranges"].items()]
            return Config.from_dict(found["config"]), ranges, int(found["actions"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{self.file} is damaged: {error!r}") from None


def _range(label: str, value: Any) -> Range:
    names = tuple(label.split(", "))
    return Range(names, tuple(value)) if isinstance(value, list) else Range(names, **value)


class Study:
    """The trials of a search, which are asked for one after the other."""

    def __init__(self, folder: SearchFolder, config: Config, ranges: Sequence[Range], actions: int) -> None:
        """Raises ConfigError where the storage cannot be read."""
        import optuna

        optuna.logging.set_verbosity(logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self.seed, self.distributions = config.train.seed, distributions(ranges)
        pruner = optuna.pruners.MedianPruner(
            n_startup_trials=COMPARED, n_warmup_steps=2
        )  # not at the first evaluation
        try:
            self.optuna = optuna.create_study(
                storage=f"sqlite:///{(folder.path / 'study.db').absolute()}",
                study_name="search",
                direction="maximize",
                load_if_exists=True,
                pruner=pruner,
            )
        except Exception as error:  # whatever a damaged database makes SQLAlchemy raise
            raise ConfigError(f"cannot read {folder.path / 'study.db'}: {_line(error)}") from error
        if not self.trials:  # the first trial is the settings as they are
            present = values_in(config, actions)
            own = {each.label: present.get(each.names[0]) for each in ranges}
            inside = {
                each.label for each in ranges if own[each.label] is not None and own[each.label] in each
            }
            self.optuna.enqueue_trial({label: own[label] for label in inside})

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        return self.optuna.get_trials(deepcopy=False)

    @property
    def ended(self) -> list[optuna.trial.FrozenTrial]:
        """Those that came to a score or were pruned."""
        return [trial for trial in self.trials if trial.state.name in ("COMPLETE", "PRUNED")]

    @property
    def complete(self) -> list[optuna.trial.FrozenTrial]:
        """Those with a score, the best first; of several with one score that with the highest return."""
        found = [trial for trial in self.trials if trial.state.name == "COMPLETE"]
        return sorted(found, key=lambda trial: (-(trial.value or 0.0), -trial.user_attrs["return"]))

    def ask(self) -> optuna.trial.Trial:
        """The trial that was under way when the search was interrupted, else a new one."""
        import optuna

        for trial in self.trials:
            if trial.state.name == "RUNNING":
                if trial.params.keys() == self.distributions.keys():
                    return optuna.trial.Trial(self.optuna, trial._trial_id)
                self.optuna.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # killed as it was made
        number = len([trial for trial in self.trials if trial.state.name != "WAITING"])
        self.optuna.sampler = optuna.samplers.TPESampler(
            seed=(self.seed * 1_000_003 + number) % 2**32, n_startup_trials=RANDOM, multivariate=True
        )
        return self.optuna.ask(self.distributions)

    def scored(self, trial: optuna.trial.Trial, score: float, attributes: Mapping[str, Any]) -> None:
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        self.optuna.tell(trial.number, score)

    def pruned(self, trial: optuna.trial.Trial, attributes: Mapping[str, Any]) -> None:
        """It was ended early, or came to nothing."""
        import optuna

        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        self.optuna.tell(trial.number, state=optuna.trial.TrialState.PRUNED)

    def importances(self) -> dict[str, float]:
        """Of each range, by label, the highest first; empty: nothing can be said yet."""
        import optuna

        if len({trial.value for trial in self.complete}) < RANKED:
            return {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        try:
            return optuna.importance.get_param_importances(self.optuna, evaluator=evaluator)
        except (ValueError, RuntimeError):
            return {}


def settings_of_trial(trial: optuna.trial.FrozenTrial | optuna.trial.Trial) -> dict[str, Any]:
    return settings_of(trial.params)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
