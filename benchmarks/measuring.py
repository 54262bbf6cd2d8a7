"""What the benchmarks share: random transitions, timing, memory, results and plots. Needs numpy alone: a
peer's Python reads it too.
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from machine import machine

RESULTS = Path(__file__).parent / "results"
OBSERVATION, ACTION = 31, 7  # sizes of SawyerGrasp-v0


def transitions(
    n: int, observation_size: int = OBSERVATION, action_size: int = ACTION, seed: int = 0
) -> tuple[np.ndarray, ...]:
    """n random ones as ReplayBuffer.extend takes them: observations, actions, rewards, next observations,
    terminated, truncated.
    """
    rng = np.random.default_rng(seed)
    observations, following = rng.standard_normal((2, n, observation_size), np.float32)
    actions = rng.uniform(-1, 1, (n, action_size)).astype(np.float32)
    return (
        observations,
        actions,
        rng.random(n, np.float32),
        following,
        rng.random(n) < 0.03,
        np.zeros(n, bool),
    )


def microseconds(call: Callable[[], Any], seconds: float, block: int = 50) -> float:
    """µs of one call: the median over blocks of calls, made for so many seconds after a first block that is
    not counted.
    """
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(block):
            call()
        times.append((time.perf_counter() - start) / block)
    return round(median(times[1:]) * 1e6, 2)


def memory_of(pid: int) -> dict[str, float]:
    """MiB of a process: that nobody else maps (private), that others map too (shared), and with those divided
    among them (share).
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {name: int(rest.split()[0]) for name, rest in (line.split(":", 1) for line in lines)}
    private = kib["Private_Clean"] + kib["Private_Dirty"]
    sizes = {"private": private, "shared": kib["Rss"] - private, "share": kib["Pss"]}
    return {name: round(size / 1024, 1) for name, size in sizes.items()}


def idle(seconds: float = 1.0) -> float:
    """The share of all cores' time that nobody used while this process waited so long; says so where others
    are at work.
    """

    def ticks() -> np.ndarray:
        return np.array(Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:], int)

    before = ticks()
    time.sleep(seconds)
    passed = ticks() - before
    share = round(float((passed[3] + passed[4]) / passed.sum()), 2)  # idle and waiting for a disk
    if share < 0.95:
        print(
            f"only {share:.0%} of the machine is idle: other programs share in what is measured now",
            flush=True,
        )
    return share


def environment(threads: int) -> dict[str, str]:
    """The environment variables of a child process with so many threads."""
    return os.environ | dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)
    )


class Peer:
    """sb3_sbx.py in the peer's own Python: one question, one answer at a time. While it is not asked, it
    sleeps.
    """

    def __init__(self, name: str, python: str, one_core: bool = False) -> None:
        command = [
            python,
            str(Path(__file__).with_name("sb3_sbx.py")),
            name,
            *(["--one-core"] if one_core else []),
        ]
        variables = environment(1) if one_core else None
        self.process = subprocess.Popen(
            command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, question: str, **arguments: Any) -> dict[str, Any]:
        """What the function ``question`` of sb3_sbx.py returns. SystemExit if the process has ended."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps([question, arguments]), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(
                f"{' '.join(map(str, self.process.args))} ended with status {self.process.wait()}"
            )
        return json.loads(answer)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def add_peers(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """The flag ``--peers NAME=PYTHON …``; ``peers`` reads it."""

    def pair(text: str) -> tuple[str, str]:
        name, _, python = text.partition("=")
        if name not in names or not python:
            raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PYTHON with a name of {', '.join(names)}")
        return name, python

    metavar = " ".join(f"{name}=PYTHON" for name in names)
    parser.add_argument(
        "--peers",
        nargs="*",
        type=pair,
        default=[],
        metavar=metavar,
        help="Pythons that have them; none: ours alone",
    )


def record(
    file: str, section: str, results: list[dict[str, Any]], same: Iterable[str], **about: Any
) -> list[dict[str, Any]]:
    """Put ``results`` into a section of results/FILE.json, in place of earlier ones with the same values of
    ``same``; all there are now.

    A section is of one machine and one set of versions: what was measured on others goes.
    """
    path, sections = RESULTS / f"{file}.json", recorded(file)
    here, keys = machine(), tuple(same)
    earlier = sections.get(section, {})
    known = {tuple(result[key] for key in keys) for result in results}
    kept = [one for one in earlier.get("results", []) if tuple(one[key] for key in keys) not in known]
    if earlier and earlier["machine"] != here:
        print(f"{path.name}: dropped {len(kept)} results of another machine or other versions")
        kept, earlier = [], {}
    about = {
        name: earlier.get(name, {}) | value if isinstance(value, dict) else value
        for name, value in about.items()
    }
    sections[section] = {"machine": here} | about | {"results": [*kept, *results]}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(sections, indent=1) + "\n")
    return sections[section]["results"]


def recorded(file: str) -> dict[str, Any]:
    """The sections of results/FILE.json."""
    path = RESULTS / f"{file}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Markdown; a number has three digits at least, and none after the point that it does not need."""

    def cell(value: object) -> str:
        if isinstance(value, float):
            return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
        return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)

    lines = ["| " + " | ".join(map(cell, row)) + " |" for row in (header, *rows)]
    return "\n".join([lines[0], "|---" * len(header) + "|", *lines[1:]])


def subplots(rows: int, columns: int, width: float = 4.5, height: float = 3.6) -> tuple[Any, list[Any]]:
    """A figure and its axes, row by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for each in axes:
        each.grid(alpha=0.25, linewidth=0.6)
        each.spines[["right", "top"]].set_visible(False)
    return figure, axes


def from_zero(axes: Any) -> None:
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])


def finish(figure: Any, file: str) -> None:
    """Write results/FILE.png."""
    figure.savefig(RESULTS / f"{file}.png")
    print(f"\nwrote {file}.png in {RESULTS}")
