"""What a search over settings found: a page, a picture and a table."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sac_dist.system.files import replacing

BLUE, RED = "#3b6fb6", "#d1495b"
SHOWN = 5  # trials in the page's table
ACROSS = 5  # ranges side by side in the picture


@dataclass(frozen=True)
class TrialRow:
    """One trial; ``score`` of a pruned one is that of its last evaluation, None where there was none."""

    number: int
    score: float | None
    pruned: bool
    seconds: float
    values: Mapping[str, Any]  # by the range's label
    why: str = ""  # it has no score


@dataclass(frozen=True)
class Found:
    """``rows`` in the order of the trials; ``best`` are some with a score, the best first."""

    title: str
    kind: str  # of score
    rows: Sequence[TrialRow]
    best: Sequence[TrialRow]
    labels: Sequence[str]
    importances: Mapping[str, float]


def short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def write_trials(found: Found, path: Path) -> None:
    """A row of CSV for each trial."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("trial", "score", "pruned", "seconds", *found.labels, "why"))
        for row in found.rows:
            values = [row.values.get(label) for label in found.labels]
            rows.writerow((row.number, row.score, row.pruned, f"{row.seconds:.1f}", *values, row.why))


def write_page(found: Found, path: Path) -> None:
    """Markdown: the best trials, the importances, the picture ``report.png`` beside it."""
    table = [("trial", found.kind, "seconds", *found.labels), ("---",) * (3 + len(found.labels))]
    table += [
        (
            str(row.number),
            short(row.score),
            f"{row.seconds:.0f}",
            *(short(row.values[label]) for label in found.labels),
        )
        for row in found.best[:SHOWN]
    ]
    pruned = sum(row.pruned for row in found.rows)
    lines = [
        *(
            f"# {found.title}",
            "",
            f"{len(found.rows)} trials, {pruned} of them pruned. Trial 0 is what was there before.",
        ),
        *("One seed each: the best of many is partly luck.", ""),
        *("| " + " | ".join(row) + " |" for row in table),
        "",
    ]
    if found.importances:
        lines += [
            "What the score depends on (PED-ANOVA, arXiv:2304.10255):",
            "",
            "| | share |",
            "| --- | --- |",
        ]
        lines += [f"| {label} | {share:.0%} |" for label, share in found.importances.items()]
        lines += [""]
    with replacing(path) as temporary:
        temporary.write_text("\n".join([*lines, "![the trials](report.png)", ""]), encoding="utf-8")


def draw(found: Found, path: Path) -> None:
    """Scores over the trials, importances, and scores over the values of each range."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import; no pyplot, as in plots.py
    from matplotlib.figure import Figure

    below = math.ceil(len(found.labels) / ACROSS)
    figure = Figure(figsize=(11, 3.2 + 2 * below), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(2, 1, height_ratios=[3.2, 2 * below])
    above, values = parts
    history, axes = above.subplots(1, 2)
    _history(history, found)
    names = list(found.importances)[::-1]
    axes.barh(names, [found.importances[name] for name in names], color=BLUE)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_title("importance" if names else "importance: too few trials", fontsize=9)
    places = values.subplots(below, ACROSS, squeeze=False).ravel()
    for place, label in zip(places, found.labels, strict=False):
        _values(place, found, label)
    for place in places[len(found.labels) :]:
        place.set_axis_off()
    figure.suptitle(found.title, fontsize=10)
    with replacing(path) as temporary:
        figure.savefig(temporary)


def _history(axes: Any, found: Found) -> None:
    whole = [row for row in found.rows if not row.pruned and row.score is not None]
    _points(axes, found, lambda row: row.number)
    best = [max(row.score or 0.0 for row in whole[: n + 1]) for n in range(len(whole))]
    axes.step(
        [row.number for row in whole], best, where="post", color=BLUE, linewidth=1.2, label="best so far"
    )
    axes.set_xlabel("trial")
    axes.set_ylabel(found.kind)
    axes.legend(fontsize=7, framealpha=0.85, edgecolor="none")


def _points(axes: Any, found: Found, place: Any) -> None:
    for pruned, colour, marker, label in ((False, BLUE, "o", "trial"), (True, RED, "x", "pruned")):
        rows = [row for row in found.rows if row.pruned == pruned and row.score is not None]
        axes.plot(
            *([place(row) for row in rows], [row.score for row in rows]),
            *(marker,),
            **{"color": colour, "markersize": 4, "label": label, "alpha": 0.8},
        )
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["right", "top"]].set_visible(False)


def _values(axes: Any, found: Found, label: str) -> None:
    values = [row.values[label] for row in found.rows if label in row.values]
    if all(isinstance(value, float) and value > 0 for value in values) and max(values) > 10 * min(values):
        axes.set_xscale("log")
        axes.minorticks_off()
        _points(axes, found, lambda row: row.values[label])
    else:
        places = {value: place for place, value in enumerate(sorted(set(values)))}
        _points(axes, found, lambda row: places[row.values[label]])
        if len(places) <= 2 * ACROSS:
            axes.set_xticks(list(places.values()), [short(value) for value in places], fontsize=7)
        else:
            axes.set_xticks([])
    axes.set_title(label, fontsize=8)
    axes.tick_params(labelsize=7)
