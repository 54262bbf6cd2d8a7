"""Seconds until a policy grasps in 95 of 100 unseen episodes: sac_dist beside other trainers of Soft
Actor-Critic, on the same task.

    python benchmarks/time_to_success.py --peers sb3=SB3/bin/python sbx=SBX/bin/python
        cleanrl=CLEANRL/bin/python rllib=RLLIB/bin/python \\ --cleanrl CLONE --seeds 0 1 2 3 4

benchmarks/peers/README.md tells how the peers' environments are made; peers/common.py has the settings that
all sides share, and each peer's script says what differs. There are two (--settings): "usual", and
"defaults", those of sac_dist, for the peers that can be given them. For each seed the sides run in turn, so
that a busy moment meets all of them.

Every side trains for --steps environment steps without an evaluation, and writes its policy about every 1000.
Then, outside the time, the mean policy of each snapshot in turn plays sac_dist's evaluation episodes, until
one passes. Its file's time of writing is the result:

    training seconds   since the first environment step of any of the side's processes, which leaves a file at
    that step (peers/grasp.py) total seconds      since the side's process was started: imports, compilation,
    everything

A side is killed after --limit seconds; where no snapshot until then passes, the result is "not within".
Snapshots are 1000 steps apart, so the times are that coarse. The sides:

    sac_dist          python -m sac_dist --train, with the update compiled by an earlier run on this machine
    sac_dist-cold     the same with an empty cache: it trains uncompiled
    sac_dist-central  one worker that only acts, beside a central learner
    sbx               keeps nothing compiled by default: compares with sac_dist-cold
    sbx-cached        the same with JAX's persistent cache, filled by an earlier run: compares with sac_dist
    sb3, cleanrl, rllib
    book              the book's trainer, peers/book_trainer.py, in sac_dist's Python

--envs and --threads set a side's number of environments (sac_dist, book: workers; with the usual settings)
and of OpenMP threads; SIDES has the defaults, chosen by steps per second on two cores (--seeds 0 --steps
3000; SB3 and CleanRL 2000). SBX made 290 with 1 environment, 360 with 2, 417 with 4; with the settings of
sac_dist 1136 with 3 and 1358 with 6.
SB3 with one thread made 241, 231 and 230, with two and 4 environments 10, as another process, though a nice
    one, used a core: each product
of matrices waits for both threads. CleanRL made 226 with one thread and, on cores of its own, 232 with two.
RLlib has one by analogy.

Adds to benchmarks/results/time_to_success.json after each run, where a run of the same settings, side and
seed is replaced, and draws the .png.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from machine import machine
from offline_cql import peer_policy
from peers import common
from time_to_success_report import plot, table

from sac_dist import EnvConfig, evaluate, make_env
from sac_dist.storage.checkpoint import read

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "time_to_success.json"
PASSED, EPISODES = 0.95, 100
PATIENCE = 10  # s for a side that is told to end
PACKAGES = ("stable-baselines3", "sbx-rl", "jax", "ray", "torch", "gymnasium", "mujoco", "numpy")


@dataclass(frozen=True)
class Side:
    python: str = ""  # the key of --peers; empty: sac_dist's own
    script: str = ""  # in peers/; empty: python -m sac_dist
    envs: int = 1
    threads: int | None = None  # OMP_NUM_THREADS; None: what the libraries take by themselves
    caches: tuple[str, ...] = ()  # variables that name the folder of compiled code
    warm: bool = False  # compiled by an earlier run
    flags: tuple[str, ...] = ()  # more of them, for python -m sac_dist
    defaults: int | None = None  # environments with the settings "defaults"; None: it cannot be given them


SIDES = {
    "sac_dist": Side(envs=2, warm=True, defaults=2),
    "sac_dist-cold": Side(envs=2, caches=("XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR"), defaults=2),
    "sac_dist-central": Side(envs=1, warm=True, defaults=1, flags=("--learner=central",)),
    "sbx": Side("sbx", "sbx_sac.py", envs=4, defaults=6),
    "sbx-cached": Side(
        "sbx", "sbx_sac.py", envs=4, caches=("JAX_COMPILATION_CACHE_DIR",), warm=True, defaults=6
    ),
    "sb3": Side("sb3", "sb3_sac.py", threads=1, defaults=1),
    "cleanrl": Side("cleanrl", "cleanrl_sac.py", threads=1),
    "rllib": Side("rllib", "rllib_sac.py", threads=1),
    "book": Side(script="book_trainer.py", envs=2),
}


def command(
    side: Side, settings: common.Settings, python: str, steps: int, seed: int, out: Path
) -> list[str]:
    flags = {"steps": steps, "seed": seed}
    if side.script:
        flags |= {"envs": side.envs, "out": out}
        return [
            python,
            str(HERE / "peers" / side.script),
            *(f"--{name}={value}" for name, value in flags.items()),
        ]
    flags |= {
        "env": common.ENV,
        "backend": "mujoco",
        "workers": side.envs,
        "eval-interval": 0,
        "keep-interval": common.EVERY,
        "run-dir": out / "run",
        "hidden-width": settings.hidden[0],
        "hidden-depth": len(settings.hidden),
        "batch-size": common.BATCH,
        "actor-lr": settings.learning_rate,
        "critic-lr": settings.learning_rate,
        "alpha-lr": settings.learning_rate,
        "discount": common.DISCOUNT,
        "tau": common.TAU,
        "initial-alpha": common.ALPHA,
        "target-entropy": common.TARGET_ENTROPY,
        "warmup-steps": common.WARM_UP,
        "update-ratio": 1 / settings.steps_per_update,
        "buffer-size": common.BUFFER,
    }
    switch = "--layer-norm" if settings.layer_norm else "--no-layer-norm"
    return [
        python,
        "-m",
        "sac_dist",
        *("--train", "--no-tuned"),
        *(f"--{name}={value}" for name, value in flags.items()),
        switch,
        *side.flags,
    ]


def train(
    side: Side, settings: str, arguments: argparse.Namespace, steps: int, seed: int, folder: Path, cache: Path
) -> tuple[float, str]:
    """Run the side in ``folder``: when it was started, and how it ended. Snapshots are in out/, the first
    steps' files in first/.
    """
    for name in ("out", "first", "work"):
        (folder / name).mkdir()
    variables = {
        "PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE}",
        "FIRST_STEPS": str(folder / "first"),
        "CLEANRL": str(arguments.cleanrl),
        "SETTINGS": settings,
        # no pictures: sac_dist's video after a run is not part of the time, but takes as long
        "MUJOCO_GL": "disable",
        "RAY_USAGE_STATS_ENABLED": "0",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # where there is a cache
        **dict.fromkeys(side.caches, str(cache if side.warm else folder / "cache")),
        **({} if side.threads is None else {"OMP_NUM_THREADS": str(side.threads)}),
    }
    python = arguments.peers.get(side.python, sys.executable)
    line = command(side, common.SETTINGS[settings], python, steps, seed, folder / "out")
    with (folder / "log").open("w") as log:
        started = time.time()
        process = subprocess.Popen(
            line,
            cwd=folder / "work",
            env=os.environ | variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(arguments.limit)
            end = "finished" if process.returncode == 0 else f"failed with status {process.returncode}"
        except subprocess.TimeoutExpired:
            end = f"killed after {arguments.limit:.0f} s"
        finally:
            kill(process)
    if end.startswith("failed"):
        print(f"{' '.join(line)} {end}:\n{(folder / 'log').read_text()[-3000:]}", file=sys.stderr)
    return started, end


def kill(process: subprocess.Popen) -> None:
    """End the process, if it still runs, and whatever it has left of its group."""
    with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
        process.terminate()
        process.wait(PATIENCE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def policy(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The deterministic policy of a snapshot."""
    if path.suffix == ".npz":
        return peer_policy(path)
    agent = read(path).build_agent()
    return lambda observation: agent.act(observation, deterministic=True)


