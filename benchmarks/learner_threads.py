"""What threads of torch are worth to a central learner's update: ms an update, compiled, in a process as a run's.

    python benchmarks/learner_threads.py --threads 1 2
    python benchmarks/learner_threads.py --threads 1 2 --beside 1

``--beside N`` keeps N processes busy meanwhile, as other runs on the machine would. Numbers of threads are measured
in turn, ``--rounds`` times; the table has the medians. What is not compiled yet is compiled first.
"""

import argparse
import multiprocessing
import os
import time
from dataclasses import replace
from statistics import median

import numpy as np
import torch
from measuring import table, transitions

from sac_dist import Config, EnvConfig, ReplayBuffer, SACAgent
from sac_dist.data.schema import Schema
from sac_dist.engine.start_method import environment
from sac_dist.execution.choose import choose
from sac_dist.execution.compiled import compile_update

CASES = {  # name: environment whose settings are taken, sizes of observations and actions, layers, batch
    "2x128, batch 256": ("SawyerGrasp-v0", 31, 7, {"hidden_width": 128}, 256),
    "2x256, batch 256": ("SawyerGrasp-v0", 31, 7, {"hidden_width": 256}, 256),
    "Ant-v5's, CrossQ with C51": ("Ant-v5", 105, 8, {}, 256),
}
TRANSITIONS, WARM_UP = 5000, 20


def measure(case: str, threads: int, seconds: float) -> float:
    """ms an update, with its sampling."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    name, observations, actions, changed, batch_size = CASES[case]
    config = replace(Config.of(EnvConfig(name)).agent, **changed)
    agent = SACAgent(Schema.vector(observations, actions), config)
    compile_update(agent, batch_size)
    choose(agent, batch_size, compiled=True).install(agent)
    buffer, rng = ReplayBuffer(TRANSITIONS, agent.schema), np.random.default_rng(0)
    buffer.extend(*transitions(TRANSITIONS, observations, actions))
    made, start = -WARM_UP, 0.0
    while made <= 0 or time.perf_counter() - start < seconds:
        if made == 0:
            start = time.perf_counter()
        agent.update(buffer.sample(batch_size, rng, config.discount))
        made += 1
    return 1e3 * (time.perf_counter() - start) / made


def keep_busy() -> None:
    while True:
        sum(range(10**6))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--beside", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    os.environ.update(environment())  # as a run's processes have it
    context = multiprocessing.get_context("spawn")
    found: dict[tuple[str, int], list[float]] = {}

    def one(case: str, threads: int, seconds: float) -> float:
        with context.Pool(1) as pool:
            return pool.apply(measure, (case, threads, seconds))

    for case in CASES:
        for threads in given.threads:
            one(case, threads, 0.0)
    others = [context.Process(target=keep_busy, daemon=True) for _ in range(given.beside)]
    for other in others:
        other.start()
    for _ in range(given.rounds):
        for case in CASES:
            for threads in given.threads:
                found.setdefault((case, threads), []).append(one(case, threads, given.seconds))
    for other in others:
        other.kill()
    heads = ("update", *(f"{threads} threads, ms" for threads in given.threads))
    rows = [(case, *(f"{median(found[case, threads]):.2f}" for threads in given.threads)) for case in CASES]
    print(table(heads, rows))


if __name__ == "__main__":
    main()
