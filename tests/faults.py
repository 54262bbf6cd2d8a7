"""Damage done to real runs: signals to their processes at random moments, and what must hold afterwards.

    python tests/faults.py --faults 200 --seed 0        a table of what was done and every violation; status 1
                                                        if there is one
    … --task long       with episodes of 20 s; endless: of a task without an end
    … --workers 1       a lone worker, whose checkpoints have to be exact
    … --phase end       signals in the final evaluation and in the video

A run trains ``toy_envs:Pattern-v0``, whose transitions check themselves, meets some faults that it must
survive, and then one that may end it. psutil finds the processes; each shows its role as its name.
"""

from __future__ import annotations

import argparse
import contextlib
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
from toy_envs import EndlessPattern, LongPattern, Pattern

from sac_dist.settings import ConfigError
from sac_dist.storage import checkpoint
from sac_dist.storage.run_folder import RunFolder
from sac_dist.storage.segments import ReplayFiles

TESTS = Path(__file__).parent
FATAL = (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV)
SURVIVED = {
    "worker": (*FATAL, signal.SIGSTOP, signal.SIGCONT),
    "evaluator": (*FATAL, signal.SIGSTOP, signal.SIGCONT),
    "replay-manager": (*FATAL, signal.SIGSTOP, signal.SIGCONT),
    "main": (signal.SIGCONT,),
}  # SIGCONT stands for a stop of a second
IN_ORDER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)  # main saves and ends
ENDING = (*IN_ORDER, signal.SIGKILL, signal.SIGSEGV)
TASKS = {"short": Pattern, "long": LongPattern, "endless": EndlessPattern}
WORKERS, STEP_TIMEOUT = 2, 3.0
END_WITHIN, RECOVER_WITHIN = 10.0, 40.0  # s
SETTINGS = f"""
tuned: false
hidden_width: 16
warmup_steps: 50
update_ratio: 1
batch_size: 16
buffer_size: 3000
compile: 'off'
step_timeout: {STEP_TIMEOUT}
checkpoint_interval: 100
eval_interval: 200
eval_episodes: 5
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

    def __init__(self, folder: Path, *flags: str, workers: int = WORKERS) -> None:
        self.workers = workers
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
            *(f"worker-{rank}" for rank in range(self.workers)),
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


def check_saved(run: Run, report: Report, kills: int, task: type[Pattern]) -> str | None:
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
    torn = ~pattern_holds(segment.rows, task.horizon)
    return f"{torn.sum()} of {len(torn)} transitions are torn" if torn.any() else None


def pattern_holds(rows: np.ndarray, horizon: int = Pattern.horizon) -> np.ndarray:
    """Which rows (N, 10) of toy_envs.Pattern are whole: observation 3, action 1, reward, next observation 3,
    terminated, truncated.
    """
    here, action, reward, following = rows[:, :3], rows[:, 3], rows[:, 4], rows[:, 5:8]
    expected = Pattern.observation(here[:, 0], here[:, 1])
    after = Pattern.observation(here[:, 0], here[:, 1] + 1)
    ends = following[:, 1] >= horizon
    return (
        (here == expected).all(1)
        & (following == after).all(1)
        & (reward == action)
        & (rows[:, 8] == 0)
        & ((rows[:, 9] == 1) == ends)
    )


@dataclass(frozen=True)
class Setting:
    """What a trial's run is like."""

    task: str = "short"
    workers: int = WORKERS
    learner: str = "workers"
    phase: str = "training"  # or end: the faults come in the final evaluation and in the video

    def flags(self, seed: int) -> tuple[str, ...]:
        env = f"toy_envs:{TASKS[self.task].__name__}-v0"
        steps = "10000000" if self.phase == "training" else "300"
        return (
            *("--train", "--env", env, "--run-dir", "run", "--config", "c.yaml", "--steps", steps),
            *("--seed", str(seed), "--learner", self.learner, "--workers", str(self.workers)),
            *("--horizon", str(TASKS[self.task].horizon)),  # else it is 1,000
        )


def trial(seed: int, faults: int, report: Report, setting: Setting | None = None) -> None:
    """One run with so many faults that it has to survive, then one that may end it."""
    setting = setting or Setting()
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="sac-faults-") as name:
        folder = Path(name)
        (folder / "c.yaml").write_text(SETTINGS)
        run = Run(folder, *setting.flags(seed), workers=setting.workers)
        report.runs += 1
        try:
            if setting.phase == "end":
                problem = strike_at_the_end(run, rng, report, setting)
            else:
                problem = strike(run, rng, faults, report, setting)
        finally:
            if run.process.poll() is None:
                run.process.kill()
                run.process.wait()
        if problem is not None:
            report.violations.append(f"seed {seed}: {problem}\n{run.words()[-1500:]}")
            print(report.violations[-1], file=sys.stderr, flush=True)


