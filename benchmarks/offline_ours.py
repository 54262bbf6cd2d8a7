"""sac_dist's side of offline_cql.py and offline_learners.py: training by the command line, and the time of
one update by itself.
"""

import csv
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from offline_common import Settings, step_times

from sac_dist import ReplayBuffer, SACAgent
from sac_dist.data.schema import Schema
from sac_dist.execution import compiled
from sac_dist.settings import AgentConfig
from sac_dist.settings.algorithms import routed, settings_of


def target_entropy(arrays: dict[str, np.ndarray]) -> float:
    """−|A|: what d3rlpy has built in."""
    return -float(arrays["action"].shape[1])


def train(
    data: Path,
    env: str,
    arrays: dict[str, np.ndarray],
    settings: Settings,
    updates: int,
    workers: int,
    seed: int,
    run: Path,
) -> dict:
    """``python -m sac_dist --offline`` into the folder ``run``: updates per second after the first row of its
    log, and the command's seconds in all, with a compilation if these sizes are new, and the final video. The
    compilation comes first: else a short run would end before it.
    """
    flags = [
        *("--compile", "on"),
        "--offline",
        str(data),
        "--env",
        env,
        "--offline-steps",
        str(updates),
        *settings.flags(),
    ]
    flags += ["--no-cal-ql"] if settings.algo == "cql" else []
    flags += [
        f"--target-entropy={target_entropy(arrays)}",
        "--workers",
        str(workers),
        "--seed",
        str(seed),
        "--eval-interval",
        "0",
    ]
    start = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-m", "sac_dist", *flags, "--run-dir", str(run)], capture_output=True, text=True
    )
    if result.returncode:
        raise SystemExit(f"python -m sac_dist {' '.join(flags)} failed:\n{result.stderr[-3000:]}")
    seconds = round(time.perf_counter() - start, 1)
    reached: dict[float, float] = {}  # updates → seconds when they were first logged
    with open(run / "metrics.csv") as file:
        for row in csv.DictReader(file):
            if row["updates"] and row["wall_time_s"]:
                reached.setdefault(float(row["updates"]), float(row["wall_time_s"]))
    rows = sorted(row for row in reached.items() if row[0] > 0)
    (first, since), (last, until) = rows[0], rows[-1]
    rate = round((last - first) / (until - since), 2) if len(rows) > 1 else None
    return {"updates": int(last), "updates_per_s": rate, "seconds": seconds}


def time_updates(
    arrays: dict[str, np.ndarray], settings: Settings, updates: int, warm_up: int, seed: int, fused: bool
) -> dict:
    """Milliseconds of sampling a batch and one update, as the peer's, in this process with one thread;
    ``fused``: compiled.
    """
    torch.set_num_threads(1)
    values = settings.values()
    batch_size = values.pop("batch_size")
    observations, actions = arrays["observation"].shape[1], arrays["action"].shape[1]
    own = routed(values, settings.algo)
    own.setdefault(settings.algo, settings_of({}, settings.algo))
    config = AgentConfig(**values, target_entropy=target_entropy(arrays))
    agent = SACAgent(Schema.vector(observations, actions), config, seed, own)
    agent.use(settings.algo)
    if fused:
        if not compiled.compiled_path(agent, batch_size).exists():
            compiled.compile_update(agent, batch_size)
        agent.use(settings.algo, compiled.load_update(compiled.compiled_path(agent, batch_size)))
    buffer = ReplayBuffer(len(arrays["reward"]), Schema.vector(observations, actions))
    buffer.extend(
        *(
            arrays[name]
            for name in ("observation", "action", "reward", "next_observation", "terminated", "truncated")
        )
    )
    generator = np.random.default_rng(seed)
    seconds = np.zeros(updates)
    cpu = 0.0
    for i in range(updates):
        if i == warm_up:
            cpu = time.process_time()
        start = time.perf_counter()
        batch = buffer.sample(batch_size, generator, settings.discount)
        if agent.algorithm.settings.needs_next_actions:  # which ones does not matter to the time
            batch = batch._replace(next_action=batch.action.contiguous())
        agent.update(batch)
        seconds[i] = time.perf_counter() - start
    cpu = (time.process_time() - cpu) / (updates - warm_up)
    return step_times(seconds[warm_up:]) | {"cpu_ms": round(cpu * 1e3, 3)}
