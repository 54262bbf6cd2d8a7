"""The peers' side of updates.py, worker_time.py and growth.py: Stable-Baselines3 or SBX, run by a Python that
has it, not by sac_dist's.

    PEER/bin/pip install torch==2.13.0 && PEER/bin/pip install stable-baselines3        (SBX: … sbx-rl)
    PEER/bin/python benchmarks/sb3_sbx.py sb3|sbx [--one-core]

Answers questions on its input, a line of JSON each: [name of a function below, {its arguments}]. A model
    stays for the next question. By
default the peer takes the threads it wants; ``--one-core`` binds the process to one core (XLA makes its pool
of threads for the cores it may use) and gives torch one thread.

An update here is the peer's own ``train(gradient_steps, batch_size)``, which samples from its own replay
buffer, without ``learn``'s loop around it. What it trains is what sac_dist's update trains: a tanh-Gaussian
policy, two critics and their targets with the sizes given, the temperature, each by Adam, and a soft update
of the targets. What differs: SBX samples the batches of all ``gradient_steps`` at once and runs them as one
compiled loop; both record their metrics once per call of ``train``, sac_dist reads and checks its own at each
update.
"""

import argparse
import json
import os
import sys
import time
from functools import lru_cache
from importlib.metadata import version
from typing import Any

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("peer", choices=["sb3", "sbx"])
arguments.add_argument("--one-core", action="store_true")
options = arguments.parse_args()
if options.one_core:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # before the libraries count the cores

import gymnasium  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from gymnasium.spaces import Box  # noqa: E402
from measuring import ACTION, OBSERVATION, memory_of, microseconds, transitions  # noqa: E402
from stable_baselines3.common.buffers import ReplayBuffer  # noqa: E402
from stable_baselines3.common.logger import configure  # noqa: E402

if options.one_core:
    torch.set_num_threads(1)


class Sizes(gymnasium.Env):
    """The grasp task's spaces: all that a model asks an environment for before it learns."""

    observation_space = Box(-np.inf, np.inf, (OBSERVATION,), np.float32)
    action_space = Box(-1, 1, (ACTION,), np.float32)


def fill(buffer: ReplayBuffer, n: int) -> None:
    """Put n random transitions into a buffer for one environment, at once."""
    fields = ("observations", "actions", "rewards", "next_observations", "dones")
    for name, values in zip(fields, transitions(n), strict=False):
        getattr(buffer, name)[:n, 0] = values
    buffer.pos, buffer.full = n % buffer.buffer_size, n == buffer.buffer_size


@lru_cache(maxsize=1)
def model(width: int, capacity: int, filled: int) -> Any:
    """The peer's SAC with two hidden layers of ``width`` in every network, and all else by its defaults."""
    if options.peer == "sb3":
        from stable_baselines3 import SAC
    else:
        from sbx import SAC
    agent = SAC(
        "MlpPolicy", Sizes(), buffer_size=capacity, policy_kwargs={"net_arch": [width, width]}, seed=0
    )
    agent.set_logger(configure(None, []))
    fill(agent.replay_buffer, filled)
    return agent


@lru_cache(maxsize=2)
def warmed_up(width: int, batch: int, per_call: int, capacity: int) -> None:
    """SBX compiles for each batch size and number of updates per call."""
    for _ in range(2):
        model(width, capacity, capacity).train(gradient_steps=per_call, batch_size=batch)


def updates(width: int, batch: int, per_call: int, capacity: int, seconds: float) -> dict[str, float]:
    """Updates per second over about so many seconds, in calls of ``per_call``, and the processor time that
    one takes.
    """
    warmed_up(width, batch, per_call, capacity)
    agent, made = model(width, capacity, capacity), 0
    start, cpu = time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - start) < seconds:
        agent.train(gradient_steps=per_call, batch_size=batch)
        made += per_call
    return {
        "updates_per_s": round(made / passed, 2),
        "cpu_ms": round((time.process_time() - cpu) / made * 1e3, 3),
    }


def replay(capacity: int, batches: list[int], seconds: float) -> dict[str, float]:
    """µs of adding one transition to a full buffer, and of sampling each size of batch, by the buffer that
    SBX uses too.
    """
    buffer = ReplayBuffer(capacity, Sizes.observation_space, Sizes.action_space, device="cpu")
    fill(buffer, capacity)
    observation, action, reward, following, done, _ = transitions(1)
    found = {
        "insert": microseconds(
            lambda: buffer.add(observation, following, action, reward, done, [{}]), seconds
        )
    }
    return found | {
        f"sample {batch}": microseconds(lambda size=batch: buffer.sample(size), seconds) for batch in batches
    }


def memory(width: int, batch: int, capacity: int, filled: int) -> dict[str, float]:
    """MiB of this process after 100 updates, one per call as with one environment."""
    for _ in range(100):
        model(width, capacity, filled).train(gradient_steps=1, batch_size=batch)
    return memory_of(os.getpid())


def versions() -> dict[str, Any]:
    names = (
        "stable_baselines3",
        "torch",
        "numpy",
        "gymnasium",
        *(("sbx-rl", "jax") if options.peer == "sbx" else ()),
    )
    return {name: version(name) for name in names} | {"python": sys.version.split()[0]}


if __name__ == "__main__":
    questions = {function.__name__: function for function in (updates, replay, memory, versions)}
    for line in sys.stdin:
        name, values = json.loads(line)
        print(json.dumps(questions[name](**values)), flush=True)