def strike(run: Run, rng: random.Random, faults: int, report: Report, setting: Setting) -> str | None:
    """The faults of a trial; the first thing that did not hold."""
    kills = 0
    others = ("learner",) if setting.learner == "central" else ()
    survived = SURVIVED | {other: SURVIVED["worker"] for other in others}
    for _ in range(faults):
        if not run.wait(lambda: run.complete(*others), RECOVER_WITHIN):
            return f"not all processes are there after {RECOVER_WITHIN:g} s"
        role = rng.choice(list(survived))
        number = rng.choice(survived[role])
        time.sleep(rng.uniform(0.0, 1.5))
        target = f"worker-{rng.randrange(run.workers)}" if role == "worker" else role
        pid = run.look().get(target)
        if pid is None:
            continue  # it is just being restarted
        run.inflict(pid, number)
        if role == "replay-manager" and number in FATAL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(
                    pid, signal.SIGCONT
                )  # an earlier SIGSTOP, which nobody watches for, would hold it back
        report.done[role, kind(number)] += 1
        kills += role == "worker"
        steps = run.steps()
        if not run.wait(lambda before=steps: run.steps() > before, RECOVER_WITHIN):
            return f"{kind(number)} to {target}: no progress in {RECOVER_WITHIN:g} s (status {run.process.poll()})"
        replaced = functools.partial(lambda target, pid: run.look().get(target, pid) != pid, target, pid)
        unwatched = number is signal.SIGSTOP and role == "replay-manager"  # nobody waits for it
        if number is not signal.SIGCONT and not unwatched and not run.wait(replaced, RECOVER_WITHIN):
            return f"{kind(number)} to {target}: it was not replaced"
    number = rng.choice(ENDING)
    if not run.wait(lambda: run.complete(*others), RECOVER_WITHIN):
        return f"not all processes are there after {RECOVER_WITHIN:g} s"
    time.sleep(rng.uniform(0.0, 1.5))
    return end(run, rng, number, report, setting, kills)


def strike_at_the_end(run: Run, rng: random.Random, report: Report, setting: Setting) -> str | None:
    """A fault in the final evaluation, which the run survives, or one to main there or in the video."""
    role, phase = rng.choice(
        (("main", "evaluation"), ("main", "video"), ("evaluator", "evaluation"), ("apart", "video"))
    )
    if phase == "video":  # episodes of these tasks do not end within the evaluation's minute
        begun = functools.partial(lambda: "apart" in run.look() and run.last.exists())
    else:
        begun = functools.partial(lambda: "evaluating the final policy" in run.words())
    if not run.wait(begun, 4 * RECOVER_WITHIN):
        return f"no {phase} of the final policy began"
    time.sleep(rng.uniform(0.0, 0.5))
    pid = run.look().get(role)
    if role == "main":
        return end(run, rng, rng.choice(ENDING), report, setting, 0, f" in the {phase}")
    if pid is None:
        return None  # it is over already
    number = rng.choice(FATAL)
    run.inflict(pid, number)
    report.done[f"{role} in the {phase}", kind(number)] += 1
    if not run.wait(lambda: run.process.poll() is not None, 4 * RECOVER_WITHIN):
        return f"{kind(number)} to {role} in the {phase}: the run does not end"
    expected = "no video: drawing was killed by" if role == "apart" else "on 100 unseen episodes once more"
    if run.process.wait() != 0 or expected not in run.words():
        return f"{kind(number)} to {role} in the {phase}: status {run.process.poll()}, or not {expected!r}"
    return clean(run, report, setting, 0, f"{kind(number)} to {role}")


def end(
    run: Run,
    rng: random.Random,
    number: signal.Signals,
    report: Report,
    setting: Setting,
    kills: int,
    where: str = "",
) -> str | None:
    """A fault to main that ends the run, and what has to hold after it."""
    to_group = number in IN_ORDER and number is not signal.SIGTERM and rng.random() < 0.5
    what = f"{kind(number)} to {'the group of ' if to_group else ''}main{where}"
    if to_group:  # as a terminal does
        os.killpg(run.process.pid, number)
    else:
        run.inflict(run.process.pid, number)
    report.done[f"main{where}", kind(number)] += 1
    if not run.wait(lambda: run.process.poll() is not None, END_WITHIN):
        return f"{what}: main still lives after {END_WITHIN:g} s"
    status = run.process.wait()
    if status != (128 + number if number in IN_ORDER else -number):
        return f"{what}: status {status}"
    if number not in IN_ORDER and run.last.exists():  # it cannot clear up: who goes on does
        if living := run.all_gone():
            return f"{what}: still alive: {', '.join(living)}"
        time.sleep(1.0)  # ffmpeg, which is no child of main's, ends its file
        RunFolder.open(run.run).unlock()
        (run.run / "replay-manager.json").unlink(missing_ok=True)
    return clean(run, report, setting, kills, what)


def clean(run: Run, report: Report, setting: Setting, kills: int, what: str) -> str | None:
    """What an ended run must not leave, and what it must."""
    if living := run.all_gone():
        return f"{what}: still alive: {', '.join(living)}"
    if left := run.left():
        return f"{what}: left behind: {', '.join(sorted(left))}"
    if partial := [path.name for path in (*run.run.rglob(".*.*"), *run.run.glob("replay-manager.json"))]:
        return f"{what}: half written: {', '.join(partial)}"
    if "Traceback" in run.words():
        return f"{what}: a traceback"
    return check_saved(run, report, kills, TASKS[setting.task])


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
    parser.add_argument("--task", choices=tuple(TASKS), default="short")
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--learner", choices=("workers", "central"), default="workers")
    parser.add_argument("--phase", choices=("training", "end"), default="training")
    arguments = parser.parse_args()
    setting = Setting(arguments.task, arguments.workers, arguments.learner, arguments.phase)
    report, seed = Report(), arguments.seed
    while sum(report.done.values()) < arguments.faults and len(report.violations) < 10:
        trial(seed, arguments.per_run, report, setting)
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
