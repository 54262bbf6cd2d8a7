"""A policy as a torch.export program.

    policy = torch.export.load("policy.pt2").module()
    action = policy({"state": torch.zeros(31)}, torch.zeros(7))

The second argument is noise: zeros for the mean. ``torch.export.load(file, extra_files=names)`` with
``names = {"policy.json": ""}`` reads the description into it.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sac_dist.runner.card import Card
from sac_dist.runner.networks import Network, one_hot
from sac_dist.runner.program import Program, Step

FUNCTIONS: dict[str, Any] = {
    "add": torch.add,
    "subtract": torch.subtract,
    "multiply": torch.multiply,
    "divide": torch.divide,
    "matmul": torch.matmul,
    "minimum": torch.minimum,
    "maximum": torch.maximum,
    "relu": torch.relu,
    "exp": torch.exp,
    "tanh": torch.tanh,
    "rsqrt": torch.rsqrt,
    "concatenate": lambda *parts: torch.cat(parts),
    "mean": lambda x: x.mean(dim=-1, keepdim=True),
    "mean_square": lambda x: x.square().mean(dim=-1, keepdim=True),
}
DESCRIPTION_FILE = "policy.json"


class TorchPolicy(torch.nn.Module):
    """Fields and noise (action_size,) → action."""

    def __init__(self, card: Card, program: Program) -> None:
        super().__init__()
        self.fields, self.steps = card.fields, program.steps
        self.constants = len(program.constants)
        for number, array in enumerate(program.constants):
            self.register_buffer(f"constant{number}", torch.from_numpy(np.array(array)))
        for number, field in enumerate(card.fields):
            if field.choices is not None:
                for part, indices in zip(("owner", "value"), one_hot(field.choices), strict=True):
                    self.register_buffer(f"{part}{number}", torch.from_numpy(indices))

    def forward(self, observation: dict[str, Tensor], noise: Tensor) -> Tensor:
        parts = [self.flat(number, observation[field.name]) for number, field in enumerate(self.fields)]
        vector = parts[0] if len(parts) == 1 else torch.cat(parts)
        values = [vector, noise, *(getattr(self, f"constant{number}") for number in range(self.constants))]
        for step in self.steps:
            values.append(computed(step, [values[number] for number in step.inputs]))
        return values[-1]

    def flat(self, number: int, value: Tensor) -> Tensor:
        row = value.reshape(-1)
        if self.fields[number].choices is not None:
            row = row[getattr(self, f"owner{number}")] == getattr(self, f"value{number}")
        return row.to(torch.float32)


def computed(step: Step, inputs: list[Tensor]) -> Tensor:
    if step.operation == "slice":
        return inputs[0][step.settings[0] : step.settings[1]]
    if step.operation == "cast":
        return inputs[0].to(getattr(torch, step.settings[0]))
    if step.operation == "reshape":
        return inputs[0].reshape(step.settings)
    if step.operation == "transpose":
        return inputs[0].permute(step.settings)
    if step.operation == "convolve":
        return torch.conv2d(inputs[0], inputs[1], None, step.settings[0])
    result: Tensor = FUNCTIONS[step.operation](*inputs)
    return result


def write_pt2(path: Path, card: Card, program: Program) -> None:
    example = {field.name: torch.from_numpy(np.zeros(field.shape, field.dtype)) for field in card.fields}
    module = TorchPolicy(card, program)
    exported = torch.export.export(module, (example, torch.zeros(card.noise_size)), strict=False)
    buffer = io.BytesIO()  # a full disk ends the process where torch writes to it
    torch.export.save(exported, buffer, extra_files={DESCRIPTION_FILE: json.dumps(card.parts)})
    path.write_bytes(buffer.getvalue())


def read_pt2(path: Path, card: Card) -> Network:
    """The file's policy, as the runner has its networks."""
    module = torch.export.load(path).module()

    def network(fields: dict[str, np.ndarray], noise: np.ndarray | None) -> np.ndarray:
        given = np.zeros(card.noise_size, np.float32) if noise is None else noise
        named = {name: torch.from_numpy(array) for name, array in fields.items()}
        action: np.ndarray = module(named, torch.from_numpy(given)).numpy()
        return action

    return network
