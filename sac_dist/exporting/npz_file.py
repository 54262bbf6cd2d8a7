"""A policy as arrays and a description in JSON, for numpy alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from sac_dist.runner.card import Card
from sac_dist.runner.networks import DESCRIPTION
from sac_dist.runner.program import Program


def write_npz(path: Path, card: Card, program: Program) -> None:
    parts = card.parts | {"program": program.to_json()}
    arrays: dict[str, Any] = {
        f"constant{number}": np.array(array, order="C") for number, array in enumerate(program.constants)
    }
    arrays[DESCRIPTION] = np.frombuffer(json.dumps(parts).encode(), np.uint8)
    with open(path, "wb") as file:
        np.savez(file, **arrays)