def result(folder: Path, started: float, env: gymnasium.Env) -> dict[str, Any]:
    """What the snapshots in ``folder`` show."""
    snapshots = sorted(
        [*folder.glob("out/step-*.npz"), *folder.glob("out/run/checkpoints/step-*.safetensors")]
    )
    if not snapshots:
        return {"passed_at_step": None, "training_s": None, "total_s": None}
    written = {path: path.stat().st_mtime for path in snapshots}
    steps = {path: int(path.stem.removeprefix("step-")) for path in snapshots}
    first, last = min(path.stat().st_mtime for path in folder.glob("first/*")), snapshots[-1]
    found: dict[str, Any] = {
        "start_up_s": round(first - started, 2),
        "steps_per_s": round(steps[last] / (written[last] - first), 1),  # over the whole run
        "success": {},  # of each snapshot played
        "passed_at_step": None,
        "training_s": None,
        "total_s": None,
    }
    for path in snapshots:
        rate = evaluate(env, policy(path), EPISODES).success_rate
        found["success"][steps[path]] = rate
        if rate is not None and rate >= PASSED:
            times = {
                "training_s": round(written[path] - first, 2),
                "total_s": round(written[path] - started, 2),
            }
            return found | {"passed_at_step": steps[path]} | times
    return found


def versions(python: str) -> dict[str, str]:
    """Of PACKAGES, as far as ``python`` has them."""
    code = "import importlib.metadata, json; print(json.dumps([[d.name, d.version] for d in importlib.metadata.distributions()]))"
    listed = json.loads(
        subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    )
    return {name: version for name, version in listed if name.replace("_", "-").lower() in PACKAGES}


