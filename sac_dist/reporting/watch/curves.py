"""The run's curves on the page, read from its metrics.csv: whenever the page begins, they are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sac_dist.reporting.columns import INTERVENTION_RATE
from sac_dist.reporting.metrics import read_metrics
from sac_dist.settings import ConfigError

POINTS = 400  # of a curve, at most
CHARTS = {  # title → columns with their colours
    "success": (("train_success", "training", "#4c9be8"), ("eval_success", "evaluation", "#e8743b")),
    "interventions": ((INTERVENTION_RATE, "a person acts", "#6b9e4b"),),
    "return": (("train_return", "training", "#4c9be8"), ("eval_return", "evaluation", "#e8743b")),
}


class Curves:
    """``line``: the newest numbers."""

    def __init__(self, gui: Any, folder: Path) -> None:
        self._gui, self._path = gui, folder / "metrics.csv"
        self._stamp: tuple[int, int] | None = None
        self._charts: dict[str, Any] = {}
        self.line = ""

    def update(self) -> None:
        """Draw what is new in the file; what cannot be read is tried again later."""
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp == self._stamp:
                return
            rows = read_metrics(self._path)
        except (OSError, ConfigError, ValueError):
            return
        self._stamp = stamp
        for title, series in CHARTS.items():
            self._draw(title, rows, series)
        alpha = next((row["alpha"] for row in reversed(rows) if row.get("alpha")), None)
        self.line = "" if alpha is None else f"temperature {float(alpha):.3g}"

    def _draw(self, title: str, rows: list[dict[str, str]], series: tuple[tuple[str, str, str], ...]) -> None:
        names = [name for name, _, _ in series]
        those = [row for row in rows if any(row.get(name) for name in names)]
        if not those:
            return
        those = those[:: -(-len(those) // POINTS)]
        steps = np.array([float(row["step"]) for row in those])
        columns = [
            np.array([float(row[name]) if row.get(name) else np.nan for row in those]) for name in names
        ]
        from viser import uplot

        data, values = (steps, *columns), np.concatenate(columns)
        values = values[np.isfinite(values)]
        if not len(values):
            return
        # the page would look for it among numbers that are not there, too, and draw nothing
        low, high = values.min(), values.max()
        room = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
        scales = {
            "x": uplot.Scale(time=False),
            "y": uplot.Scale(range=(float(low - room), float(high + room))),
        }
        if title in self._charts:
            self._charts[title].scales, self._charts[title].data = scales, data
            return

        lines = [
            uplot.Series(label=label, stroke=colour, width=2, spanGaps=True) for _, label, colour in series
        ]
        self._charts[title] = self._gui.add_uplot(
            data,
            (uplot.Series(label="steps"), *lines),
            title=title,
            scales=scales,
            aspect=2.0,
        )
