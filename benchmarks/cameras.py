"""Learning to grasp from a camera: beside other trainers, and how far this one gets.

    python benchmarks/cameras.py peers --python PEERS/bin/python [--only ours sb3 drqv2]
    python benchmarks/cameras.py reach [--only wrist randomised] [--seeds 0 1 2]

``peers`` runs the sides one after the other on Grasp-v0 with the wrist's camera at 64 x 64 and what the arm
knows of itself, nothing privileged, no demonstrations, until an evaluation of 50 unseen episodes, after each
2,500 steps, succeeds at --target, or for --budget seconds of training. Ours is python -m sac_dist with the
preset pixels and two workers, which evaluates beside its training; what an evaluation takes is no part of
the peers' seconds. Ours confirms a rate with 100 episodes before it counts. Peers have two threads, and what
peers/sb3_cameras.py, peers/drqv2.py and peers/camera_task.py say.

``reach`` trains each of PARTS with each seed. Finished runs stay in --runs and are not trained again.
Policies of the parts in HELD_OUT play 200 more episodes, which no evaluation of theirs had: 100 in the looks
that randomised policies train in, drawn anew, and 100 in colours beyond.

Both add to benchmarks/results/cameras.json after each run.
"""

import argparse
import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from machine import machine
from time_to_success import kill, versions

from sac_dist import EnvConfig, ReplayBuffer, Schema, evaluate, find_policy, make_env
from sac_dist.reporting.sharing import FIRST

HERE = Path(__file__).resolve().parent
SIDES = {"ours": "", "sb3": "sb3_cameras.py", "drqv2": "drqv2.py"}
GRASP = ("--env", "Grasp-v0", "--observation", "camera+state")
TRAIN = ("-m", "sac_dist", "--train", "--preset", "pixels", "--workers", "2", "--no-video")
COLOURS = {"camera": [-0.02, 0.02], "light": [0.6, 1.3], "texture": [0.0, 0.5], "colour": [0.0, 0.3]}
BEYOND = COLOURS | {"colour": [0.3, 0.4]}
SETTINGS = "batch_size", "discount", "n_step", "update_ratio", "actor_lr", "critic_lr", "encoder_channels"
PARTS = {  # flags, and the success rate that ends the run
    "wrist": (GRASP, 0.95),
    "privileged": ((*GRASP, "--privileged"), 0.95),
    "scene": ((*GRASP, "--cameras", "scene", "--camera-size", "84", "--privileged"), 0.95),
    "randomised": ((*GRASP, "--randomize", "../colours.yaml", "--privileged"), 0.95),
    "lift": (("--env", "Lift-v0", "--observation", "camera+state", "--privileged"), 0.9),
}
HELD_OUT = "wrist", "privileged", "randomised"


