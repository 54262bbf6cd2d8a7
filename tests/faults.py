"""Damage done to real runs: signals to their processes at random moments, and what must hold afterwards.

    python tests/faults.py --faults 200 --seed 0        a table of what was done and every violation; status 1
    if there is one

A run trains ``toy_envs:Pattern-v0``, whose transitions check themselves, meets some faults that it must
survive, and then one that may end it. psutil finds the processes; each shows its role as its name.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from toy_envs import Pattern

from sac_dist.settings import ConfigError
from sac_dist.storage import checkpoint
from sac_dist.storage.run_folder import RunFolder
from sac_dist.storage.segments import ReplayFiles

TESTS = Path(__file__).parent
FATAL = (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV)
SURVIVED = {
    "worker": (*FATAL, signal.SIGSTOP, signal.SIGCONT),
    "evaluator": (*FATAL, signal.SIGSTOP, signal.SIGCONT),
    "main": (signal.SIGCONT,),
}
ENDING = {
    "main": (*FATAL, signal.SIGINT),
    "replay-manager": (*FATAL, signal.SIGSTOP),
}  # SIGCONT stands for a stop of a second
WORKERS, STEP_TIMEOUT = 2, 3.0
END_WITHIN, RECOVER_WITHIN = 10.0, 40.0  # s
SETTINGS = f"""
hidden_width: 16
warmup_steps: 50
update_ratio: 1
batch_size: 16
buffer_size: 3000
compile: 'off'
workers: {WORKERS}
step_timeout: {STEP_TIMEOUT}
checkpoint_interval: 100
eval_interval: 200
eval_episodes: 5
steps: 10000000
"""


@dataclass
class Report:
    """What was done, and what did not hold."""

    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    transitions: int = 0
    runs: int = 0

    def table(self) -> str:
        targets = sorted({target for target, _ in self.done})
        lines = ["| fault | " + " | ".join(targets) + " |", "|---" * (len(targets) + 1) + "|"]
        for kind in sorted({kind for _, kind in self.done}):
            lines.append(
                f"| {kind} | " + " | ".join(str(self.done[target, kind] or "") for target in targets) + " |"
            )
        total = (
            f"{sum(self.done.values())} faults in {self.runs} runs, {self.transitions:,} transitions checked"
        )
        return "\n".join([*lines, "", f"{total}, {len(self.violations)} violations", *self.violations])


def kind(number: signal.Signals) -> str:
    return "stopped for 1 s" if number is signal.SIGCONT else number.name


def leftovers(temporary: Path) -> set[str]:
    """What processes that have ended left on the machine: temporary files, named shared memory that nobody
    maps.
    """
    shared = {entry.name: str(entry.inode()) for entry in os.scandir("/dev/shm")}
    mapped = {inode for name in os.listdir("/proc") if name.isdigit() for inode in mapped_by(int(name))}
    return {*(name for name, inode in shared.items() if inode not in mapped), *os.listdir(temporary)}


def mapped_by(pid: int) -> set[str]:
    """The inodes of the shared memory that a process maps; a semaphore is not listed by its name."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:  # it has ended, or is another user's
        return set()
    return {line.split()[4] for line in lines if "/dev/shm/" in line}


