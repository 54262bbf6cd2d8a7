"""The Ray engine on a cluster of three nodes of this machine: does it learn as the local engine does, through
faults, and what it costs.

    python benchmarks/ray_cluster.py grasp --seeds 0 1 2 [--engine local] [--faults]   (locally with --learner
    central) python benchmarks/ray_cluster.py scaling --workers 1 2 4 8 16 [--chunks 1 20 …]
    [--weight-intervals 1 20 …] python benchmarks/ray_cluster.py costs python benchmarks/ray_cluster.py start

``scaling`` slows the simulator to 20 ms a step, as a large one is. Results: results/ray_cluster.json.
"""

import argparse
import contextlib
import csv
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import gymnasium
import measuring
import numpy as np
import psutil

from envs.tasks.grasp import GraspEnv
from sac_dist.data.schema import Schema
from sac_dist.settings import ClusterConfig, Config, EnvConfig, TrainConfig
from sac_dist.storage import checkpoint

STEP = 0.02  # s of a step of the slowed simulator
SETTLING, MEASURED = 12.0, 25.0  # s of a scaling run that do not count, and that do
STARTING = 3.0  # further s that do not count, for each worker: they all start on two cores
FAULTS = {
    2000: "worker",
    3500: "node",
    5000: "learner",
}  # what is killed once the last checkpoint has so many steps
NODE: dict[str, Any] = {"num_cpus": 8, "object_store_memory": 256 * 2**20, "include_dashboard": False}


class SlowGrasp(GraspEnv):
    """The grasp task at 20 ms a step."""

    def step(self, action: np.ndarray) -> Any:
        begin = time.monotonic()
        result = super().step(action)
        time.sleep(max(0.0, begin + STEP - time.monotonic()))
        return result


if "SlowGrasp-v0" not in gymnasium.registry:  # this file is a module of its own for the environment's name
    gymnasium.register("SlowGrasp-v0", entry_point=SlowGrasp)


@contextlib.contextmanager
def three_nodes() -> Iterator[Any]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
    )
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        for _ in range(2):
            cluster.add_node(**NODE)
        yield cluster
    finally:
        cluster.shutdown()


def actor(name: str) -> psutil.Process | None:
    """The actor process below this one that shows this name."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.name() == name:
                return child
    return None


def break_things(cluster: Any, last: Path, done: list[str], ended: threading.Event) -> None:
    """Kill a worker, a node and the learner, each at its step."""
    node = cluster.worker_nodes and next(iter(cluster.worker_nodes))
    for steps, what in FAULTS.items():
        while not ended.wait(0.5):
            if last.exists() and checkpoint.read(last).info["steps"] >= steps:
                break
        if ended.is_set():
            return
        if what == "node":
            cluster.remove_node(node, allow_graceful=False)
        else:
            process = actor("learner" if what == "learner" else "worker-0")
            if process is None:
                continue
            process.send_signal(signal.SIGKILL)
        done.append(what)
        print(f"killed a {what} at {checkpoint.read(last).info['steps']} steps", flush=True)


def grasp(engine: str, seed: int, workers: int, faults: bool) -> dict[str, Any]:
    from sac_dist.engine.train import train

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run"
        cluster = stack.enter_context(three_nodes()) if engine == "ray" else None
        settings = TrainConfig(
            workers=workers,
            seed=seed,
            steps=20_000,
            success_target=0.95,
            eval_interval=1000,
            checkpoint_interval=500,
            run_dir=str(folder),
        )
        settings = replace(settings, engine=cast(Any, engine), learner="central")
        place = ClusterConfig() if cluster is None else ClusterConfig(address=cluster.address)
        done: list[str] = []
        ended = threading.Event()
        if faults:
            threading.Thread(
                target=break_things,
                args=(cluster, folder / "checkpoints/last.safetensors", done, ended),
                daemon=True,
            ).start()
        outcome = train(
            Config(EnvConfig("SawyerGrasp-v0", {"backend": "mujoco"}), train=settings, cluster=place)
        ).outcome
        ended.set()
        with open(folder / "metrics.csv") as file:
            evaluated = [int(row["eval_step"]) for row in csv.DictReader(file) if row["eval_step"]]
    success = None if outcome.evaluation is None else outcome.evaluation.success_rate
    return {
        "engine": engine,
        "seed": seed,
        "workers": workers,
        "killed": done,
        "steps": evaluated[-1],  # those of the policy that passed
        "steps_at_the_end": outcome.steps,
        "updates": outcome.updates,
        "seconds": round(outcome.seconds, 1),
        "success": success,
        "reason": outcome.reason,
    }


def scaling(cluster: Any, workers: int, chunk: int, weight_interval: int, ratio: float) -> dict[str, Any]:
    from sac_dist.engine import supervisor
    from sac_dist.engine.train import train

    supervisor.LOG_INTERVAL = 50 * workers  # a row a second
    settling = SETTLING + STARTING * workers
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        settings = TrainConfig(
            workers=workers,
            time=settling + MEASURED,
            update_ratio=ratio,
            warmup_steps=100,
            eval_interval=0,
            checkpoint_interval=10**9,
            engine="ray",
            run_dir=str(folder),
        )
        place = ClusterConfig(address=cluster.address, chunk=chunk, weight_interval=weight_interval)
        train(
            Config(
                EnvConfig("ray_cluster:SlowGrasp-v0", {"backend": "mujoco"}), train=settings, cluster=place
            ),
            quiet=True,
        )
        with open(folder / "metrics.csv") as file:
            rows = [
                (float(row["wall_time_s"]), int(row["step"]), float(row["updates"]))
                for row in csv.DictReader(file)
            ]
    first = next(row for row in rows if row[0] >= settling)
    end = [row for row in rows if row[0] <= settling + MEASURED][-1]
    seconds = end[0] - first[0]
    result = {"workers": workers, "chunk": chunk, "weight_interval": weight_interval, "update_ratio": ratio}
    return result | {
        "steps_per_s": round((end[1] - first[1]) / seconds, 1),
        "updates_per_s": round((end[2] - first[2]) / seconds, 1),
        "seconds": round(seconds, 1),
    }


def cpu_of(name: str) -> float:
    """s of processor time that the actors whose process's name begins so have used."""
    total = 0.0
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.name().startswith(name):
                total += sum(child.cpu_times()[:2])
    return total


