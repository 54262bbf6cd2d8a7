"""Gradient updates per second over network widths and batch sizes, beside Stable-Baselines3, SBX and the
matrix products alone.

    python benchmarks/updates.py --peers sb3=SB3/bin/python sbx=SBX/bin/python
    python benchmarks/updates.py --widths 64 --batches 64 128 …            a part; the results of all parts
    are kept, cell by cell python benchmarks/updates.py --cql --peers d3rlpy=D3RLPY/bin/python    CQL: 2×256,
    batch 256, 10 samples, beside d3rlpy python benchmarks/updates.py --gpu --peers sb3=… sbx=…
    a central learner's on a GPU, beside peers that use it too

Every network has two hidden layers of the width; observations and actions have the grasp task's sizes;
batches are drawn from 100,000 random transitions, and drawing them is timed. Each side trains for --seconds
in each of --rounds, in turn, after a warm-up that is not timed; the table and the plot show medians, the file
every round.

sac_dist: the engine's own worker processes (one torch thread each) in an offline phase, so that no
    environment is stepped, on one shared
agent; counted is what they all count together, and an update there includes reading its metrics and checking
that they are finite. On a GPU it is the engine's learner process in such a phase. One process is also
measured without compilation. Peers: sb3_sbx.py, with the threads they take by default and bound to one core;
SB3 with 8 updates per call (1 takes as long), SBX with 1, as training in one environment has it, and with 32,
which it compiles as one loop.

The floor: the matrix products that any update with these networks needs, with nothing between them, on one
    thread (floor.py). The second
table sets it beside the time of one core that an update of ours takes: processes / rate, or cores / rate
    where there are more processes.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from multiprocessing.context import BaseContext
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from floor import floor
from measuring import ACTION, OBSERVATION, Peer, add_peers, finish, idle, record, subplots, table, transitions
from offline_common import ARRAYS, Settings
from offline_cql import peer as d3rlpy

from sac_dist import AgentConfig, Config, DataConfig, EnvConfig, ReplayBuffer, SACAgent, TrainConfig
from sac_dist.data.schema import Schema
from sac_dist.engine.compiler import CompilerTask, compiler_main
from sac_dist.engine.control import UPDATES, Control
from sac_dist.engine.learner import Learner
from sac_dist.engine.member import Task, UpdatesDone
from sac_dist.engine.phases import Phase
from sac_dist.engine.processes import Child, call_apart
from sac_dist.engine.start_method import context_on, start_context
from sac_dist.engine.worker import Worker
from sac_dist.execution.choose import worth_compiling
from sac_dist.settings.algorithms import Algorithms, routed

CAPACITY = 100_000
PER_CALL = {"SB3": (8,), "SBX": (1, 32)}  # updates in a call of a peer's train
WARM_UP = 0.5  # s of updates before those that are counted
CORES = os.cpu_count() or 1


# Ours


def settings(
    algorithm: str,
    agent: AgentConfig,
    batch: int,
    processes: int,
    compiled: bool,
    gpu: bool = False,
    own: Algorithms | None = None,
) -> Config:
    """A run that is one endless offline phase. Its data are in the replay buffer: the name stands for a file
    that nobody opens.
    """
    train = TrainConfig(workers=processes, batch_size=batch, compile="auto" if compiled else "off")
    if gpu:
        train = replace(train, learner="central", device="cuda")
    data = DataConfig(offline=("random",), algo=algorithm, offline_steps=10**12)
    return Config(EnvConfig(), agent, train, data, algorithms=own or {})


def compile_once(
    context: BaseContext,
    config: AgentConfig,
    phase: Phase,
    observations: int = OBSERVATION,
    actions: int = ACTION,
    own: Algorithms | None = None,
) -> None:
    """Have the phase's update compiled into the cache, as the supervisor has it done, unless it is there."""
    agent = SACAgent(
        Schema.vector(observations, actions), config, algorithms=Config(algorithms=own or {}).algorithms
    )
    agent.use(phase.algorithm)
    if worth_compiling(agent, phase.batch_size):
        child = Child(
            context,
            "compiler",
            compiler_main,
            lambda _: (CompilerTask(agent, (phase,)),),
        )
        child.start()
        child.process.join()
        if messages := child.receive():
            raise SystemExit(f"no compiled update: {messages[0]}")


