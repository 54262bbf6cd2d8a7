"""What a sweep measured, as a picture and as numbers."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from envs.tasks.randomization import QUANTITIES
from sac_dist.acting.evaluation import Evaluation
from sac_dist.system.files import replacing

COLOURS = ("#3b6fb6", "#d1495b", "#4c9f70", "#8a5fa8", "#c98b2b")  # of policies, in turn
FULL_SCALE = 4  # factors whose ends are further apart lie on a logarithmic scale
COLUMNS = ("success", "lowest", "highest", "return", "length", "episodes")


def draw_sweep(
    measured: Mapping[str, Sequence[Evaluation]], quantity: str, values: Sequence[float], path: Path
) -> None:
    """The success of each policy, by its name, over ``values``, with the 95 % intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import; no pyplot, as in plots.py
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.9), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    order = np.argsort(values, kind="stable")
    places = np.array(values, float)[order]
    for index, (name, evaluations) in enumerate(measured.items()):
        colour = COLOURS[index % len(COLOURS)]
        bounds = np.array([each.success_interval for each in evaluations])[order]
        rates = np.array([each.success_rate for each in evaluations], float)[order]
        axes.fill_between(places, *bounds.T, color=colour, alpha=0.15, linewidth=0)
        axes.vlines(places, *bounds.T, color=colour, alpha=0.4, linewidth=1)
        axes.plot(places, rates, "o-", color=colour, markersize=4, linewidth=1.4, label=name)
    usual = QUANTITIES[quantity].usual
    if places[0] <= usual <= places[-1]:
        axes.axvline(usual, color="black", linestyle=":", linewidth=0.9, label="as it is without randomize")
    if places[0] > 0 and places[-1] / places[0] > FULL_SCALE:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set_xticks(np.unique(places), [f"{place:g}" for place in np.unique(places)])
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(lambda rate, _: f"{rate:.0%}")
    axes.set_ylabel("success rate")
    axes.set_xlabel(f"{quantity}: {QUANTITIES[quantity].meaning}")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["right", "top"]].set_visible(False)
    episodes = len(next(iter(measured.values()))[0].returns)
    axes.set_title(f"{episodes} episodes a point, with the 95 % interval", fontsize=9)
    axes.legend(loc="best", fontsize=8, framealpha=0.85, edgecolor="none")
    with replacing(path) as temporary:
        figure.savefig(temporary)


def write_sweep(
    measured: Mapping[str, Sequence[Evaluation]], quantity: str, values: Sequence[float], path: Path
) -> None:
    """A row of CSV for each policy and value; "lowest" and "highest" are the 95 % interval of the success."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("policy", quantity, *COLUMNS))
        for name, evaluations in measured.items():
            for value, each in zip(values, evaluations, strict=True):
                success = (each.success_rate, *each.success_interval)
                means = (each.mean_return, each.mean_length)
                rows.writerow((name, value, *success, *means, len(each.returns)))