class Echo:
    """Answers at once with what an actor reports."""

    def exchange(self, instructions: Any) -> Any:
        from sac_dist.engine.ray.actors import Report

        return Report(instructions.others, [], None, None)


class Reader:
    def read(self, reference: list[Any]) -> float:
        """s to take a version of the policy."""
        import ray

        begin = time.perf_counter()
        ray.get(reference[0])
        return time.perf_counter() - begin


def us(spent: dict[str, float], count: int) -> dict[str, float]:
    """µs of each of ``count`` from seconds of all."""
    return {f"{name}_us": round(seconds / count * 1e6, 1) for name, seconds in spent.items()}


def transition_costs(store: Any, sizes: tuple[int, int]) -> list[dict[str, Any]]:
    from sac_dist.engine.ray.replay import ChunkSender, Stores

    rows = list(zip(*measuring.transitions(1000, *sizes), strict=True))
    results = []
    for chunk in (1, 5, 20, 100):
        sender = ChunkSender(
            Stores([store]), (0, 0), Schema.vector(*sizes), chunk, lambda: time.sleep(0.0005), lambda: False
        )
        ours, theirs, begin, pushed = time.process_time(), cpu_of("ray::Store"), time.perf_counter(), 0
        while time.perf_counter() < begin + 5.0:
            for row in rows:
                sender.push(*row)
            pushed += len(rows)
        sender.settle()
        spent = {
            "wall": time.perf_counter() - begin,
            "sender": time.process_time() - ours,
            "store": cpu_of("ray::Store") - theirs,
        }
        results.append({"what": "transition", "chunk": chunk} | us(spent, pushed))
    return results


def batch_costs(store: Any, sizes: tuple[int, int], batches: int = 4000) -> dict[str, Any]:
    from sac_dist.engine.ray.actors import BATCHES_AHEAD
    from sac_dist.engine.ray.replay import Stores, StoreSampler

    sampler, rng = (
        StoreSampler(Stores([store]), Schema.vector(*sizes), BATCHES_AHEAD * 128, lambda: None),
        np.random.default_rng(0),
    )
    out = np.empty((128, sampler.schema.row_width), np.float32)
    ours, theirs = time.process_time(), cpu_of("ray::Store")
    for _ in range(batches):
        sampler.sample_into(out, rng)
    spent = {"learner": time.process_time() - ours, "store": cpu_of("ray::Store") - theirs}
    return {"what": "batch of 128"} | us(spent, batches)


def version_costs(sizes: tuple[int, int], versions: int = 200) -> list[dict[str, Any]]:
    import ray

    from sac_dist.algorithms.agent import SACAgent
    from sac_dist.settings import AgentConfig

    policy = SACAgent(Schema.vector(*sizes), AgentConfig()).policy_parameters.numpy()
    readers = [
        ray.remote(num_cpus=4)(Reader).options(scheduling_strategy="SPREAD").remote() for _ in range(3)
    ]
    times = []
    for _ in range(versions):
        reference = ray.put(policy.copy())
        times.append(max(ray.get([reader.read.remote([reference]) for reader in readers])))
    publish = measuring.microseconds(lambda: ray.put(policy.copy()), 3.0)
    return [
        {"what": "publish", "bytes": policy.nbytes, "wall_us": publish},
        {
            "what": "take, the slowest of 3 nodes",
            "bytes": policy.nbytes,
            "wall_us": round(float(np.median(times)) * 1e6, 1),
        },
    ]


