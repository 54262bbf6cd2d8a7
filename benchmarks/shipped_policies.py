"""The policies in models/ over 1,000 episodes that neither training nor the choice of the best checkpoint has
seen. With --rebuild each is trained anew, before, by the command in RECIPES, and written with its card:

    python benchmarks/shipped_policies.py
    python benchmarks/shipped_policies.py --rebuild [--out FOLDER] [--only SawyerGrasp-v0]

A policy is kept only if it is as good as RECIPES asks for; then the next seed is tried.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from sac_dist import evaluate, find_policy, make_env
from sac_dist.acting.evaluation import Evaluation
from sac_dist.reporting.model_card import Measured, model_card
from sac_dist.reporting.sharing import FIRST, published, training_seconds
from sac_dist.storage import checkpoint
from sac_dist.system.files import models_dir
from sac_dist.system.processor import machine

EPISODES = 1000
SEEDS = 5


class Recipe(NamedTuple):
    flags: str
    success: float | None = None  # the least success rate that is shipped
    mean_return: float | None = None


RECIPES = {
    "SawyerGrasp-v0": Recipe("--steps 30000 --eval-episodes 100", success=0.99),
    "SawyerLift-v0": Recipe("--steps 100000 --eval-episodes 100", success=0.99),
    "Pendulum-v1": Recipe("--steps 20000 --eval-episodes 100", mean_return=-200),
}


def measure(path: Path, episodes: int) -> Evaluation:
    _, policy = find_policy(path, "auto")
    agent, env = policy.build_agent(), make_env(policy.config.env)
    try:
        return evaluate(env, lambda observation: agent.act(observation, True), episodes, FIRST)
    finally:
        env.close()


def rebuild(name: str, recipe: Recipe, out: Path, episodes: int) -> None:
    """Train until a seed's policy is good enough. Raises SystemExit if none of SEEDS is."""
    for seed in range(SEEDS):
        with tempfile.TemporaryDirectory() as scratch:
            run = Path(scratch) / "run"
            flags = ["--env", name, *shlex.split(recipe.flags), "--seed", str(seed), "--workers", "2"]
            command = ["-m", "sac_dist", "--train", *flags]
            subprocess.run([sys.executable, *command, "--no-video", "--run-dir", str(run)], check=True)
            measured = Measured(measure(run, episodes), machine())
            print(f"{name}, seed {seed}: {measured.evaluation}", flush=True)
            if good_enough(measured.evaluation, recipe):
                policy = published(find_policy(run, "auto")[1], measured)
                checkpoint.write(out / f"{name}.safetensors", policy)
                use, seconds = f"models/{name}.safetensors", training_seconds(run)
                card = model_card(policy, measured, use, shlex.join(["python", *command]), seconds)
                (out / f"{name}.md").write_text(card, encoding="utf-8")
                return
    raise SystemExit(f"{name}: no seed of {SEEDS} gives a policy that is good enough")


def good_enough(evaluation: Evaluation, recipe: Recipe) -> bool:
    if recipe.success is not None and (evaluation.success_rate or 0.0) < recipe.success:
        return False
    return recipe.mean_return is None or evaluation.mean_return >= recipe.mean_return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rebuild", action="store_true")
    parser.add_argument("--only", choices=RECIPES, nargs="+", default=list(RECIPES))
    parser.add_argument("--out", type=Path, default=models_dir())
    parser.add_argument("--episodes", type=int, default=EPISODES)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.only:
        if given.rebuild:
            rebuild(name, RECIPES[name], given.out, given.episodes)
        print(f"{name}: {measure(given.out / f'{name}.safetensors', given.episodes)}", flush=True)


if __name__ == "__main__":
    main()