@contextmanager
def workers(context: BaseContext, config: Config) -> Iterator[Control]:
    """The processes that train in this run, while they do; its counters. Entered once each has made an
    update.
    """
    processes, central = config.train.workers, config.train.central
    agent, control = (
        SACAgent(Schema.vector(OBSERVATION, ACTION), config.agent, algorithms=config.algorithms),
        Control(config.train.members),
    )
    agent.share_memory()
    buffer = ReplayBuffer(CAPACITY, Schema.vector(OBSERVATION, ACTION), processes)
    for rank in range(processes):
        buffer.for_shard(rank).extend(*(field[rank::processes] for field in transitions(CAPACITY)))

    def task(rank: int) -> Task:
        return Task(
            rank, 0, config, agent, buffer if central else buffer.for_shard(rank), None, control, None
        )

    main, ranks = (Learner.main, [processes]) if central else (Worker.main, range(processes))
    context = context_on(config.train.device, context)
    children = [
        Child(context, f"{main.__qualname__} {rank}", main, lambda _, rank=rank: (task(rank),))
        for rank in ranks
    ]
    try:
        for child in children:
            child.start()
        for child in children:
            while not (messages := child.receive()):
                if not child.process.is_alive():
                    raise SystemExit(child.describe_death())
                time.sleep(0.01)
            if not isinstance(messages[0], UpdatesDone):
                raise SystemExit(f"{child.name}: {messages[0]}")
        yield control
        if not all(child.process.is_alive() for child in children):
            raise SystemExit("a worker died while it was measured")
        control.stop()
        for child in children:
            child.process.join()
    finally:
        for child in children:
            child.kill()


def our_rate(context: BaseContext, config: Config, seconds: float) -> float:
    """Updates per second of all workers together."""
    with workers(context, config) as control:
        time.sleep(WARM_UP)
        before, start = next_update(control)
        time.sleep(seconds)
        after, end = next_update(control)
    return round((after - before) / (end - start), 2)


def next_update(control: Control) -> tuple[int, float]:
    """The number of updates just after one of them, and when."""
    before = control.total(UPDATES)
    while (total := control.total(UPDATES)) == before:
        time.sleep(0.0002)
    return total, time.perf_counter()


# All sides


