"""What the page of --watch costs a training.

    python benchmarks/watching.py                     a run without a page, one with it, three times in turn
    python benchmarks/watching.py --interventions     also one where people may take over, and nobody does

Trains SawyerGrasp-v0 with two workers and counts steps over windows of 6 s. To the page of a run somebody
comes and goes eight times, and each window with them is compared with the windows before and after it, so
that what else changes the speed is the same for both. Prints that, steps/s while nobody looks, and
milliseconds of processor a second of the page's process and of who looks. That is a process that reads what
the page sends and draws nothing; its own time is part of the cost, as a browser's on the same machine would
be.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from test_engine import descendants, role_of

from sac_dist import Callback, Config, EnvConfig, Sink, TrainConfig, train

TESTS = sys.path[0]
SETTLING, COMING, WINDOW, VISITS = 12.0, 3.0, 6.0, 8  # s, s, s
LOOK = f"""
import sys
sys.path.insert(0, {TESTS!r})
from test_watching import first_visit
visitor = first_visit(sys.argv[1])
while True:
    visitor.socket.recv()
"""


class Clock(Callback, Sink):
    """Ends the run once it has measured it."""

    def __init__(self, page: bool) -> None:
        self.page, self.clock = page, 0
        self.url: str | None = None
        self.closed: list[float] = []  # steps/s while nobody looks
        self.shares: list[float] = []  # of them while somebody does
        self.used: dict[str, list[float]] = {}  # ms/s while somebody looks

    def note(self, text: str) -> None:
        if text.startswith("watch it: "):
            self.url = text.split()[2]

    def on_start(self, run) -> None:
        self.run = run
        threading.Thread(target=self._measure, daemon=True).start()

    def on_steps(self, clock: int) -> None:
        self.clock = clock

    def _measure(self) -> None:
        if self.page:
            while self.url is None:
                time.sleep(0.1)
            self._visit()  # the first one waits until the page has made its scene
        time.sleep(SETTLING)
        self.closed.append(self._rate())
        for _ in range(VISITS):
            seen = self._visit() if self.page else None
            time.sleep(COMING)
            self.closed.append(self._rate())
            if seen is not None:
                self.shares.append(seen / statistics.mean(self.closed[-2:]))
        self.run.stop("measured")

    def _rate(self) -> float:
        began, first = time.monotonic(), self.clock
        time.sleep(WINDOW)
        return (self.clock - first) / (time.monotonic() - began)

    def _visit(self) -> float:
        """Steps/s while somebody looks."""
        visitor = subprocess.Popen([sys.executable, "-c", LOOK, self.url])
        time.sleep(COMING)
        before = usage(visitor.pid)
        rate = self._rate()
        for role, now in usage(visitor.pid).items():
            if role in ("watch", "who looks"):
                self.used.setdefault(role, []).append(1000 * (now - before.get(role, now)) / WINDOW)
        visitor.kill()
        visitor.wait()
        return rate


def usage(visitor: int) -> dict[str, float]:
    """Seconds of processor that each process of the run has used, by its name, and the one that looks."""
    found = {}
    for pid in descendants(os.getpid()):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            name = "who looks" if pid == visitor else role_of(pid)
            found[name] = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
        except OSError:  # it has ended
            continue
    return found


def measure(name: str) -> Clock:
    clock = Clock(page=name != "none")
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainConfig(
            workers=2,
            steps=10**9,
            eval_interval=0,
            video=False,
            watch=name != "none",
            watch_port=18300,
            interventions=name == "interventions",
            run_dir=f"{folder}/run",
        )
        env = EnvConfig("SawyerGrasp-v0", {"backend": "mujoco"})
        train(Config(env=env, train=settings), quiet=True, sinks=[clock], callbacks=[clock])
    return clock


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--interventions", action="store_true")
    arguments = parser.parse_args()
    names = ["none", "page", *(["interventions"] if arguments.interventions else [])]
    clocks: dict[str, list[Clock]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            clock = measure(name)
            clocks[name].append(clock)
            print(f"{name:13} {statistics.median(clock.closed):,.0f} steps/s while nobody looks", flush=True)
    without = statistics.median(rate for clock in clocks["none"] for rate in clock.closed)
    for name in names[1:]:
        closed = statistics.median(rate for clock in clocks[name] for rate in clock.closed)
        shares = [share for clock in clocks[name] for share in clock.shares]
        error = statistics.stdev(shares) / len(shares) ** 0.5
        used = {
            role: statistics.mean(ms for clock in clocks[name] for ms in clock.used[role])
            for role in ("watch", "who looks")
        }
        print(
            f"{name}: {closed / without:.1%} of a run without while nobody looks; "
            f"{statistics.mean(shares):.1%} ± {error:.1%} of that while somebody does; "
            + ", ".join(f"{role} {ms:.0f} ms/s" for role, ms in used.items())
        )


if __name__ == "__main__":
    main()
