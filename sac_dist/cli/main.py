"""The command line: ``python -m sac_dist --train``, ``--offline DATA``, ``--resume RUN``, ``--test`` and the
tools around them.

Every field of the settings is a flag with its help text; a YAML file holds the same names.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from sac_dist.cli.flags import MODES, spelled
from sac_dist.cli.given import parse
from sac_dist.cli.terminal import warn
from sac_dist.settings import ConfigError
from sac_dist.system.signals import exit_on_signals

# Each command's module is loaded when it is asked for.
COMMANDS = {
    "train": ("train", "run_train"),
    "offline": ("train", "run_offline"),
    "resume": ("resume", "run_resume"),
    "test": ("test", "run_test"),
    "record_demos": ("demonstrations", "run_record"),
    "multiply_demos": ("demonstrations", "run_multiply"),
    "edit_demos": ("demonstrations", "run_edit"),
    "convert": ("demonstrations", "run_convert"),
    "inspect": ("demonstrations", "run_inspect"),
    "export": ("export", "run_export"),
    "export_book": ("export", "run_export_book"),
    "push_to_hub": ("push", "run_push"),
    "doctor": ("doctor", "run_doctor"),
    "check_robot": ("check_robot", "run_check_robot"),
    "optimize": ("optimize", "run_optimize"),
}

# but for that of a robot's own computer: docs/deploy.md
PARTS_OF_EVERY_INSTALLATION = ("torch", "gymnasium", "mujoco", "safetensors", "matplotlib", "tqdm", "imageio")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 when training failed, 2 for a mistake of the caller,
    128 + signal.
    """
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())  # as python -m does: module:Id-v0 of the present folder
    try:
        with exit_on_signals():
            return run(parse(sys.argv[1:] if arguments is None else arguments))
    except ConfigError as error:
        warn(f"sac-dist: {' '.join(str(error).split())}")
        return 2
    except ModuleNotFoundError as error:
        if error.name not in PARTS_OF_EVERY_INSTALLATION:
            raise
        warn(f"sac-dist: {error.name} is not installed: without it only sac_dist.runner works")
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def run(given: dict[str, Any]) -> int:
    modes = [mode for mode in MODES if given.get(mode, False) is not False]
    if len(modes) != 1:
        raise ConfigError(
            f"give exactly one of {' or '.join(map(spelled, MODES))}; got "
            f"{' and '.join(map(spelled, modes)) or 'none'}"
        )
    settings = {name: value for name, value in given.items() if name not in MODES}
    module, function = COMMANDS[modes[0]]
    command = getattr(importlib.import_module(f"sac_dist.cli.{module}"), function)
    return int(command(settings, given[modes[0]]))
