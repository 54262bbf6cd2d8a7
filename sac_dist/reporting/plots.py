"""The learning curve of a run, drawn from its metrics.csv and reward_log.npy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sac_dist.acting.evaluation import wilson_interval
from sac_dist.reporting.metrics import read_metrics, read_returns
from sac_dist.reporting.reporter import RECENT
from sac_dist.settings import ConfigError
from sac_dist.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWN = (  # columns of metrics.csv
    "step",
    "episodes",
    "wall_time_s",
    "train_return",
    "train_success",
    "eval_step",
    "eval_return",
    "eval_success",
    "eval_episodes",
    "offline_updates",
)
TRAINING, EVALUATION, EPISODES = "#3b6fb6", "#d1495b", "#9fb3c8"  # colours that also differ in grey


def learning_curve(run_dir: str | os.PathLike[str]) -> Path:
    """Draw ``learning_curve.png`` in ``run_dir`` and return its path.

    Success rates (where the environment has them) and undiscounted returns over environment steps, with wall
    time as a
    second axis: training as the mean of the last 100 episodes, evaluations with their 95 % interval. Raises
        ConfigError
    if the run has no metrics.csv.
    """
    from matplotlib.backends.backend_agg import (
        FigureCanvasAgg,  # slow to import; no pyplot: a user's own backend stays as it is
    )
    from matplotlib.figure import Figure

    run_dir = Path(run_dir)
    if not (run_dir / "metrics.csv").is_file():
        raise ConfigError(f"{run_dir} has no metrics.csv: nothing to draw")
    columns = _columns(run_dir / "metrics.csv")
    has_success = bool(np.isfinite(np.concatenate([columns["train_success"], columns["eval_success"]])).any())
    figure = Figure(figsize=(7.2, 6.4 if has_success else 3.9), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes: list[Axes] = figure.subplots(2 if has_success else 1, 1, sharex=True, squeeze=False)[:, 0].tolist()
    if has_success:
        _draw_success(axes[0], columns)
    _draw_returns(axes[-1], columns, read_returns(run_dir / "reward_log.npy"))
    for each in axes:
        _style(each, columns)
    axes[-1].set_xlabel(_unit(columns))
    if len(columns["step"]):
        _add_time_axis(axes[0], columns)
        figure.suptitle(f"{run_dir.resolve().name}: {_total(columns)}", fontsize=10)
    path = run_dir / "learning_curve.png"
    with replacing(path) as temporary:
        figure.savefig(temporary)
    return path


def _columns(path: Path) -> dict[str, np.ndarray]:
    """Each column as float64 (rows,), NaN where a cell is empty."""
    rows = read_metrics(path)
    return {name: np.array([float(row.get(name) or "nan") for row in rows]) for name in DRAWN}


def _draw_success(axes: Axes, columns: dict[str, np.ndarray]) -> None:
    _line(axes, columns["step"], columns["train_success"])
    measured = np.isfinite(columns["eval_success"])
    if measured.any():
        steps, rates, episodes = (
            columns[name][measured] for name in ("eval_step", "eval_success", "eval_episodes")
        )
        bounds = np.array(
            [wilson_interval(round(rate * n), int(n)) for rate, n in zip(rates, episodes, strict=True)]
        )
        axes.vlines(steps, bounds[:, 0], bounds[:, 1], color=EVALUATION, alpha=0.3, linewidth=1)
        axes.fill_between(
            steps,
            bounds[:, 0],
            bounds[:, 1],
            color=EVALUATION,
            alpha=0.15,
            linewidth=0,
            label="95 % interval",
        )
        _points(axes, steps, rates, f"evaluation, {_count(episodes)} unseen episodes")
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(lambda rate, _: f"{rate:.0%}")
    axes.set_ylabel("success rate")


def _draw_returns(axes: Axes, columns: dict[str, np.ndarray], returns: np.ndarray) -> None:
    if len(returns) and len(columns["step"]):
        # reward_log has no steps: an episode lies between the rows that counted it
        steps = np.interp(
            np.arange(1, len(returns) + 1), np.append(0, columns["episodes"]), np.append(0, columns["step"])
        )
        axes.plot(
            steps,
            returns,
            ".",
            color=EPISODES,
            markersize=2.5,
            alpha=0.6,
            zorder=1,
            rasterized=True,
            label="training episode",
        )
        _set_range(axes, returns, np.concatenate([columns["train_return"], columns["eval_return"]]))
    _line(axes, columns["step"], columns["train_return"])
    measured = np.isfinite(columns["eval_return"])
    if measured.any():
        _points(axes, columns["eval_step"][measured], columns["eval_return"][measured], "evaluation")
    axes.set_ylabel("return per episode")


def _set_range(axes: Axes, scattered: np.ndarray, whole: np.ndarray) -> None:
    """Show all of ``whole`` and the middle 98 % of ``scattered``: a few disasters must not flatten it."""
    scattered, whole = scattered[np.isfinite(scattered)], whole[np.isfinite(whole)]
    if len(scattered):
        ends = np.append(whole, np.percentile(scattered, [1, 99]))
        margin = 0.08 * max(np.ptp(ends), 1e-6)
        axes.set_ylim(ends.min() - margin, ends.max() + margin)


def _line(axes: Axes, steps: np.ndarray, values: np.ndarray) -> None:
    known = np.isfinite(values)
    if known.any():
        axes.plot(
            steps[known],
            values[known],
            color=TRAINING,
            linewidth=1.6,
            label=f"training, last {RECENT} episodes",
        )


def _points(axes: Axes, steps: np.ndarray, values: np.ndarray, label: str) -> None:
    order = np.argsort(steps, kind="stable")
    axes.plot(steps[order], values[order], "o-", color=EVALUATION, markersize=4, linewidth=1.2, label=label)


def _count(episodes: np.ndarray) -> str:
    low, high = int(episodes.min()), int(episodes.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _style(axes: Axes, columns: dict[str, np.ndarray]) -> None:
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["right", "top"]].set_visible(False)
    if len(columns["step"]):
        axes.set_xlim(0, max(columns["step"].max(), 1))
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="best", fontsize=8, markerscale=1.5, framealpha=0.85, edgecolor="none")


def _total(columns: dict[str, np.ndarray]) -> str:
    seconds, unit = _time_unit(columns["wall_time_s"][-1])
    return f"{columns['step'][-1]:,.0f} {_unit(columns)} in {columns['wall_time_s'][-1] / seconds:.3g} {unit}"


def _unit(columns: dict[str, np.ndarray]) -> str:
    """What a row's ``step`` counts."""
    offline = np.nan_to_num(columns["offline_updates"]).max(initial=0)
    if offline and offline == columns["step"].max():
        return "offline updates"
    return f"environment steps and offline updates ({offline:,.0f})" if offline else "environment steps"


def _time_unit(seconds: float) -> tuple[int, str]:
    return (3600, "h") if seconds > 7200 else (60, "min") if seconds > 300 else (1, "s")


def _add_time_axis(axes: Axes, columns: dict[str, np.ndarray]) -> None:
    from matplotlib.ticker import MaxNLocator

    steps, seconds = np.append(0, columns["step"]), np.append(0, columns["wall_time_s"])
    unit, name = _time_unit(seconds[-1])
    times = np.array(
        [
            time
            for time in MaxNLocator(6).tick_values(0, seconds[-1] / unit)
            if 0 <= time * unit <= seconds[-1]
        ]
    )
    places = np.interp(times * unit, seconds, steps)
    apart = np.append(True, np.diff(places) > 0.05 * steps[-1])  # the start-up takes time but no steps
    top = axes.twiny()
    top.set_xlim(axes.get_xlim())
    top.spines[["right"]].set_visible(False)
    top.set_xticks(places[apart], [f"{time:g}" for time in times[apart]])
    top.set_xlabel(f"wall time ({name})")
