"""What time_to_success.py has found, as a table and as a picture. ``order``: the names of the sides."""

from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure


def middle(runs: list[dict[str, Any]], name: str) -> float:
    """The median over the seeds, where one that has not passed counts as endless."""
    return median(float("inf") if run[name] is None else run[name] for run in runs)


def by_side(results: list[dict[str, Any]], order: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The runs of each side with each settings that has any, in this order and that of the seeds."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for settings in dict.fromkeys(run["settings"] for run in results):
        for side in order:
            found = [run for run in results if (run["settings"], run["side"]) == (settings, side)]
            if found:
                runs[f"{side}, {settings}"] = sorted(found, key=lambda run: run["seed"])
    return runs


def table(results: list[dict[str, Any]], order: list[str]) -> str:
    """Medians, and how many times those of sac_dist with the same settings they are."""

    def cell(value: float, unit: str) -> str:
        return f"{value:.1f}{unit}" if value < float("inf") else "not within"

    sides = by_side(results, order)
    lines = [
        "| side | training seconds, median | total seconds, median | against sac_dist: training, total "
        "| seeds that passed |"
    ]
    lines.append("|---|---|---|---|---|")
    for side, runs in sides.items():
        training, total = middle(runs, "training_s"), middle(runs, "total_s")
        ratios = ""
        if ours := sides.get(f"sac_dist, {runs[0]['settings']}"):
            ratios = f"{cell(training / middle(ours, 'training_s'), ' ×')}, {cell(total / middle(ours, 'total_s'), ' ×')}"
        seeds = [str(run["seed"]) for run in runs if run["passed_at_step"] is not None]
        passed = f"{len(seeds)} of {len(runs)}: {', '.join(seeds)}"
        lines.append(f"| {side} | {cell(training, '')} | {cell(total, '')} | {ratios} | {passed} |")
    return "\n".join(lines)


def plot(results: list[dict[str, Any]], order: list[str], path: Path) -> None:
    """A line per seed from its training seconds to its total seconds: the line is the start-up."""
    sides = by_side(results, order)
    figure = Figure(figsize=(7.2, 0.9 + 0.5 * len(sides)), dpi=150, layout="constrained")
    axes = figure.subplots()
    for row, runs in enumerate(sides.values()):
        for i, run in enumerate(runs):
            y = row + (i - (len(runs) - 1) / 2) * 0.6 / len(runs)
            if run["passed_at_step"] is None:
                axes.plot(run["limit"], y, "x", color="#d1495b", markersize=4)
            else:
                axes.plot([run["training_s"], run["total_s"]], [y, y], color="#9fb3c8", linewidth=1)
                axes.plot(run["training_s"], y, "o", color="#3b6fb6", markersize=4)
                axes.plot(run["total_s"], y, "o", color="#3b6fb6", markersize=4, markerfacecolor="white")
    for style, label in (
        ({"markerfacecolor": "#3b6fb6"}, "training"),
        ({"markerfacecolor": "white"}, "with start-up"),
        ({"marker": "x", "color": "#d1495b"}, "not within the limit"),
    ):
        axes.plot(
            [],
            [],
            **{"marker": "o", "color": "#3b6fb6", "linestyle": "", "markersize": 4, "label": label} | style,
        )
    axes.set(xscale="log", xlabel="seconds until 95 % of 100 unseen episodes succeed, a dot per seed")
    axes.set_yticks(range(len(sides)), list(sides))
    axes.invert_yaxis()
    axes.set_xticks([1, 2, 5, 10, 20, 50, 100, 200, 500])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlim(1, 1.1 * max(run["total_s"] or run["limit"] for run in results))
    axes.grid(axis="x", which="both", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path)
