"""What is in demonstrations, as a short text and as a picture."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sac_dist.acting.evaluation import wilson_interval
from sac_dist.acting.inset import in_colours
from sac_dist.data.schema import Field
from sac_dist.data.transitions import Transitions
from sac_dist.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS, CUT = "#3b6fb6", "#d1495b"  # the learning curve's colours
MOST_BINS = 40
WIDEST_SOURCE = 100  # characters
MOST_CAMERAS, FILMED = 4, 5  # of which pictures are shown, and how many of an episode
FILM_HEIGHT = 1.1  # inches


def describe(demos: Transitions, name: str) -> str:
    """Counts, ranges, returns, success and ends, aligned, in several lines."""
    facts = [
        ("episodes", f"{len(demos.ends):,}"),
        ("transitions", f"{len(demos):,}"),
        (
            "observation",
            ", ".join([f"{demos.observation.shape[1]} numbers", *map(str, demos.schema.pictures)]),
        ),
        ("action", f"{demos.action.shape[1]} numbers"),
        ("success", _success(demos)),
        (
            "ends",
            f"{int(demos.terminated.sum()):,} terminated, "
            f"{int((demos.truncated & ~demos.terminated).sum()):,} truncated",
        ),
    ]
    if demos.is_intervention is not None:
        count = int(demos.is_intervention.sum())
        facts.append(("by a person", f"{count:,} transitions, {count / len(demos):.1%}"))
    if demos.source:
        facts.append(("source", _source(demos.source)))
    ranges: list[tuple[str, npt.NDArray[Any]]] = [
        ("observation", demos.observation),
        ("action", demos.action),
    ]
    ranges += [(f"action {index}", demos.action[:, index]) for index in range(demos.action.shape[1])]
    ranges += [("reward", demos.reward), ("return", demos.returns), ("length", demos.lengths)]
    lines = [
        name,
        *(f"  {label:12}  {value}" for label, value in facts),
        "",
        f"  {'':12}  {'min':>10}  {'mean':>10}  {'max':>10}",
    ]
    for label, values in ranges:
        if not values.size:  # observations that are pictures alone
            continue
        figures = (values.min(), values.mean(dtype=np.float64), values.max())
        lines.append(f"  {label:12}" + "".join(f"  {figure:10.4g}" for figure in figures))
    return "\n".join(lines)


def draw(demos: Transitions, path: str | os.PathLike[str]) -> None:
    """Write a picture of the distributions of returns, lengths, rewards and of each entry of the actions, and
    of what cameras saw; ``path`` ends in .png.
    """
    from matplotlib.backends.backend_agg import (
        FigureCanvasAgg,  # slow to import; no pyplot: a user's own backend stays as it is
    )
    from matplotlib.figure import Figure

    size = demos.action.shape[1]
    cameras = demos.schema.pictures[:MOST_CAMERAS]
    heights = [2.4, 2.8 + 0.16 * min(size, 40), *[FILM_HEIGHT] * len(cameras)]
    figure = Figure(figsize=(9, sum(heights)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    rows: list[Any] = [["returns", "lengths", "rewards"]]
    rows += [[name] * 3 for name in ("actions", *films(cameras))]
    panels = figure.subplot_mosaic(rows, height_ratios=heights)
    _histogram(panels["returns"], demos.returns, "return", "episodes")
    _histogram(panels["lengths"], demos.lengths, "length in transitions", "episodes")
    _histogram(panels["rewards"], demos.reward, "reward", "transitions", log=True)
    _actions(panels["actions"], demos.action)
    for name, camera in films(cameras).items():
        _film(panels[name], demos, camera)
    figure.suptitle(
        f"{len(demos.ends):,} episodes, {len(demos):,} transitions, success {_success(demos)}", fontsize=10
    )
    with replacing(path) as temporary:
        figure.savefig(temporary)


def films(cameras: Sequence[Field]) -> dict[str, Field]:
    """By the names of their panels."""
    return {f"film of {camera.name}": camera for camera in cameras}


def _film(axes: Axes, demos: Transitions, camera: Field) -> None:
    """What a camera saw in the first and in the last episode, from beginning to end."""
    strips = []
    for episode in (0, len(demos.starts) - 1):
        begin, end = int(demos.starts[episode]) + episode, int(demos.ends[episode]) + episode
        pictures = demos.pictures(begin, end + 1)[camera.name]
        chosen = np.linspace(0, len(pictures) - 1, FILMED).astype(int)
        strips.append(np.concatenate([in_colours(pictures[each]) for each in chosen], axis=1))
    axes.imshow(np.concatenate(strips, axis=1))
    axes.set_title(f"{camera.name}, in the first and in the last episode", fontsize=9)
    axes.set_axis_off()


def _success(demos: Transitions) -> str:
    if demos.success is None:
        return "not recorded"
    count, episodes = int(demos.success.sum()), len(demos.success)
    low, high = wilson_interval(count, episodes)
    return f"{count:,} of {episodes:,} = {count / episodes:.0%} (95 % interval {low:.0%} to {high:.0%})"


def _source(source: dict[str, Any]) -> str:
    """One line: what is known, first the environment."""
    env = source.get("env")
    known = {
        **(env if isinstance(env, dict) else {}),
        **{key: value for key, value in source.items() if key != "env" or env is not None},
    }
    if isinstance(env, dict):
        known["env"] = env.get("env")
    parts = (
        f"{key} {value if isinstance(value, str) else json.dumps(value)}"
        for key, value in known.items()
        if value is not None
    )
    text = "".join(letter if letter.isprintable() else "?" for letter in ", ".join(parts))
    return text if len(text) <= WIDEST_SOURCE else f"{text[: WIDEST_SOURCE - 3]}..."


def _histogram(axes: Axes, values: npt.NDArray[Any], label: str, counted: str, log: bool = False) -> None:
    from matplotlib.ticker import MaxNLocator

    values = values.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    whole = np.array_equal(values, np.round(values)) and high - low < MOST_BINS
    if whole:
        edges = np.arange(low - 0.5, high + 1)  # a bar each
    else:
        edges = np.histogram_bin_edges(values, min(MOST_BINS, max(8, round(len(values) ** 0.5))), (low, high))
    axes.hist(values, bins=edges.tolist(), color=BARS, edgecolor="white", linewidth=0.4, log=log)
    axes.axvline(float(values.mean()), color=CUT, linewidth=1.4)
    axes.set_title(f"mean {values.mean():.4g}", fontsize=9, color=CUT)
    if whole:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlim(low - 2.5, high + 2.5)
    if log:
        axes.set_ylim(bottom=0.7)  # one transition shows
    axes.set_xlabel(label)
    axes.set_ylabel(counted)
    axes.grid(axis="y", alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["right", "top"]].set_visible(False)


def _actions(axes: Axes, actions: npt.NDArray[np.float32]) -> None:
    """A row per entry of the action, darker where more transitions lie."""
    edges = np.linspace(-1, 1, MOST_BINS + 1)
    shares = np.array([np.histogram(column, edges)[0] for column in actions.T]) / len(actions)
    size = len(shares)
    image = axes.pcolormesh(
        edges, np.arange(size + 1) - 0.5, shares, cmap="Blues", vmin=0, edgecolors="face", linewidth=0.1
    )
    axes.plot(
        actions.mean(0, dtype=np.float64), np.arange(size), "|", color=CUT, markersize=9, markeredgewidth=2
    )
    axes.set_title("mean of each", fontsize=9, color=CUT)
    axes.set_ylim(size - 0.5, -0.5)
    axes.set_yticks(range(0, size, max(1, -(-size // 20))))
    axes.set_xlabel("action, in [-1, 1]")
    axes.set_ylabel("entry of the action")
    axes.spines[["right", "top"]].set_visible(False)
    bar = axes.figure.colorbar(image, ax=axes, pad=0.01)
    bar.set_label("share of transitions")
    bar.ax.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    bar.outline.set_visible(False)