def commit(repository: Path) -> str:
    line = ["git", "-C", str(repository), "rev-parse", "HEAD"]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


def pairs(values: list[str]) -> dict[str, str]:
    return dict(value.split("=", 1) for value in values)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peers",
        nargs="*",
        default=[],
        metavar="NAME=PYTHON",
        help="sb3, sbx, cleanrl, rllib: the Python that has it",
    )
    parser.add_argument("--cleanrl", type=Path, help="clone of CleanRL's repository")
    parser.add_argument("--sides", nargs="*", choices=SIDES, help="default: all whose Python is known")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=20_000, help="environment steps of each run")
    parser.add_argument(
        "--settings", nargs="*", choices=common.SETTINGS, default=list(common.SETTINGS), help="default: both"
    )
    parser.add_argument("--limit", type=float, default=600, help="seconds after which a side is killed")
    parser.add_argument(
        "--envs", nargs="*", default=[], metavar="SIDE=N", help="environments, or workers, of a side"
    )
    parser.add_argument(
        "--threads",
        nargs="*",
        default=[],
        metavar="SIDE=N",
        help="OpenMP threads of each of a side's processes",
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.peers, arguments.envs, arguments.threads = (
        pairs(arguments.peers),
        pairs(arguments.envs),
        pairs(arguments.threads),
    )
    known = [name for name, side in SIDES.items() if not side.python or side.python in arguments.peers]
    arguments.sides = arguments.sides or known
    if missing := [name for name in arguments.sides if name not in known]:
        parser.error(f"--peers has no Python for {', '.join(missing)}")
    if "cleanrl" in arguments.sides and arguments.cleanrl is None:
        parser.error("cleanrl needs --cleanrl")
    arguments.cleanrl = arguments.cleanrl and arguments.cleanrl.resolve()
    return arguments


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and so end the side that runs
    arguments = parse()
    sides = {name: SIDES[name] for name in arguments.sides}
    for name, count in arguments.envs.items():
        sides[name] = replace(sides[name], envs=int(count))
    for name, count in arguments.threads.items():
        sides[name] = replace(sides[name], threads=int(count))
    earlier = json.loads(arguments.results.read_text()) if arguments.results.exists() else {}
    results, peers = earlier.get("results", []), earlier.get("peers", {})
    peers |= {name: versions(python) for name, python in arguments.peers.items()}
    if arguments.cleanrl is not None:
        peers["cleanrl"]["commit"] = commit(arguments.cleanrl)
    env = make_env(EnvConfig("SawyerGrasp-v0", {"backend": "mujoco"}))
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        runs = [
            (settings, name, side if settings == "usual" else replace(side, envs=side.defaults))
            for settings in arguments.settings
            for name, side in sides.items()
            if settings == "usual" or side.defaults
        ]
        for settings, _, side in runs:
            if side.warm:
                with tempfile.TemporaryDirectory() as folder:
                    compiled = replace(
                        side, flags=(*side.flags, "--compile=on")
                    )  # by itself it would be only after a while
                    train(compiled, settings, arguments, common.WARM_UP + 100, 0, Path(folder), cache)
        for seed in arguments.seeds:
            for settings, name, side in runs:
                with tempfile.TemporaryDirectory() as folder:
                    started, end = train(
                        side, settings, arguments, arguments.steps, seed, Path(folder), cache
                    )
                    run = {
                        "settings": settings,
                        "side": name,
                        "seed": seed,
                        "envs": side.envs,
                        "threads": side.threads,
                        "steps": arguments.steps,
                    }
                    run |= {"limit": arguments.limit, "end": end} | result(Path(folder), started, env)
                known = (settings, name, seed)
                results = [one for one in results if (one["settings"], one["side"], one["seed"]) != known] + [
                    run
                ]
                print(json.dumps(run), flush=True)
                arguments.results.parent.mkdir(exist_ok=True)
                arguments.results.write_text(
                    json.dumps({"machine": machine(), "peers": peers, "results": results}, indent=1)
                )
                plot(results, list(SIDES), arguments.results.with_suffix(".png"))
    env.close()
    print(table(results, list(SIDES)))


if __name__ == "__main__":
    main()
