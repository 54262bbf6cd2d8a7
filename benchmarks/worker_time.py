"""Where a worker's time goes, how fast the environments are alone, and what the replay buffer costs beside
others.

    python benchmarks/worker_time.py --peers sb3=SB3/bin/python
    python benchmarks/worker_time.py parts envs replay                     some

parts: one of the two workers of a default run of the grasp task, alone on the machine: the engine's own
    Worker with its compiled update,
after its warm-up. A stopwatch lies around each of its parts. "other" is what is left of the loop: checks of
what the environment returns, counters, bookkeeping.

envs: steps per second of an environment alone, as workers step it (episode.Play), with random actions and
    resets, in one process and in
two at once.

replay: µs of inserting one transition and of sampling a batch, in one process, from full buffers. Ours and
    SB3's (sb3_sbx.py) sample
into torch tensors. "manager" is the way of the book "Deep Reinforcement Learning": a Python list of
transitions in a manager's process, each call a message and each batch a pickle, here made into tensors too.
"""

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.managers import BaseManager
from multiprocessing.synchronize import Barrier
from statistics import median
from typing import Any

import numpy as np
import torch
from measuring import (
    ACTION,
    OBSERVATION,
    Peer,
    add_peers,
    finish,
    idle,
    microseconds,
    record,
    recorded,
    subplots,
    table,
    transitions,
)
from updates import compile_once

from sac_dist import Config, EnvConfig, ReplayBuffer, SACAgent, TrainConfig, make_env
from sac_dist.acting.episode import Play
from sac_dist.data.schema import Schema
from sac_dist.engine.control import STEPS, Control
from sac_dist.engine.member import Task
from sac_dist.engine.phases import ONLINE, Phase
from sac_dist.engine.processes import call_apart, settle_child
from sac_dist.engine.start_method import quiet_start, start_context
from sac_dist.engine.worker import Worker
from sac_dist.execution.choose import COMPILED

ENVIRONMENTS = ("SawyerGrasp-v0", "SawyerLift-v0", "Pendulum-v1")
BATCHES = [64, 128, 256, 512]
CAPACITIES = [10_000, 100_000, 1_000_000]
WARM_UP = 1000  # steps of a worker, its own 500 random ones included


# Parts of a worker


class Stopwatch:
    """Adds up the seconds in methods of objects."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def watch(self, part: str, owner: Any, name: str) -> None:
        method = getattr(owner, name)

        def timed(*arguments: Any, **keywords: Any) -> Any:
            start = time.perf_counter()
            result = method(*arguments, **keywords)
            self.seconds[part] += time.perf_counter() - start
            return result

        setattr(owner, name, timed)


def parts(config: Config, steps: int) -> dict[str, float]:
    """Seconds that ``steps`` steps of a worker took in all, and in each part."""
    agent, control = SACAgent(Schema.vector(OBSERVATION, ACTION), config.agent), Control(1)
    agent.share_memory()
    buffer = ReplayBuffer(config.train.buffer_size, Schema.vector(OBSERVATION, ACTION))
    ours, theirs = Pipe()
    worker = Worker(theirs, Task(0, 0, config, agent, buffer, None, control, None))
    worker.env = make_env(config.env)
    worker.enter(ONLINE)
    assert worker.choices[ONLINE].how == COMPILED, "the compiled update was not loaded"
    watch = Stopwatch()
    watch.watch("env.step", worker.env, "step")
    watch.watch("env.reset", worker.env, "reset")
    watch.watch("act", worker, "choose")
    watch.watch("push", worker.replay, "push")
    watch.watch("sample", worker.batches, "online")
    watch.watch("update", worker, "update")

    def run_until(steps: int) -> None:
        while control.total(STEPS) < steps:
            worker.online()
            while ours.poll():  # what the worker reports, so that it need not wait
                ours.recv()

    run_until(WARM_UP)
    watch.seconds.clear()
    before, start = control.total(STEPS), time.perf_counter()
    run_until(before + steps)
    total = time.perf_counter() - start
    worker.env.close()
    seconds = dict(watch.seconds)
    return (
        {"steps": control.total(STEPS) - before, "total": total}
        | seconds
        | {"other": total - sum(seconds.values())}
    )


# Environments alone


def stepping(pipe: Connection, ready: Barrier, name: str, seconds: float, seed: int) -> None:
    """A process's steps per second with random actions, once all are ready."""
    settle_child()
    env, rng, steps = make_env(EnvConfig(name)), np.random.default_rng(seed), 0
    actions = rng.uniform(-1, 1, (1000, *(env.action_space.shape or ()))).astype(np.float32)
    play = Play(env, seed)
    ready.wait()
    start = time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        if play.over:
            play = Play(env, seed + steps)
        play.step(actions[steps % len(actions)])
        steps += 1
    pipe.send(steps / passed)
    env.close()