def exchange_costs() -> dict[str, Any]:
    import ray

    from sac_dist.engine.ray.actors import Instructions

    echoes = [ray.remote(num_cpus=0)(Echo).remote() for _ in range(4)]
    instructions = Instructions(np.zeros(8, np.int64), np.zeros(8, np.int64), None, None)
    ray.get([echo.exchange.remote(instructions) for echo in echoes])
    calls, done = {echo.exchange.remote(instructions): echo for echo in echoes}, 0
    ours, theirs, begin = time.process_time(), cpu_of("ray::Echo"), time.perf_counter()
    while time.perf_counter() < begin + 5.0:
        for call in ray.wait(list(calls), num_returns=1, timeout=1.0)[0]:
            echo = calls.pop(call)
            ray.get(call)
            calls[echo.exchange.remote(instructions)] = echo
            done += 1
    spent = {"driver": time.process_time() - ours, "actor": cpu_of("ray::Echo") - theirs}
    return {"what": "exchange"} | us(spent, done)


def costs() -> list[dict[str, Any]]:
    """µs of processor time on each side, per transition for chunk sizes, per batch and per exchange; of wall
    time per version.
    """
    import ray

    from sac_dist.engine.ray.replay import Store

    sizes = measuring.OBSERVATION, measuring.ACTION
    with three_nodes() as cluster:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="CRITICAL")
        actor = ray.remote(num_cpus=0)(Store).options(scheduling_strategy="SPREAD")
        store = actor.remote(100_000, Schema.vector(*sizes), 1)
        results = [
            *transition_costs(store, sizes),
            batch_costs(store, sizes),
            *version_costs(sizes),
            exchange_costs(),
        ]
        ray.shutdown()
    return results


def start(engine: str) -> dict[str, Any]:
    """Seconds from the command to the first update, read off a run that ends at it."""
    import subprocess

    with tempfile.TemporaryDirectory() as scratch:
        flags = [
            "--train",
            "--env",
            "SawyerGrasp-v0",
            "--backend",
            "mujoco",
            "--workers",
            "2",
            "--steps",
            "500000",
            "--run-dir",
            "run",
        ]
        flags += [
            "--warmup-steps",
            "0",
            "--eval-interval",
            "0",
            "--checkpoint-interval",
            "1",
            "--engine",
            engine,
        ]
        flags += ["--address", "local"] if engine == "ray" else ["--learner", "central"]
        begin = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "sac_dist", *flags], cwd=scratch, stderr=subprocess.DEVNULL
        )
        last = Path(scratch) / "run/checkpoints/last.safetensors"
        while not (last.exists() and checkpoint.read(last).run["counters"][1] > 0):  # type: ignore[index]
            time.sleep(0.02)
        seconds = time.monotonic() - begin
        process.send_signal(signal.SIGINT)
        process.wait(60)
    return {"engine": engine, "seconds_to_first_update": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("grasp", "scaling", "costs", "start"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, nargs="+", default=[2])
    parser.add_argument("--engine", choices=("local", "ray"), default="ray")
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--chunks", type=int, nargs="+", default=[ClusterConfig.chunk])
    parser.add_argument("--weight-intervals", type=int, nargs="+", default=[ClusterConfig.weight_interval])
    parser.add_argument("--update-ratio", type=float, default=0.25)
    given = parser.parse_args()
    if given.what == "grasp":
        for seed in given.seeds:
            result = grasp(given.engine, seed, given.workers[0], given.faults) | {"faults": given.faults}
            print(result, flush=True)
            measuring.record("ray_cluster", "grasp", [result], ("engine", "seed", "workers", "faults"))
    elif given.what == "scaling":
        with three_nodes() as cluster:
            for workers in given.workers:
                for chunk in given.chunks:
                    for interval in given.weight_intervals:
                        result = scaling(cluster, workers, chunk, interval, given.update_ratio)
                        print(result, flush=True)
                        measuring.record(
                            "ray_cluster",
                            "scaling",
                            [result],
                            ("workers", "chunk", "weight_interval", "update_ratio"),
                        )
    elif given.what == "costs":
        results = costs()
        print(*results, sep="\n")
        measuring.record("ray_cluster", "costs", results, ("what",))
    else:
        results = [start(engine) for engine in ("local", "ray")]
        print(*results, sep="\n")
        measuring.record("ray_cluster", "start", results, ("engine",))


if __name__ == "__main__":
    main()
