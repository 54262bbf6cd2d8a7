"""Whether a policy does outside the trainer what it does inside: success of both over the same number of unseen
episodes, from each file that --export writes and the runner plays.

    python benchmarks/exported.py [POLICY.safetensors or run folder …]

Without arguments those of models/. Prints the table of docs/deploy.md.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

EPISODES = 200


def said(*command: str) -> str:
    """The last line: success with its 95 % interval, return."""
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=1800)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr or done.stdout}")
    return ", ".join(done.stdout.strip().splitlines()[-1].split(", ")[:2])


def main() -> None:
    models = [Path(name) for name in sys.argv[1:]] or sorted(Path("models").glob("*.safetensors"))
    print("| policy | | success and return |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            name, count = str(model), str(EPISODES)
            trainer = said("sac_dist", "--test", "--no-render", "--model", name, "--episodes", count)
            print(f"| {model.stem} | the trainer's | {trainer} |", flush=True)
            for suffix in ("npz", "onnx"):
                path = str(Path(folder) / f"{model.stem}.{suffix}")
                said("sac_dist", "--export", path, "--model", name)
                print(f"| | .{suffix} | {said('sac_dist.runner', path, '--episodes', count)} |", flush=True)


if __name__ == "__main__":
    main()
