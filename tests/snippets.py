"""The fenced blocks of the README and the tutorials, and how they are run as they stand with small budgets.

A block is run unless the line before it is ``<!-- not run: why -->``. Commands of this package run in this process: a
start takes longer than what they do. ``…`` in a path is the newest run; so101.xml and panda.xml are arms of the tests.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robot_files import write_arm

import sac_dist.engine.train as engine
from sac_dist.cli import main as cli
from sac_dist.runner import __main__ as runner
from sac_dist.settings import Config

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(
    r"(?:<!-- not run: (?P<why>.+?) -->\n+)?^(?P<indent> *)```(?P<kind>\w*)\n(?P<text>.*?)^ *```$",
    re.M | re.S,
)
SHELL = ("bash", "sh")
SET_UP = ("pip", "git", "source", "python3")  # what .ci/run does before it runs the tests
STEPS = 120


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    kind: str
    text: str
    why_not: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("kind")) + 1
        name = page.relative_to(ROOT).as_posix()
        found.append(Block(name, line, match["kind"], match["text"], match["why"]))
    return found


def commands(text: str) -> list[str]:
    """The lines of a shell's block without comments, a line that goes on joined."""
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in text.replace("\\\n", " ").splitlines()]
    return [part.strip() for line in lines if line for part in line.split("&&")]


def furnish(folder: Path) -> None:
    """What the pages take for granted: the cloned folder, and an arm's file."""
    for name in ("models", "demons_data", "examples", "constraints.txt"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("so101", "panda"):
        write_arm(folder, name)


def run(block: Block, names: dict[str, Any]) -> None:
    """In the present folder. ``names``: those of the page's Python blocks before this."""
    if block.kind == "python":
        run_python(block.text, str(block), names)
        return
    here = Path.cwd()
    try:
        for command in commands(block.text):
            run_command(command)
    finally:
        os.chdir(here)


def run_command(command: str) -> None:
    first, *words = shlex.split(command)
    if first == "cd":
        os.chdir(words[0])
    elif first == "printf":
        subprocess.run(["bash", "-c", command], check=True, timeout=10)
    elif first == "export":
        os.environ.update(word.split("=", 1) for word in words)
    elif first == "sac-dist":
        status = cli.main(small(words))
        assert status == 0, f"{command}: status {status}"
    elif first == "python" and words[:2] == ["-m", "sac_dist"]:
        run_command(shlex.join(["sac-dist", *words[2:]]))
    elif first == "python" and words[:2] == ["-m", "sac_dist.runner"]:
        status = runner.main(with_value(words[2:], "--episodes", "2"))
        assert status == 0, f"{command}: status {status}"
    elif first == "python" and words[0].endswith(".py"):
        run_python(Path(words[0]).read_text(encoding="utf-8"), words[0], namespace())
    else:
        assert first in SET_UP or command == "python -m pytest", (
            f"nobody runs {command!r}: <!-- not run: why -->"
        )


def run_python(text: str, name: str, names: dict[str, Any]) -> None:
    with small_budgets():
        exec(compile(text, name, "exec", dont_inherit=True), names)


def small(words: list[str]) -> list[str]:
    """The command's arguments with a budget of a second or so."""
    words = [str(newest_run()) if "…" in word else word for word in words]
    words = without(words, "--success-target", "--video", "--time")
    if {"--train", "--resume", "--offline"} & set(words):
        words = with_value(
            words, "--steps", str(STEPS * (2 if "--resume" in words else 1)), where_not="--offline"
        )
        words = with_value(words, "--workers", "2", only=True)
        for flag in ("--offline-steps", "--bc-steps"):
            words = with_value(words, flag, "8", only="--offline" not in words or flag == "--bc-steps")
        words = with_value(words, "--eval-interval", "0")
        if "--train" in words:
            words = with_value(words, "--warmup-steps", "40")
        return [*words, "--no-video", "--compile", "off"]
    words = with_value(words, "--record-demos", "2", only=True)
    words = with_value(words, "--to", "3", only=True)
    if "--test" in words:
        words = with_value(words, "--episodes", "2")
        words = words if "--sweep" in words or "--no-render" in words else [*words, "--no-render"]
    return words


def with_value(words: list[str], flag: str, value: str, only: bool = False, where_not: str = "") -> list[str]:
    """``flag`` with ``value``, in place of what it has; ``only`` where it is given."""
    if flag in words:
        place = words.index(flag)
        return [*words[: place + 1], value, *words[place + 2 :]]
    return words if only or where_not in words else [*words, flag, value]


def without(words: list[str], *flags: str) -> list[str]:
    for flag in flags:
        if flag in words:
            place = words.index(flag)
            has_value = place + 1 < len(words) and not words[place + 1].startswith("--")
            words = words[:place] + words[place + 1 + has_value :]
    return words


def newest_run() -> Path:
    return max(Path("runs").iterdir(), key=lambda path: path.stat().st_mtime)


@contextlib.contextmanager
def small_budgets() -> Iterator[None]:
    """For train() and resume() of Python."""
    train = engine.train

    def budgeted(config: Any, **rest: Any) -> Any:
        config = config if isinstance(config, Config) else Config.of(config)
        small = {"steps": STEPS, "success_target": None, "warmup_steps": 40, "eval_interval": 0}
        small |= {"video": False, "compile": "off"}
        return train(replace(config, train=replace(config.train, **small)), **rest)

    engine.train = budgeted
    try:
        yield
    finally:
        engine.train = train


def namespace() -> dict[str, Any]:
    """A fresh __main__'s, so that classes are sent to a run's processes as those of a script are."""
    return {"__name__": "__main__", "__file__": str(Path("page.py").absolute()), "__builtins__": __builtins__}
