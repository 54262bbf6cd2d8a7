"""What people are worth to a training: a scripted one steers by the page's keys, late and inexactly (tests/person.py).

    python benchmarks/people.py                              all experiments
    python benchmarks/people.py lift_alone lift_shown        some
    python benchmarks/people.py sparse_corrected --seeds 0

lift_alone, lift_shown: the lift with its usual reward, without and with twenty demonstrations by the person, recorded
through the page. sparse_alone, sparse_corrected: the lift with the sparse reward; in every second episode of a
worker the person takes over after 1 s, for the first 100 of these. sparse_ten, sparse_hundred: the same with
ten demonstrations by the person, and with those multiplied to 100.

An update to each step; half of each batch from the demonstrations; γ is 0.98 where the reward is sparse and
episodes may last 120 steps. Evaluates 50 unseen episodes every 1,000 steps; writes runs in runs/people/ over earlier ones, and all figures to
benchmarks/results/people.json.
"""

import argparse
import json
import multiprocessing
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import gymnasium
from machine import machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from person import AtThePage, Person, words

import envs  # noqa: F401
from envs.tasks.steering import Steering
from sac_dist import AgentConfig, Config, DataConfig, EnvConfig, TrainConfig, train
from sac_dist.acting.by_hand import record_by_hand
from sac_dist.acting.hand import Hand
from sac_dist.acting.multiplying import multiply
from sac_dist.acting.reels import Reels
from sac_dist.cli.watch import open_page
from sac_dist.engine.watching import find_address
from sac_dist.formats import files
from sac_dist.reporting.metrics import read_metrics
from sac_dist.reporting.watch.keys import Grip, Input
from sac_dist.reporting.watch.page import Subject

RESULTS = Path(__file__).parent / "results" / "people.json"
RUNS = Path("runs/people")
QUICKER = 8.0  # times the real robot's speed, while the person records
EVERY, AFTER, FIRST = 2, 20, 100  # episodes between those attended, steps until a takeover, episodes attended
LIFT = EnvConfig("SawyerLift-v0", {"backend": "mujoco"})
SPARSE = {"backend": "mujoco", "reward": "sparse", "horizon": 120}


class CorrectedLift(gymnasium.Wrapper):
    """The sparse lift beside which a person sits, who says what they do as gym-hil's environments say it."""

    def __init__(self) -> None:
        super().__init__(gymnasium.make("SawyerLift-v0", **SPARSE))
        process = multiprocessing.current_process().name
        self.here = process.startswith("worker")  # nobody helps in evaluations
        self.person, self.steering = Person(len(process) + int(process[-1:].isdigit() and process[-1])), None
        self.episodes = self.attended = 0

    def reset(self, **options: Any) -> Any:
        first = self.env.reset(**options)
        self.steering = Steering(self.env)
        self.attends = self.here and self.episodes % EVERY == 0 and self.attended < FIRST
        self.attended += self.attends
        self.episodes += 1
        self.steps, self.grip = 0, Grip()
        self.person.begin()
        return first

    def step(self, action: Any) -> Any:
        self.steps += 1
        acts = self.attends and self.steps > AFTER
        if self.attends:
            keys = self.person.keys(words(self.steering.seen(), self.grip.opening))
            if acts:
                pressed = Input(frozenset(keys))
                self.grip.take(pressed)
                action = self.steering.action(pressed.motion(), self.grip.opening)
        *others, info = self.env.step(action)
        return *others, {**info, "is_intervention": acts, "teleop_action": action}


def shown(env: EnvConfig, name: str, count: int, seed: int = 0) -> Path:
    """The file of ``count`` demonstrations by the person at the page."""
    path = RUNS / f"{name}-{count}.npz"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    hand, reels, kept = Hand(), Reels(1), []
    address, _ = find_address("127.0.0.1", 18900)
    open_page(Subject(env, reels, ("you",), hand=hand), address)
    recording = threading.Thread(
        target=record_by_hand,
        args=(env, hand, reels, count, kept.append),
        kwargs={"quicker": QUICKER, "seed": seed},
        daemon=True,
    )
    recording.start()
    person = AtThePage(address.url, Person(seed))
    person.start()
    recording.join()
    person.leave()
    files.write(kept[-1], path)
    print(f"{path}: {len(kept[-1].starts)} episodes, {len(kept[-1])} transitions", flush=True)
    return path


def multiplied(env: EnvConfig, ten: Path, to: int) -> Path:
    path = ten.with_name(f"{ten.stem}-to-{to}.npz")
    if not path.exists():
        files.write(multiply(files.read(ten), str(ten), env, to, note=print), path)
    return path


def config(name: str, seed: int, steps: int, folder: Path) -> Config:
    sparse = EnvConfig("SawyerLift-v0", SPARSE)
    env, demos = sparse, ()
    if name.startswith("lift"):
        env, demos = LIFT, (shown(LIFT, "lift", 20),) if name == "lift_shown" else ()
    elif name == "sparse_corrected":
        env = EnvConfig(CorrectedLift)
    elif name == "sparse_ten":
        demos = (shown(sparse, "sparse", 10),)
    elif name == "sparse_hundred":
        demos = (multiplied(sparse, shown(sparse, "sparse", 10), 100),)
    settings = TrainConfig(
        workers=2,
        seed=seed,
        steps=steps,
        eval_interval=1000,
        eval_episodes=50,
        update_ratio=1.0,
        video=False,
        interventions=name == "sparse_corrected",
        run_dir=str(folder),
    )
    agent = AgentConfig(discount=0.95 if name.startswith("lift") else 0.98)
    return Config(env, agent, settings, DataConfig(demos=tuple(map(str, demos))))


EXPERIMENTS = {
    "lift_alone": 20_000,
    "lift_shown": 20_000,
    "sparse_alone": 40_000,
    "sparse_corrected": 40_000,
    "sparse_ten": 40_000,
    "sparse_hundred": 40_000,
}


def run(name: str, seed: int, steps: int) -> dict[str, Any]:
    """One run; its evaluations as [step, success, return]."""
    folder = RUNS / f"{name}-seed{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    outcome = train(config(name, seed, steps, folder), quiet=True).outcome
    rows = read_metrics(folder / "metrics.csv")
    columns = ("eval_step", "eval_success", "eval_return")
    evaluations = [[float(row[column]) for column in columns] for row in rows if row["eval_step"]]
    passed = [int(step) for step, success, _ in evaluations if success >= 0.95]
    theirs = folder / "interventions.npz"
    return {
        "experiment": name,
        "seed": seed,
        "seconds": round(outcome.seconds, 1),
        "first_95_percent": passed[0] if passed else None,
        "final": evaluations[-1][1],
        "best": max(success for _, success, _ in evaluations),
        "steps_by_person": len(files.read(theirs)) if theirs.exists() else 0,
        "evaluations": evaluations,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", choices=[*EXPERIMENTS, []], help="default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="default: 20,000 for lift_…, 40,000 for sparse_…")
    arguments = parser.parse_args()
    runs = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    for name in arguments.experiments or list(EXPERIMENTS):
        for seed in arguments.seeds:
            result = run(name, seed, arguments.steps or EXPERIMENTS[name])
            runs = [each for each in runs if (each["experiment"], each["seed"]) != (name, seed)] + [result]
            success = " ".join(f"{evaluation[1]:.0%}" for evaluation in result["evaluations"])
            words_of = f"{result['seconds']:.0f} s, {result['steps_by_person']} steps by the person"
            print(f"{name:16} seed {seed}: {success}; {words_of}", flush=True)
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps({"machine": machine(), "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
