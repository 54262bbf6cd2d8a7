"""The search behind the defaults: steps and seconds until a policy succeeds in 95 of 100 unseen episodes,
settings changed one by one.

    python benchmarks/defaults.py                                                  every variation
    python benchmarks/defaults.py --learners                                       what other learners have
    python benchmarks/defaults.py defaults update_ratio=1 hidden_width=128,lr=7e-4 --tasks grasp --seeds 0 1 2
    some

Each run is one worker, the engine's own, on a core of its own: what several do to each other's updates is not
in it. Updates are compiled before it. Every 500 steps, outside the time, the policy plays the evaluation
episodes until it has failed six times or passed. Adds to benchmarks/results/defaults.json, where a run of the
same variation, task and seed is replaced.
"""

import argparse
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from multiprocessing import Pipe
from statistics import mean
from typing import Any

import gymnasium
import torch
import yaml
from measuring import record, table
from updates import compile_once

from sac_dist import AgentConfig, Config, EnvConfig, ReplayBuffer, SACAgent, TrainConfig, make_env
from sac_dist.acting.episode import run_episode
from sac_dist.acting.evaluation import evaluation_seed
from sac_dist.data.schema import Schema
from sac_dist.engine.control import STEPS, Control
from sac_dist.engine.member import Task
from sac_dist.engine.phases import ONLINE, Phase
from sac_dist.engine.start_method import start_context
from sac_dist.engine.worker import Worker
from sac_dist.execution.choose import COMPILED

DEFAULTS = "defaults"
VARIATIONS = (
    DEFAULTS,
    "hidden_width=128,lr=0.0007,update_ratio=1,layer_norm=false",
    *(
        "layer_norm=false",
        "update_ratio=0.2",
        "update_ratio=0.5",
        "update_ratio=1",
        "hidden_width=128",
        "batch_size=64",
        "batch_size=256",
    ),
    *(
        "lr=0.001",
        "lr=0.002",
        "discount=0.9",
        "discount=0.98",
        "tau=0.02",
        "target_entropy=-7",
        "critics=4",
        "warmup_steps=200",
    ),
)
LEARNERS = (
    DEFAULTS,
    "update_ratio=1",
    "n_step=3",
    "noise_repeat=4",
    "policy_every=2",
    "critics=5,target_critics=2",
    "weight_decay=0.01",
    "dropout=0.01",
    "normalize_observations=true",
    "normalize_returns=true",
    "distribution=c51,normalize_returns=true",
    "distribution=tqc",
    "network=simba",
    "network=flashsac,distribution=c51,normalize_returns=true",
    "network=crossq,target_network=false,adam_beta1=0.5",
    "network=xqc,distribution=c51,normalize_returns=true",
)
RATES = ("actor_lr", "critic_lr", "alpha_lr")
EPISODES, FAILURES, EVERY, FIRST = 100, 5, 500, 2000


@dataclass(frozen=True)
class Benchmark:
    env: str
    steps: int  # at most
    seeds: int


TASKS = {"grasp": Benchmark("SawyerGrasp-v0", 15_000, 10), "lift": Benchmark("SawyerLift-v0", 50_000, 6)}


def configuration(variation: str, env: str, seed: int) -> Config:
    agent: dict[str, Any] = {}
    train: dict[str, Any] = {"seed": seed, "workers": 1}
    for part in variation.split(",") if variation != DEFAULTS else ():
        name, value = part.split("=")
        for one in RATES if name == "lr" else (name,):
            section = agent if one in {field.name for field in fields(AgentConfig)} else train
            section[one] = yaml.safe_load(value)
    return Config(EnvConfig(env, {"backend": "mujoco"}), AgentConfig(**agent), TrainConfig(**train))


def passes(env: gymnasium.Env, agent: SACAgent) -> bool:
    failures = 0
    for index in range(EPISODES):
        failures += not run_episode(
            env, lambda observation: agent.act(observation, deterministic=True), evaluation_seed(index)
        ).success
        if failures > FAILURES:
            return False
    return True


def run(variation: str, task: str, seed: int) -> dict[str, Any]:
    """Train until an evaluation passes."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    config = configuration(variation, TASKS[task].env, seed)
    unseen, env = make_env(config.env), make_env(config.env)
    assert env.observation_space.shape is not None and env.action_space.shape is not None
    sizes = env.observation_space.shape[0], env.action_space.shape[0]
    agent, control = SACAgent(Schema.vector(*sizes), config.agent, seed), Control(1)
    agent.share_memory()
    ours, theirs = Pipe()
    worker = Worker(
        theirs, Task(0, 0, config, agent, ReplayBuffer(100_000, Schema.vector(*sizes)), None, control, None)
    )
    worker.env = env
    worker.enter(ONLINE)
    assert worker.choices[ONLINE].how == COMPILED, "the compiled update was not loaded"
    due, seconds, passed = FIRST, 0.0, False
    while control.total(STEPS) < TASKS[task].steps and not passed:
        start = time.perf_counter()
        worker.online()
        while ours.poll():  # what the worker reports, so that it need not wait
            ours.recv()
        seconds += time.perf_counter() - start
        if control.total(STEPS) >= due:
            due, passed = due + EVERY, passes(unseen, agent)
    result = {
        "variation": variation,
        "task": task,
        "seed": seed,
        "steps": control.total(STEPS),
        "passed": passed,
    }
    return result | {"seconds": round(seconds, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "variations",
        nargs="*",
        help="SETTING=VALUE, or several with commas; lr: all three step sizes",
    )
    parser.add_argument("--learners", action="store_true", help="their variations, and results apart")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", help="default: ten for the grasp, six for the lift")
    arguments = parser.parse_args()
    variations = arguments.variations or (LEARNERS if arguments.learners else VARIATIONS)
    section = "learners" if arguments.learners else "runs"
    context = start_context(with_compiler=True)
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        for variation in variations:
            for task in arguments.tasks:
                config = configuration(variation, TASKS[task].env, 0)
                env = make_env(config.env)
                assert env.observation_space.shape is not None and env.action_space.shape is not None
                sizes = env.observation_space.shape[0], env.action_space.shape[0]
                compile_once(context, config.agent, Phase("sac", config.train.batch_size), *sizes)
                seeds = arguments.seeds or range(TASKS[task].seeds)
                results = [
                    future.result() for future in [pool.submit(run, variation, task, seed) for seed in seeds]
                ]
                everything = record("defaults", section, results, ("variation", "task", "seed"))
                print(row(results), flush=True)
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in everything:
        groups.setdefault((result["task"], result["variation"]), []).append(result)
    print(
        table(
            ("task", "variation", "passed", "steps, mean", "steps of each", "s, mean"),
            [row(runs) for runs in groups.values()],
        )
    )


def row(runs: list[dict[str, Any]]) -> tuple[object, ...]:
    """Of one variation and task; a run that has not passed counts with all its steps."""
    steps = [run["steps"] for run in runs]
    passed = f"{sum(run['passed'] for run in runs)} of {len(runs)}"
    return (
        runs[0]["task"],
        runs[0]["variation"],
        passed,
        round(mean(steps)),
        str(sorted(steps)),
        round(mean(run["seconds"] for run in runs), 1),
    )


if __name__ == "__main__":
    main()