def measure(sides: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Each side's rates, one per round."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, rate in sides.items():
            found[name].append(rate())
    return found


def our_sides(
    context: BaseContext,
    algorithm: str,
    agent: AgentConfig,
    batch: int,
    processes: list[int],
    seconds: float,
    gpu: bool = False,
    own: Algorithms | None = None,
) -> dict[str, Callable[[], float]]:
    """The floor and ours, each as a function that measures its updates per second."""
    configs = {
        f"sac_dist, {plural(n, 'process')}": settings(algorithm, agent, batch, n, True, own=own)
        for n in processes
    }
    if algorithm == "sac" and processes:
        configs["sac_dist eager, 1 process"] = settings(algorithm, agent, batch, 1, False)
    if processes:
        compile_once(context, agent, Phase(algorithm, batch), own=own)
    if gpu:
        configs["sac_dist, a learner on the GPU"] = settings(algorithm, agent, batch, 1, False, gpu)
    samples = Config(algorithms=own or {}).algorithms["cql"].cql_samples if algorithm == "cql" else 0
    sides: dict[str, Callable[[], float]] = {
        "floor": lambda: call_apart(context, "the floor", floor, agent.hidden_width, batch, samples, seconds)
    }
    return sides | {
        name: lambda config=config: our_rate(context, config, seconds) for name, config in configs.items()
    }


def peer_sides(
    peers: dict[str, Peer], width: int, batch: int, seconds: float
) -> dict[str, Callable[[], float]]:
    """As ``our_sides``, of the peers."""

    def side(peer: Peer, per_call: int) -> Callable[[], float]:
        sizes = {"width": width, "batch": batch, "capacity": CAPACITY}
        return lambda: peer.ask("updates", per_call=per_call, seconds=seconds, **sizes)["updates_per_s"]

    return {
        f"{name}, {per_call} per call": side(peer, per_call)
        for name, peer in peers.items()
        for per_call in PER_CALL[name[:3]]
    }


def d3rlpy_sides(
    folder: Path, python: str, config: Settings, updates: int, versions: dict[str, str]
) -> dict[str, Callable[[], float]]:
    """As ``our_sides``, of d3rlpy's CQL on as many random transitions, in episodes of 50: by d3rlpy_offline.py,
    which says what differs.

    Fills ``versions`` as it measures.
    """
    fields = dict(zip(ARRAYS, transitions(CAPACITY), strict=True))
    fields |= {"terminated": np.zeros(CAPACITY, bool), "truncated": np.arange(CAPACITY) % 50 == 49}
    np.savez(folder / "data.npz", **fields)

    def rate(threads: int) -> float:
        run = d3rlpy(python, folder / "data.npz", config, updates, 0, threads, folder / "policy.npz")
        versions.update(run["versions"])
        return round(1e3 / run["per_update"]["mean_ms"], 2)

    return {f"d3rlpy, {plural(n, 'thread')}": lambda n=n: rate(n) for n in (1, 2)}


def plural(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 'es' if what.endswith('s') else 's'}"


def core_ms(name: str, rate: float) -> float:
    """ms of one core that an update of this side of ours takes."""
    return 1e3 * min(int(name.split()[-2]), CORES) / rate


def show(title: str, results: list[dict[str, Any]]) -> None:
    """The tables: updates per second of every side, then what an update of ours costs against the floor."""
    sides = [side for side in dict.fromkeys(one["side"] for one in results) if side != "floor"]
    ours = [side for side in sides if side.startswith("sac_dist") and "GPU" not in side]
    cells: dict[tuple[int, int], dict[str, float]] = {}
    for one in sorted(results, key=lambda one: (one["width"], one["batch"])):
        cells.setdefault((one["width"], one["batch"]), {})[one["side"]] = median(one["updates_per_s"])
    rates, costs = [], []
    for cell, rate in cells.items():
        rates.append((*cell, *(rate.get(side) for side in sides)))
        least = 1e3 / rate["floor"]
        ms = [core_ms(side, rate[side]) if side in rate else None for side in ours]
        costs.append((*cell, least, *ms, *(None if one is None else f"{least / one:.0%}" for one in ms)))
    print(f"\n{title}, updates/s\n" + table(("width", "batch", *sides), rates))
    header = (
        "width",
        "batch",
        "floor, ms",
        *(f"{side}, ms of a core" for side in ours),
        *(f"floor of that, {side}" for side in ours),
    )
    print("\n" + table(header, costs))


def draw(file: str, results: list[dict[str, Any]]) -> None:
    batches = sorted({one["batch"] for one in results})
    figure, axes = subplots(1, len(batches))
    for each, batch in zip(axes, batches, strict=True):
        for i, side in enumerate(dict.fromkeys(one["side"] for one in results)):
            points = sorted(
                (one["width"], median(one["updates_per_s"]))
                for one in results
                if (one["batch"], one["side"]) == (batch, side)
            )
            if not points:
                continue
            style = ":" if side == "floor" else "o-" if side.startswith("sac_dist") else "s--"
            each.plot(
                *zip(*points, strict=True),
                style,
                color=f"C{i}" if i else "black",
                markersize=4,
                linewidth=1.3,
                label=side,
            )
        widths = sorted({one["width"] for one in results})
        each.set(xscale="log", yscale="log", title=f"batch {batch}", xlabel="width of the two hidden layers")
        each.set_xticks(widths, map(str, widths))
        each.minorticks_off()
    axes[0].set_ylabel("updates per second")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(batches) + 1, fontsize=8
    )
    finish(figure, file)


