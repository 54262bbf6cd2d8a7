"""CleanRL's sac_continuous_action.py as a side of time_to_success.py; CLEANRL in the environment names a
clone of its repository.

The script is run as it is but for what its flags cannot set. EDITS of a copy in the working folder give it
the sizes of the networks, the start of the temperature and its target, and the snapshots. Its flags give the
rest; Adam's step size of the temperature is the critics'.
"""

import math
import os
import runpy
import sys
from pathlib import Path

from peers import common

SCRIPT = Path("cleanrl", "sac_continuous_action.py")
TARGET = "-torch.prod(torch.Tensor(envs.single_action_space.shape).to(device)).item()"
EDITS = (  # text of the script, what takes its place, how often it is there
    ("256", str(common.HIDDEN[0]), 10),
    ("log_alpha = torch.zeros(1,", f"log_alpha = torch.full((1,), {math.log(common.ALPHA)},", 1),
    (TARGET, str(common.TARGET_ENTROPY), 1),
    ("        obs = next_obs\n", "        obs = next_obs\n        keep(global_step + 1, actor)\n", 1),
)


def edited(text: str) -> str:
    for old, new, times in EDITS:
        if text.count(old) != times:
            raise SystemExit(
                f"this version of {SCRIPT} has {old!r} {text.count(old)} times instead of {times}"
            )
        text = text.replace(old, new)
    return text


def main() -> None:
    arguments = common.arguments(__doc__)
    repository = Path(os.environ["CLEANRL"])
    copy = Path(SCRIPT.name)
    copy.write_text(edited((repository / SCRIPT).read_text()))
    snapshots = common.Snapshots(arguments.out)

    def keep(steps, actor):
        if snapshots.due(steps):
            layers = (actor.fc1, actor.fc2, actor.fc_mean)
            snapshots.write(
                steps, [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in layers]
            )

    flags = {
        "seed": arguments.seed,
        "env-id": common.ENV,
        "total-timesteps": arguments.steps,
        "buffer-size": common.BUFFER,
        "gamma": common.DISCOUNT,
        "tau": common.TAU,
        "batch-size": common.BATCH,
        "learning-starts": common.WARM_UP,
        "policy-lr": common.LEARNING_RATE,
        "q-lr": common.LEARNING_RATE,
        "policy-frequency": 1,
    }
    sys.argv = [str(copy), *(f"--{name}={value}" for name, value in flags.items())]
    sys.path.insert(0, str(repository))
    runpy.run_path(str(copy), {"keep": keep}, "__main__")


if __name__ == "__main__":
    main()
