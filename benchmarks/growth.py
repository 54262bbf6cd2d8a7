"""How costs grow: of the replay buffer with its size and the observation's, of a training with the number of
workers.

    python benchmarks/growth.py --peers sb3=SB3/bin/python sbx=SBX/bin/python
    python benchmarks/growth.py replay observations workers --workers 1 2 6          some

replay: µs of inserting one transition of the grasp task and of sampling 128, over the buffer's capacity and
    how much of it is filled.
Insertions into a buffer that is not full touch memory for the first time.

observations: the same over the size of the observation, from a full buffer of 100,000.

workers: default runs of the grasp task without evaluations. Environment steps and updates per second once the
    processes have warmed up, the
success of the last 100 training episodes, and near the end the memory of each process. "share" divides what
several processes map among them, so that it adds up to the run's memory. Peers, for comparison: the process
of sb3_sbx.py with the same networks, batch and transitions after 100 updates, which has no simulator in it.
"""

import argparse
import contextlib
import csv
import os
import tempfile
import threading
from multiprocessing.context import BaseContext
from statistics import median
from typing import Any

import psutil
from measuring import (
    ACTION,
    OBSERVATION,
    Peer,
    add_peers,
    finish,
    from_zero,
    idle,
    memory_of,
    record,
    recorded,
    subplots,
    table,
)
from worker_time import our_times

from sac_dist import AgentConfig, Config, EnvConfig, TrainConfig, train
from sac_dist.engine.processes import call_apart
from sac_dist.engine.start_method import start_context
from sac_dist.system.shared import check_memory

CAPACITIES = [10_000, 100_000, 1_000_000, 5_000_000]
OBSERVATIONS = [3, 10, 31, 100, 300, 1000]
BATCH = 128
WARMED_UP = 0.25  # of a run's steps, before which the processes are still warming up
LOOK = 2.0  # s between looks at the memory


def measure_replay(context: BaseContext, arguments: argparse.Namespace) -> None:
    pairs = [
        (capacity, filled)
        for capacity in arguments.capacities
        for filled in arguments.capacities
        if filled <= capacity
    ]
    sizes = [
        {"capacity": capacity, "observation": OBSERVATION, "filled": filled} for capacity, filled in pairs
    ]
    measure_buffers(context, arguments, "replay", sizes)


def measure_observations(context: BaseContext, arguments: argparse.Namespace) -> None:
    capacity = min(100_000, max(arguments.capacities))
    sizes = [
        {"capacity": capacity, "observation": size, "filled": capacity} for size in arguments.observations
    ]
    measure_buffers(context, arguments, "observations", sizes)


def measure_buffers(
    context: BaseContext, arguments: argparse.Namespace, section: str, sizes: list[dict[str, int]]
) -> None:
    """µs for each of ``sizes``, in a process of its own; all of them in each round."""
    for one in sizes:
        check_memory(
            one["capacity"] * (2 * one["observation"] + ACTION + 3) * 4, f"a buffer of {one['capacity']:,}"
        )
    found: list[dict[str, Any]] = [one | {"insert": [], "sample": []} for one in sizes]
    for _ in range(arguments.rounds):
        for one in found:
            what = (one["capacity"], one["observation"], one["filled"], [BATCH], arguments.seconds)
            times = call_apart(context, "the buffer", our_times, *what)
            one["insert"].append(times["insert"])
            one["sample"].append(times[f"sample {BATCH}"])
    record("growth", section, found, same=("capacity", "observation", "filled"))


class MemoryWatch(threading.Thread):
    """The memory of this process and of its descendants, by name, as last seen while all of ``roles`` were
    there.
    """

    def __init__(self, roles: set[str]) -> None:
        super().__init__(daemon=True)
        self.roles = roles
        self.seen: dict[str, dict[str, float]] = {}
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(LOOK):
            found = {"main": memory_of(os.getpid())}
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(OSError, KeyError, psutil.NoSuchProcess):  # it has just ended
                    name = (
                        child.name()
                        if child.name() in (*self.roles, "replay-manager")
                        else f"helper {child.pid}"
                    )  # of multiprocessing
                    found[name] = memory_of(child.pid)
            if self.roles <= found.keys():
                self.seen = found


def training(workers: int, steps: int) -> dict[str, Any]:
    """One run; rates after its first quarter."""
    watch = MemoryWatch({f"worker-{rank}" for rank in range(workers)})
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainConfig(
            workers=workers, steps=steps, eval_interval=0, checkpoint_interval=10**9, run_dir=f"{folder}/run"
        )
        watch.start()
        train(Config(EnvConfig("SawyerGrasp-v0"), AgentConfig(), settings), quiet=True)
        watch.ended.set()
        watch.join()
        with open(f"{folder}/run/metrics.csv") as file:
            columns = ("step", "updates", "wall_time_s", "train_success")
            rows = [{name: float(row[name]) for name in columns if row[name]} for row in csv.DictReader(file)]
    success = rows[-1].get("train_success", rows[-2].get("train_success", 0.0))
    rows = [row for row in rows if WARMED_UP * steps <= row["step"] <= steps]
    seconds = rows[-1]["wall_time_s"] - rows[0]["wall_time_s"]
    rates = {
        f"{name}_per_s": round((rows[-1][key] - rows[0][key]) / seconds)
        for name, key in (("steps", "step"), ("updates", "updates"))
    }
    return {"workers": workers, "steps": steps} | rates | {"success": success, "memory_mib": watch.seen}