def draw_cql(results: list[dict[str, Any]]) -> None:
    figure, (axes,) = subplots(1, 1, width=6)
    names = [one["side"] for one in results]
    bars = axes.barh(names, [median(one["updates_per_s"]) for one in results])
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.invert_yaxis()
    axes.set(xlabel="updates per second", title="CQL, 2×256, batch 256, 10 samples")
    finish(figure, "updates_cql")


def measure_cql(
    context: BaseContext, arguments: argparse.Namespace, processes: list[int], pythons: dict[str, str]
) -> None:
    values = Settings().values()
    width, batch, versions = values["hidden_width"], values.pop("batch_size"), {}
    own = routed(values)
    sides = our_sides(
        context,
        "cql",
        AgentConfig(**values, target_entropy=-ACTION),
        batch,
        processes,
        arguments.seconds,
        own=own,
    )
    with tempfile.TemporaryDirectory() as name:
        if "d3rlpy" in pythons:
            sides |= d3rlpy_sides(Path(name), pythons["d3rlpy"], Settings(), arguments.cql_updates, versions)
        about = {"seconds": arguments.seconds, "idle_before": idle()}
        rates = measure(sides, arguments.rounds)
    results = keep("cql", width, batch, rates, about, {"d3rlpy": versions} if versions else {})
    show("CQL", results)
    draw_cql(results)


def measure_sac(
    context: BaseContext, arguments: argparse.Namespace, processes: list[int], pythons: dict[str, str]
) -> None:
    peers = {
        f"{title}, {'1 core' if one_core else 'default threads'}": Peer(name, pythons[name], one_core)
        for name, title in (("sb3", "SB3"), ("sbx", "SBX"))
        for one_core in ((False,) if arguments.gpu else (False, True))
        if name in pythons
    }
    versions = {name: peer.ask("versions") for name, peer in peers.items()}
    for width, batch in product(arguments.widths, arguments.batches):
        agent = AgentConfig(hidden_width=width, layer_norm=False)
        sides = our_sides(context, "sac", agent, batch, processes, arguments.seconds, arguments.gpu)
        about = {"seconds": arguments.seconds, "idle_before": idle()} | (
            {"gpu": torch.cuda.get_device_name()} if arguments.gpu else {}
        )
        rates = measure(sides | peer_sides(peers, width, batch, arguments.seconds), arguments.rounds)
        results = keep("gpu" if arguments.gpu else "sac", width, batch, rates, about, versions)
        print(
            f"width {width}, batch {batch}: "
            + ", ".join(f"{side} {median(each):.0f}" for side, each in rates.items()),
            flush=True,
        )
    for peer in peers.values():
        peer.close()
    show("SAC", results)
    draw("updates_gpu" if arguments.gpu else "updates", results)


def keep(
    section: str,
    width: int,
    batch: int,
    rates: dict[str, list[float]],
    about: dict[str, Any],
    versions: dict[str, Any],
) -> list[dict[str, Any]]:
    """Record a cell; all there are now."""
    found = [
        {"width": width, "batch": batch, "side": side, "updates_per_s": each} | about
        for side, each in rates.items()
    ]
    return record("updates", section, found, same=("width", "batch", "side"), peers=versions)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument(
        "--processes",
        type=int,
        nargs="*",
        help="default: 1 2 4, --cql: 1 2, --gpu: none, and so the floor and the rest",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="of each side in each round; d3rlpy's are --cql-updates"
    )
    parser.add_argument(
        "--gpu", action="store_true", help="SAC on a GPU too; in a section and a plot of their own"
    )
    parser.add_argument("--cql", action="store_true", help="CQL in place of SAC")
    parser.add_argument(
        "--cql-updates",
        type=int,
        default=150,
        help="of d3rlpy in each round; the first 50 at most are not timed",
    )
    add_peers(parser, ("sb3", "sbx", "d3rlpy"))
    arguments = parser.parse_args()
    processes = arguments.processes
    if processes is None:
        processes = [] if arguments.gpu else [1, 2] if arguments.cql else [1, 2, 4]
    (measure_cql if arguments.cql else measure_sac)(
        start_context(with_compiler=True), arguments, processes, dict(arguments.peers)
    )


if __name__ == "__main__":
    main()