class Run:
    """``python -m sac_dist`` in ``folder``, as a process of its own."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder, self.run = folder, folder / "run"
        self.last = self.run / "checkpoints/last.safetensors"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.before = leftovers(self.temporary)
        path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": path, "TMPDIR": str(self.temporary)}
        self.output = folder / "output.txt"
        with open(self.output, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sac_dist", *flags],
                cwd=folder,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
        self.family: dict[int, psutil.Process] = {}

    def look(self) -> dict[str, int]:
        """The living processes' ids by role; remembers the whole family."""
        found = {"main": self.process.pid}
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return found
        for child in children:
            self.family[child.pid] = child
            try:
                if child.status() != psutil.STATUS_ZOMBIE:
                    found.setdefault(
                        Path(f"/proc/{child.pid}/comm").read_text().strip(), child.pid
                    )  # what it forks has its name at first
            except (psutil.NoSuchProcess, OSError):
                continue
        return found

    def complete(self, *others: str) -> bool:
        return {
            *(f"worker-{rank}" for rank in range(WORKERS)),
            "evaluator",
            "replay-manager",
            *others,
        } <= self.look().keys()

    def steps(self) -> int:
        return 0 if not self.last.exists() else int(checkpoint.read(self.last).run["counters"][0])

    def wait(self, condition, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            if condition():
                return True
            time.sleep(0.05)
        return bool(condition())

    def inflict(self, pid: int, number: signal.Signals) -> None:
        if number is signal.SIGCONT:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(1.0)
        os.kill(pid, number)

    def all_gone(self) -> list[str]:
        """What still lives after END_WITHIN seconds, by name."""
        deadline = time.monotonic() + END_WITHIN
        while time.monotonic() < deadline:
            living = [
                child
                for child in self.family.values()
                if child.is_running() and child.status() != psutil.STATUS_ZOMBIE
            ]
            if not living:
                break
            time.sleep(0.1)
        else:
            names = [f"{child.pid} {child.name()}" for child in living]
            for child in living:
                child.kill()
            return names
        return []

    def left(self) -> set[str]:
        left = leftovers(self.temporary) - self.before
        if left:  # or another program is just starting or ending
            time.sleep(3.0)
            left &= leftovers(self.temporary)
        return left

    def words(self) -> str:
        return self.output.read_text(errors="replace")


def check_saved(run: Run, report: Report, kills: int) -> str | None:
    """Whether the last checkpoint loads, holds every counted transition, and each whole; what is wrong, or
    None.
    """
    if not run.last.exists():
        return None  # the run was ended before its first checkpoint
    try:
        saved = checkpoint.read(run.last)
        saved.build_agent()
        segment = ReplayFiles(run.run / "replay", saved.schema).read(saved.run["replay"])
    except (ConfigError, IndexError) as error:
        return f"the last checkpoint does not load: {error}"
    steps, stored = saved.run["counters"][0], int(segment.stop.sum())
    if not steps <= stored <= steps + kills:
        return f"{steps} steps counted, {stored} transitions stored, {kills} processes killed"
    report.transitions += len(segment.rows)
    torn = ~pattern_holds(segment.rows)
    return f"{torn.sum()} of {len(torn)} transitions are torn" if torn.any() else None


def pattern_holds(rows: np.ndarray) -> np.ndarray:
    """Which rows (N, 10) of toy_envs.Pattern are whole: observation 3, action 1, reward, next observation 3,
    terminated, truncated.
    """
    here, action, reward, following = rows[:, :3], rows[:, 3], rows[:, 4], rows[:, 5:8]
    expected = Pattern.observation(here[:, 0], here[:, 1])
    after = Pattern.observation(here[:, 0], here[:, 1] + 1)
    ends = following[:, 1] >= Pattern.horizon
    return (
        (here == expected).all(1)
        & (following == after).all(1)
        & (reward == action)
        & (rows[:, 8] == 0)
        & ((rows[:, 9] == 1) == ends)
    )


def trial(seed: int, faults: int, report: Report, learner: str = "workers") -> None:
    """One run with so many faults that it has to survive, then one that may end it."""
    rng = random.Random(seed)
    flags = ("--seed", str(seed), "--learner", learner)
    with tempfile.TemporaryDirectory(prefix="sac-faults-") as name:
        folder = Path(name)
        (folder / "c.yaml").write_text(SETTINGS)
        run = Run(
            folder,
            "--train",
            "--env",
            "toy_envs:Pattern-v0",
            "--run-dir",
            "run",
            "--config",
            "c.yaml",
            *flags,
        )
        report.runs += 1
        try:
            problem = strike(run, rng, faults, report, ("learner",) if learner == "central" else ())
        finally:
            if run.process.poll() is None:
                run.process.kill()
                run.process.wait()
        if problem is not None:
            report.violations.append(f"seed {seed}: {problem}\n{run.words()[-1500:]}")


def strike(run: Run, rng: random.Random, faults: int, report: Report, others: tuple[str, ...]) -> str | None:
    """The faults of a trial, to the ``others`` too; the first thing that did not hold."""
    kills = 0
    survived = SURVIVED | {other: SURVIVED["worker"] for other in others}
    for _ in range(faults):
        if not run.wait(lambda: run.complete(*others), RECOVER_WITHIN):
            return f"not all processes are there after {RECOVER_WITHIN:g} s"
        role = rng.choice(list(survived))
        number = rng.choice(survived[role])
        time.sleep(rng.uniform(0.0, 1.5))
        target = f"worker-{rng.randrange(WORKERS)}" if role == "worker" else role
        pid = run.look().get(target)
        if pid is None:
            continue  # it is just being restarted
        run.inflict(pid, number)
        report.done[role, kind(number)] += 1
        kills += role == "worker"
        steps = run.steps()
        if not run.wait(lambda before=steps: run.steps() > before, RECOVER_WITHIN):
            return f"{kind(number)} to {target}: no progress in {RECOVER_WITHIN:g} s (status {run.process.poll()})"
        replaced = functools.partial(lambda target, pid: run.look().get(target, pid) != pid, target, pid)
        if number is not signal.SIGCONT and not run.wait(replaced, RECOVER_WITHIN):
            return f"{kind(number)} to {target}: it was not replaced"
    role = rng.choice(list(ENDING))
    number = rng.choice(ENDING[role])
    if not run.wait(lambda: run.complete(*others), RECOVER_WITHIN):
        return f"not all processes are there after {RECOVER_WITHIN:g} s"
    time.sleep(rng.uniform(0.0, 1.5))
    run.inflict(run.look()[role], number)
    report.done[role, kind(number)] += 1
    ends = role == "main" or number in FATAL
    if not ends:  # the workers do not need the manager: the run goes on, and ends when it is told to
        steps = run.steps()
        if not run.wait(lambda: run.steps() > steps, RECOVER_WITHIN):
            return f"{kind(number)} to {role}: no progress"
        run.process.send_signal(signal.SIGINT)
    if not run.wait(lambda: run.process.poll() is not None, END_WITHIN):
        return f"{kind(number)} to {role}: main still lives after {END_WITHIN:g} s"
    if run.process.wait() == 0:
        return f"{kind(number)} to {role}: status 0"
    if living := run.all_gone():
        return f"{kind(number)} to {role}: still alive: {', '.join(living)}"
    if left := run.left():
        return f"{kind(number)} to {role}: left behind: {', '.join(sorted(left))}"
    if role == "main" and number in FATAL and run.last.exists():  # it cannot clear up: who goes on does
        RunFolder.open(run.run).unlock()
    if partial := [path.name for path in run.run.rglob(".*.*")]:
        return f"{kind(number)} to {role}: half written: {', '.join(partial)}"
    if "Traceback" in run.words():
        return f"{kind(number)} to {role}: a traceback"
    return check_saved(run, report, kills)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument(
        "--per-run",
        type=int,
        default=4,
        help="faults that a run has to survive before the one that may end it",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learner", choices=("workers", "central"), default="workers")
    arguments = parser.parse_args()
    report, seed = Report(), arguments.seed
    while sum(report.done.values()) < arguments.faults and len(report.violations) < 10:
        trial(seed, arguments.per_run, report, arguments.learner)
        seed += 1
        print(
            f"{sum(report.done.values())} faults, {len(report.violations)} violations",
            file=sys.stderr,
            flush=True,
        )
    print(report.table())
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