def measure_workers(context: BaseContext, arguments: argparse.Namespace) -> None:
    for workers in arguments.workers:
        record("growth", "workers", [training(workers, arguments.steps)], same=("workers",))
    memory, agent, settings = [], AgentConfig(), TrainConfig()
    for name, python in arguments.peers:
        peer = Peer(name, python)
        sizes = {
            "width": agent.hidden_width,
            "batch": settings.batch_size,
            "capacity": settings.buffer_size,
            "filled": arguments.steps,
        }
        memory.append(
            {"peer": name, "memory_mib": peer.ask("memory", **sizes), "versions": peer.ask("versions")}
            | sizes
        )
        peer.close()
    if memory:
        record("growth", "peers' memory", memory, same=("peer",))


def show_buffers(results: list[dict[str, Any]]) -> None:
    rows = [
        (
            *(one[key] for key in ("capacity", "filled", "observation")),
            median(one["insert"]),
            median(one["sample"]),
        )
        for one in results
    ]
    print("\n" + table(("capacity", "filled", "observation", "insert, µs", f"sample {BATCH}, µs"), rows))


def draw_buffers(axes: Any, results: list[dict[str, Any]], over: str) -> None:
    for what, style in (("insert", "s--"), ("sample", "o-")):
        points = sorted((one[over], median(one[what])) for one in results)
        axes.plot(*zip(*points, strict=True), style, label=what if what == "insert" else f"sample {BATCH}")
    axes.set(xscale="log", ylabel="µs", title="replay buffer, full")
    sizes = sorted({one[over] for one in results})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.legend(fontsize=8)
    from_zero(axes)


def show_workers(results: list[dict[str, Any]]) -> None:
    first = results[0]
    rows = []
    for one in results:
        ratio = one["steps_per_s"] / first["steps_per_s"]
        rows.append(
            (
                one["workers"],
                one["steps_per_s"],
                one["updates_per_s"],
                ratio,
                f"{one['success']:.0%}",
                one["steps"],
            )
        )
    print(
        "\n"
        + table(
            (
                "workers",
                "steps/s",
                "updates/s",
                f"against {first['workers']}",
                "training success",
                "after steps",
            ),
            rows,
        )
    )


def run_memory(one: dict[str, Any]) -> float:
    return sum(sizes["share"] for sizes in one["memory_mib"].values())


def show_memory(results: list[dict[str, Any]], peers: list[dict[str, Any]]) -> None:
    rows: list[tuple[object, ...]] = []
    for one in results:
        of_workers = [sizes for name, sizes in one["memory_mib"].items() if name.startswith("worker-")]
        if of_workers:
            of_one = (median(sizes[kind] for sizes in of_workers) for kind in ("private", "shared"))
            rows.append((f"sac_dist, {one['workers']}", *of_one, run_memory(one)))
    rows += [
        (peer["peer"], *(peer["memory_mib"][kind] for kind in ("private", "shared", "share")))
        for peer in peers
    ]
    if not rows:
        return
    print("\n" + table(("workers", "MiB of one process, private", "shared", "of the whole run"), rows))


def draw(sections: dict[str, list[dict[str, Any]]]) -> None:
    figure, axes = subplots(2, 2)
    if "replay" in sections:
        draw_buffers(
            axes[0], [one for one in sections["replay"] if one["capacity"] == one["filled"]], "capacity"
        )
        axes[0].set_xlabel("transitions")
    if "observations" in sections:
        draw_buffers(axes[1], sections["observations"], "observation")
        axes[1].set_xlabel("entries of an observation")
    workers = sections.get("workers", [])
    axes[2].plot([one["workers"] for one in workers], [one["steps_per_s"] for one in workers], "o-")
    axes[2].set(title="training, grasp task", xlabel="workers", ylabel="steps per second")
    from_zero(axes[2])
    seen = [(one["workers"], run_memory(one)) for one in workers if one["memory_mib"]]
    if seen:
        axes[3].plot(*zip(*seen, strict=True), "o-", label="sac_dist, all processes")
    for i, peer in enumerate(sections.get("peers' memory", [])):
        axes[3].axhline(
            peer["memory_mib"]["share"],
            color=f"C{i + 1}",
            linestyle="--",
            label=f"{peer['peer']}, no simulator",
        )
    axes[3].set(title="memory, grasp task", xlabel="workers", ylabel="MiB")
    from_zero(axes[3])
    if axes[3].lines:
        axes[3].legend(fontsize=8)
    finish(figure, "growth")


MEASURE = {"replay": measure_replay, "observations": measure_observations, "workers": measure_workers}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", choices=[*MEASURE, []], help="default: all")
    parser.add_argument(
        "--capacities",
        type=int,
        nargs="+",
        default=CAPACITIES,
        help="of the buffers, and how far they are filled",
    )
    parser.add_argument("--observations", type=int, nargs="+", default=OBSERVATIONS)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3, 4, 6, 8])
    parser.add_argument("--steps", type=int, default=12_000, help="of each run")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each time of a buffer")
    parser.add_argument("--rounds", type=int, default=3, help="of the buffers")
    add_peers(parser, ("sb3", "sbx"))
    arguments = parser.parse_args()
    if arguments.steps < 4000:
        parser.error(
            "--steps below 4000 leaves nothing between warm-up and end: the log has a row every 1000"
        )
    context = start_context(with_compiler=True)
    idle()
    for name in arguments.sections or MEASURE:
        MEASURE[name](context, arguments)
    keys = {
        "replay": ("capacity", "filled"),
        "observations": ("observation",),
        "workers": ("workers",),
        "peers' memory": ("peer",),
    }
    sections = {
        name: sorted(section["results"], key=lambda one, name=name: [one[key] for key in keys[name]])
        for name, section in recorded("growth").items()
    }
    for name in ("replay", "observations"):
        if name in sections:
            show_buffers(sections[name])
    if "workers" in sections:
        show_workers(sections["workers"])
        show_memory(sections["workers"], sections.get("peers' memory", []))
    draw(sections)


if __name__ == "__main__":
    main()
