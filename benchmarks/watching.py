"""What the page of --watch costs a training: without a page, with one that nobody looks at, and with one that somebody
looks at, in turn.

    python benchmarks/watching.py                     three rounds
    python benchmarks/watching.py --interventions     also where people may take over, and nobody does

Prints steps/s of SawyerGrasp-v0 over 12 s, two workers, and milliseconds of processor a second of the page's process
of the first worker, and of who looks. That is a process that reads what the page sends and draws nothing; its own time
is part of the cost, as a browser's on the same machine would be.
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
SETTLING, MEASURED = 12.0, 12.0  # s
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

    def __init__(self, looks: bool) -> None:
        self.looks, self.clock = looks, 0
        self.url: str | None = None

    def note(self, text: str) -> None:
        if text.startswith("watch it: "):
            self.url = text.split()[2]

    def on_start(self, run) -> None:
        self.run = run
        threading.Thread(target=self._measure, daemon=True).start()

    def on_steps(self, clock: int) -> None:
        self.clock = clock

    def _measure(self) -> None:
        visitor = None
        if self.looks:
            while self.url is None:
                time.sleep(0.1)
            visitor = subprocess.Popen([sys.executable, "-c", LOOK, self.url])
        time.sleep(SETTLING)
        looks = None if visitor is None else visitor.pid
        began, first, used = time.monotonic(), self.clock, usage(looks)
        time.sleep(MEASURED)
        seconds = time.monotonic() - began
        self.rate = (self.clock - first) / seconds
        self.used = {
            role: 1000 * (now - used.get(role, now)) / seconds
            for role, now in usage(looks).items()
            if role in ("watch", "worker-0", "who looks")
        }
        if visitor is not None:
            visitor.kill()
            visitor.wait()
        self.run.stop("measured")


def usage(visitor: int | None) -> dict[str, float]:
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
    clock = Clock(looks=name == "open")
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
    names = ["none", "closed", "open", *(["interventions"] if arguments.interventions else [])]
    rates: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            clock = measure(name)
            rates[name].append(clock.rate)
            used = ", ".join(f"{role} {ms:.0f} ms/s" for role, ms in sorted(clock.used.items()))
            print(f"{name:13} {clock.rate:,.0f} steps/s; {used}", flush=True)
    for name in names:
        against = statistics.median(rates[name]) / statistics.median(rates["none"])
        print(f"{name:13} median {statistics.median(rates[name]):,.0f} steps/s, {against:.1%}")


if __name__ == "__main__":
    main()