def run(line: list[str], folder: Path) -> None:
    """Raises SystemExit, with the end of what it said, if it fails."""
    environment = os.environ | {"PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE}"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            line, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait()
        finally:
            kill(process)
    if status:
        sys.exit(f"{shlex.join(line)} failed:\n{(folder / 'log').read_text()[-3000:]}")


def trained(flags: tuple[str, ...], seed: int, seconds: float, target: float, every: int) -> list[str]:
    budget = [f"--seed={seed}", f"--time={seconds}", f"--success-target={target}", f"--eval-interval={every}"]
    return [sys.executable, *TRAIN, *flags, *budget, "--run-dir=run"]


def learnt(folder: Path) -> dict[str, Any]:
    """What the files of one of our runs say."""
    with (folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["eval_success"]]
    seen = [[int(row["eval_step"]), float(row["wall_time_s"]), float(row["eval_success"])] for row in rows]
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    rate = round(int(rows[-1]["step"]) / seen[-1][1], 1)
    return {"evaluations": seen, "steps_per_s": rate, "settings": {name: settings[name] for name in SETTINGS}}


def our_replay() -> float:
    """MiB of 100,000 transitions."""
    env = make_env(EnvConfig("Grasp-v0", {"observation": "camera+state"}))
    schema = Schema.from_spaces(env.unwrapped.observation_space, env.action_space)
    env.close()
    return round(ReplayBuffer(100_000, schema, 2).nbytes / 2**20, 1)


def side(name: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if name == "ours":
            line = [*trained(GRASP, seed, given.budget, given.target, given.every), "--eval-episodes=50"]
            run(line, folder)
            found = learnt(folder / "run") | {"replay_mib": {"default": our_replay()}}
        else:
            flags = {"seed": seed, "budget": given.budget, "target": given.target, "every": given.every}
            line = [given.python, str(HERE / "peers" / SIDES[name]), "--out=found.json"]
            line += [f"--{flag}={value}" for flag, value in flags.items()]
            run(line, folder)
            found = json.loads((folder / "found.json").read_text())
            steps, seconds, _ = found["evaluations"][-1]
            found["steps_per_s"] = round(steps / seconds, 1)
    reached = [each for each in found["evaluations"] if each[2] >= given.target]
    return {
        "side": name,
        "seed": seed,
        "reached": reached[0] if reached else None,
        **found,
        "command": told(line),
    }


def peers(given: argparse.Namespace) -> None:
    row("side", "seed", "steps to the target", "seconds", "steps/s", "last success", "MiB for 100,000")
    row(*["---"] * 7)
    for seed in given.seeds:
        for name in given.only:
            one = side(name, seed, given)
            steps, seconds = one["reached"][:2] if one["reached"] else ("not within", f"{given.budget:.0f}")
            replay = "; ".join(f"{kind}: {size}" for kind, size in one["replay_mib"].items())
            row(name, seed, steps, seconds, one["steps_per_s"], one["evaluations"][-1][2], replay)
            keep(given, one | {"versions": versions(given.python)}, "side")


def held_out(folder: Path, looks: dict[str, list[float]]) -> float | None:
    """Success of the run's policy in episodes and looks that are new to it."""
    policy = find_policy(folder, "auto")[1]
    env = make_env(EnvConfig(kwargs={"randomize": looks}).over(policy.config.env))
    agent = policy.build_agent()
    try:
        return evaluate(env, lambda seen: agent.act(seen, deterministic=True), 100, FIRST).success_rate
    finally:
        env.close()


def reach(given: argparse.Namespace) -> None:
    row("part", "seed", "unseen episodes", "steps", "seconds", "new looks", "colours beyond")
    row(*["---"] * 7)
    for name in given.only:
        for seed in given.seeds:
            (flags, target), folder = PARTS[name], given.runs / f"{name}-seed{seed}"
            line = trained(flags, seed, given.time, target, given.every)
            if not folder.exists():
                unfinished = folder.with_suffix(".unfinished")
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir(parents=True)
                (unfinished.parent / "colours.yaml").write_text(yaml.safe_dump(COLOURS))
                run(line, unfinished)
                unfinished.rename(folder)
            one = {"part": name, "seed": seed, "target": target, **learnt(folder / "run")}
            shown = ["", ""]
            if name in HELD_OUT:
                one["held_out"] = shown = [held_out(folder / "run", looks) for looks in (COLOURS, BEYOND)]
            steps, seconds, success = one["evaluations"][-1]
            row(name, seed, success, steps, f"{seconds:.0f}", *shown)
            keep(given, one | {"command": told(line)}, "part")


def told(line: list[str]) -> str:
    """A command as it is typed in the repository."""
    return shlex.join(["python", *line[1:]]).replace(f"{HERE.parent}/", "")


def row(*cells: Any) -> None:
    """Of a Markdown table."""
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def keep(given: argparse.Namespace, one: dict[str, Any], name: str) -> None:
    """In place of that of the same name and seed."""
    results = json.loads(given.results.read_text()) if given.results.exists() else {}
    key = one[name], one["seed"]
    others = [each for each in results.get(given.kind, []) if (each[name], each["seed"]) != key]
    results |= {"machine": machine(), given.kind: [*others, one]}
    given.results.write_text(json.dumps(results, indent=1))


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and so end the run
    parser = argparse.ArgumentParser(description="See the top of this file.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    beside, alone = kinds.add_parser("peers"), kinds.add_parser("reach")
    for one, names, seeds in ((beside, SIDES, [0]), (alone, PARTS, [0, 1, 2])):
        one.add_argument("--only", nargs="+", choices=names, default=list(names))
        one.add_argument("--seeds", type=int, nargs="+", default=seeds)
        one.add_argument("--results", type=Path, default=HERE / "results" / "cameras.json")
        one.add_argument("--every", type=int, default=2500, help="environment steps between evaluations")
    beside.add_argument("--python", type=os.path.abspath, required=True, help="of peers/README.md's sb3")
    beside.add_argument("--target", type=float, default=0.8, help="success rate")
    beside.add_argument("--budget", type=float, default=1800, help="seconds of training")
    alone.add_argument("--time", type=float, default=1800, help="seconds of each run at most")
    alone.add_argument("--runs", type=Path, default=Path("runs/cameras"))
    given = parser.parse_args()
    (peers if given.kind == "peers" else reach)(given)


if __name__ == "__main__":
    main()
