"""One grasp training under faults, a few seconds apart, and a table of how it went; status 1 if it is not as
it should be.

    python tests/soak.py --seconds 1800 --seed 0

Workers, evaluator, main and manager are stopped for a second; workers and evaluator are also killed, crash,
and are stopped for good until the guard finds them.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from faults import SURVIVED, WORKERS, Run, kind

from sac_dist.storage import checkpoint

PAUSE = 5.0  # s between faults, on average
CALM = 30.0  # s without faults at the end, so that a last checkpoint and evaluation are of a whole run
TARGETS = {
    "worker-0": 5,
    "worker-1": 5,
    "evaluator": 2,
    "main": 1,
    "replay-manager": 1,
}  # how often each is meant
FLAGS = (
    *("--train", "--env", "SawyerGrasp-v0", "--run-dir", "run", "--workers", str(WORKERS)),
    *("--step-timeout", "10", "--buffer-size", "50000"),
)


class Soak:
    """A training in ``folder`` for so many seconds; :meth:`run` blocks."""

    def __init__(self, folder: Path, seconds: float, seed: int) -> None:
        self.run = Run(folder, *FLAGS, "--time", str(seconds), "--seed", str(seed))
        self.rng = random.Random(seed)
        self.ends = time.monotonic() + seconds - CALM
        self.done: Counter[tuple[str, str]] = Counter()
        self.memory: list[float] = []  # MiB of all processes, whenever all are there

    def damage(self) -> None:
        while self.run.process.poll() is None and time.monotonic() < self.ends:
            time.sleep(self.rng.uniform(0.2, 1.8) * PAUSE)
            roles = self.run.look()
            if not self.run.last.exists():
                continue
            if self.run.complete():
                self.memory.append(sum(memory_of(pid) for pid in roles.values()))
            target = self.rng.choices(list(TARGETS), list(TARGETS.values()))[0]
            role = "worker" if target.startswith("worker") else target
            number = self.rng.choice(SURVIVED.get(role, (signal.SIGCONT,)))
            if target in roles and self.inflicted(roles[target], number):
                self.done[role, kind(number)] += 1

    def inflicted(self, pid: int, number: signal.Signals) -> bool:
        try:
            self.run.inflict(pid, number)
        except ProcessLookupError:  # it has just ended
            return False
        return True

    def report(self) -> list[str]:
        """Prints the tables and returns what is not as it should be."""
        status = self.run.process.wait(timeout=300)
        words, left = self.run.words(), [*self.run.all_gone(), *sorted(self.run.left())]
        saved = checkpoint.read_run(self.run.last).run
        counted, stored = saved["counters"][0], int(np.sum(saved["replay"]["segments"][-1]["stop"]))
        tenth = max(1, len(self.memory) // 10)
        start, end = (
            float(np.median(part)) for part in (self.memory[tenth : 2 * tenth], self.memory[-tenth:])
        )
        final = re.search(r"final policy: success (\d+)/(\d+).*", words)
        success = int(final[1]) / int(final[2]) if final else 0.0
        rows = {
            "faults": sum(self.done.values()),
            "restarts": words.count("restarting it"),
            "transitions in": f"{stored:,}",
            "transitions counted but lost": f"{max(0, counted - stored):,}",
            "memory after a tenth of the time": f"{start:.0f} MiB",
            "memory at the end": f"{end:.0f} MiB ({end / start - 1:+.1%})",
            "left behind": ", ".join(left) or "nothing",
            "policy at the end": final[0].removeprefix("final policy: ") if final else "not measured",
            "exit status": status,
        }
        print("| fault | target | times |\n|---|---|---|")
        print(
            "\n".join(
                f"| {name} | {target} | {times} |" for (target, name), times in sorted(self.done.items())
            )
        )
        print("\n| | |\n|---|---|")
        print("\n".join(f"| {name} | {value} |" for name, value in rows.items()))
        wrong = {
            "the run failed": status != 0 or "Traceback" in words,
            "something is left": bool(left),
            "memory is not flat": abs(end / start - 1) > 0.02,
            "transitions were lost": counted > stored,
            "success is below 95 %": success < 0.95,
        }
        return [name for name, holds in wrong.items() if holds]


def memory_of(pid: int) -> float:
    """MiB of a process, its part of what it shares with others; without the libraries' files, which other
    programs share too.
    """
    try:
        fields = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        )
        return sum(int(fields[name].split()[0]) for name in ("Pss_Anon", "Pss_Shmem")) / 1024
    except OSError:
        return 0.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sac-soak-") as name:
        soak = Soak(Path(name), arguments.seconds, arguments.seed)
        try:
            soak.damage()
            wrong = soak.report()
        finally:
            soak.run.process.kill()
            if soak.run.process.wait() != 0:
                print(soak.run.words()[-3000:], file=sys.stderr)
    print("\n" + ("; ".join(wrong) or "as it should be"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