def env_rate(context: BaseContext, name: str, processes: int, seconds: float) -> float:
    """Steps per second of so many processes together."""
    ready, pipes = context.Barrier(processes), []
    for seed in range(processes):
        ours, theirs = Pipe(duplex=False)
        with quiet_start():
            context.Process(target=stepping, args=(theirs, ready, name, seconds, seed), daemon=True).start()
        theirs.close()
        pipes.append(ours)
    return round(sum(pipe.recv() for pipe in pipes), 1)


# Replay buffers


class ListReplay:
    """A replay buffer as a list of tuples: what the book's manager serves."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.place = capacity, 0
        self.transitions: list[tuple[Any, ...]] = []

    def push(self, *transition: Any) -> None:
        if len(self.transitions) < self.capacity:
            self.transitions.append(transition)
        else:
            self.transitions[self.place] = transition
        self.place = (self.place + 1) % self.capacity

    def sample(self, batch_size: int) -> list[np.ndarray]:
        return [np.stack(field) for field in zip(*random.sample(self.transitions, batch_size), strict=True)]

    def fill(self) -> None:
        """With random transitions, each in arrays of its own."""
        observations, actions, rewards, following, terminated, _ = transitions(self.capacity)
        for i in range(self.capacity):
            self.push(
                observations[i].copy(), actions[i].copy(), rewards[i], following[i].copy(), terminated[i]
            )


class ListManager(BaseManager):
    pass


ListManager.register("ListReplay", ListReplay)


def times(
    insert: Callable[[], Any], sample: Callable[[int], Any], batches: list[int], seconds: float
) -> dict[str, float]:
    """µs of an insertion and of a sample of each size."""
    found = {"insert": microseconds(insert, seconds)}
    return found | {f"sample {batch}": microseconds(partial(sample, batch), seconds) for batch in batches}


def our_times(
    capacity: int, observation_size: int, filled: int, batches: list[int], seconds: float
) -> dict[str, float]:
    """Of our buffer with ``filled`` transitions in it; the insertions add to them or, once it is full,
    replace them.
    """
    buffer, rng = ReplayBuffer(capacity, Schema.vector(observation_size, ACTION)), np.random.default_rng(0)
    block = transitions(min(filled, 100_000), observation_size)
    for start in range(0, filled, len(block[0])):
        buffer.extend(*(field[: filled - start] for field in block))
    observation, action, reward, following, terminated, truncated = (field[0] for field in block)
    one = (
        observation,
        action,
        float(reward),
        following,
        bool(terminated),
        bool(truncated),
    )  # as a worker has them
    samples = times(lambda: None, lambda batch: buffer.sample(batch, rng), batches, seconds)
    return samples | {"insert": microseconds(lambda: buffer.push(*one), seconds)}


def manager_times(capacity: int, batches: list[int], seconds: float) -> dict[str, float]:
    """Of a full ListReplay, asked by this process, as one that call_apart starts may have no manager."""
    torch.set_num_threads(1)
    with ListManager() as manager:
        buffer = manager.ListReplay(capacity)
        buffer.fill()
        one = [field[0] for field in transitions(1)[:5]]
        return times(
            lambda: buffer.push(*one),
            lambda batch: [torch.as_tensor(field) for field in buffer.sample(batch)],
            batches,
            seconds,
        )


# All


def measure_parts(context: BaseContext, arguments: argparse.Namespace) -> None:
    config = Config(EnvConfig("SawyerGrasp-v0"), train=TrainConfig(workers=2))
    compile_once(context, config.agent, Phase("sac", config.train.batch_size))
    found = [
        call_apart(context, "the worker", parts, config, arguments.steps) for _ in range(arguments.rounds)
    ]
    record("worker_time", "parts", found, same=())


def measure_envs(context: BaseContext, arguments: argparse.Namespace) -> None:
    found: list[dict[str, Any]] = [
        {"env": name, "processes": n, "steps_per_s": []} for name in ENVIRONMENTS for n in (1, 2)
    ]
    for _ in range(arguments.rounds):
        for one in found:
            one["steps_per_s"].append(env_rate(context, one["env"], one["processes"], arguments.seconds))
    record("worker_time", "envs", found, same=("env", "processes"))


def measure_replay(context: BaseContext, arguments: argparse.Namespace) -> None:
    short = arguments.seconds / 10
    sides: dict[str, Callable[[int], dict[str, float]]] = {
        "sac_dist": lambda size: call_apart(
            context, "the buffer", our_times, size, OBSERVATION, size, BATCHES, short
        ),
        "manager": lambda size: manager_times(size, BATCHES, short),
    }
    peer = Peer("sb3", dict(arguments.peers)["sb3"], one_core=True) if arguments.peers else None
    if peer is not None:
        sides["SB3"] = lambda size: peer.ask("replay", capacity=size, batches=BATCHES, seconds=short)
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for _ in range(arguments.rounds):
        for capacity in arguments.capacities:
            for side, measure in sides.items():
                one = found.setdefault((side, capacity), {"side": side, "capacity": capacity})
                for what, value in measure(capacity).items():
                    one.setdefault(what, []).append(value)
    about = {"peers": {"SB3": peer.ask("versions")}} if peer is not None else {}
    if peer is not None:
        peer.close()
    record("worker_time", "replay", list(found.values()), same=("side", "capacity"), **about)


def show_parts(results: list[dict[str, Any]], axes: Any) -> None:
    names = [name for name in results[0] if name not in ("steps", "total")]
    per_step = {name: median(one[name] / one["steps"] for one in results) * 1e6 for name in names}
    share = {name: median(one[name] / one["total"] for one in results) for name in names}
    rows = [(name, per_step[name], f"{share[name]:.1%}") for name in names]
    rows.append(("in all", median(one["total"] / one["steps"] for one in results) * 1e6, ""))
    print("\n" + table(("part of a worker's step", "µs", "share"), rows))
    bars = axes.barh(names, [per_step[name] for name in names])
    axes.bar_label(bars, [f"{share[name]:.1%}" for name in names], padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set(title="a step of one worker, grasp task", xlabel="µs")


def show_envs(results: list[dict[str, Any]], axes: Any) -> None:
    rates = {(one["env"], one["processes"]): median(one["steps_per_s"]) for one in results}
    rows = [(env, rates[env, 1], rates[env, 2], rates[env, 2] / rates[env, 1]) for env in ENVIRONMENTS]
    print("\n" + table(("environment, steps/s", "1 process", "2 processes", "ratio"), rows))
    for i, processes in enumerate((1, 2)):
        places = np.arange(len(ENVIRONMENTS)) + 0.4 * i - 0.2
        bars = axes.barh(
            places,
            [rates[env, processes] for env in ENVIRONMENTS],
            0.38,
            label=f"{processes} process{'es' * i}",
        )
        axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set_yticks(range(len(ENVIRONMENTS)), ENVIRONMENTS)
    axes.invert_yaxis()
    axes.set(title="environments alone, random actions", xlabel="steps per second")
    axes.margins(x=0.15)
    axes.legend(fontsize=8)


def show_replay(results: list[dict[str, Any]], axes: Any) -> None:
    columns = ["insert", *(f"sample {batch}" for batch in BATCHES)]
    results = sorted(results, key=lambda one: one["capacity"])
    print(
        "\n"
        + table(
            ("µs", "capacity", *columns),
            ((o["side"], o["capacity"], *(median(o[c]) for c in columns)) for o in results),
        )
    )
    for side, style, color in (("sac_dist", "o-", "C0"), ("SB3", "s--", "C1"), ("manager", "^:", "C2")):
        mine = [one for one in results if one["side"] == side]
        for i, one in enumerate(mine):
            values = [median(one[f"sample {batch}"]) for batch in BATCHES]
            axes.plot(
                BATCHES,
                values,
                style,
                color=color,
                alpha=(i + 1) / len(mine),
                label=f"{side}, {one['capacity']:,}",
            )
    axes.set(
        title="sampling a batch from a full buffer", xlabel="batch", ylabel="µs", xscale="log", yscale="log"
    )
    axes.set_xticks(BATCHES, map(str, BATCHES))
    axes.minorticks_off()
    axes.legend(fontsize=6)


SECTIONS = {
    "parts": (measure_parts, show_parts),
    "envs": (measure_envs, show_envs),
    "replay": (measure_replay, show_replay),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="default: all")
    parser.add_argument("--steps", type=int, default=5000, help="of the worker whose parts are timed")
    parser.add_argument("--capacities", type=int, nargs="+", default=CAPACITIES, help="of the replay buffers")
    parser.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        help="of each environment; a tenth of that for each time of a replay buffer",
    )
    parser.add_argument("--rounds", type=int, default=3)
    add_peers(parser, ("sb3",))
    arguments = parser.parse_args()
    context = start_context(with_compiler=True)
    idle()
    for name in arguments.sections or SECTIONS:
        SECTIONS[name][0](context, arguments)
    sections = recorded("worker_time")
    figure, panels = subplots(1, len(sections), width=5.5)
    for axes, (name, section) in zip(panels, sections.items(), strict=True):
        SECTIONS[name][1](section["results"], axes)
    finish(figure, "worker_time")


if __name__ == "__main__":
    main()
