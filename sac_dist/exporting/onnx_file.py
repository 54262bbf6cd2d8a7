"""A policy as a model of ONNX: inputs are the environment's own fields and, if one likes, noise."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from sac_dist.runner.card import Card, Field
from sac_dist.runner.networks import CHECKSUM, DESCRIPTION, NO_CHECKSUM, one_hot
from sac_dist.runner.program import NOISE, OBSERVATION, Program
from sac_dist.settings import ConfigError

OPSET, IR_VERSION = 18, 9  # onnxruntime 1.15 and later
NODES = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "matmul": "MatMul",
    "minimum": "Min",
    "maximum": "Max",
    "relu": "Relu",
    "exp": "Exp",
    "tanh": "Tanh",
}


def write_onnx(path: Path, card: Card, program: Program) -> None:
    """Raises ConfigError where onnx, or onnxruntime for the check, is not installed."""
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"--export FILE.onnx: pip install onnx onnxruntime ({error})") from None
    graph = Graph(onnx, card, program)
    model = onnx.helper.make_model(
        graph.made(), opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    model.producer_name, model.producer_version = "sac_dist", card.parts["sac_dist"]
    onnx.helper.set_model_props(model, {DESCRIPTION: json.dumps(card.parts), CHECKSUM: NO_CHECKSUM})
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    path.write_bytes(data.replace(NO_CHECKSUM.encode(), sha256(data).hexdigest().encode()))


class Graph:
    """The nodes, made one after the other."""

    def __init__(self, onnx: Any, card: Card, program: Program) -> None:
        self.onnx, self.card, self.program = onnx, card, program
        self.nodes: list[Any] = []
        self.arrays: dict[str, np.ndarray] = {"noise": np.zeros(card.noise_size, np.float32)}

    def made(self) -> Any:
        helper, program = self.onnx.helper, self.program
        names = {OBSERVATION: self.flattened(), NOISE: "noise"}
        for number, array in enumerate(program.constants, start=2):
            names[number] = self.constant(f"constant{number}", array)
        first, last = 2 + len(program.constants), 1 + len(program.constants) + len(program.steps)
        for number, step in enumerate(program.steps, start=first):
            inputs = [names[value] for value in step.inputs]
            names[number] = self.step(step.operation, inputs, step.settings, f"step{number}")
        self.node("Identity", [names[last]], "action")
        action = self.card.action
        inputs = [self.described(field.name, field.dtype, field.shape) for field in self.card.fields]
        noise = self.described("noise", np.dtype(np.float32), (self.card.noise_size,))
        output = self.described("action", action.dtype, action.shape)
        initial = [self.onnx.numpy_helper.from_array(array, name) for name, array in self.arrays.items()]
        return helper.make_graph(self.nodes, "policy", [*inputs, noise], [output], initial)

    def described(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
        helper = self.onnx.helper
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)

    def constant(self, name: str, array: np.ndarray) -> str:
        self.arrays[name] = np.ascontiguousarray(array).reshape(array.shape)
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def step(self, operation: str, inputs: list[str], settings: tuple[Any, ...], name: str) -> str:
        if operation in NODES:
            return self.node(NODES[operation], inputs, name)
        if operation == "rsqrt":
            return self.node("Reciprocal", [self.node("Sqrt", inputs, f"{name}.root")], name)
        if operation in ("mean", "mean_square"):
            if operation == "mean_square":
                inputs = [self.node("Mul", inputs * 2, f"{name}.square")]
            axes = self.constant(f"{name}.axes", np.array([-1]))
            return self.node("ReduceMean", [*inputs, axes], name, keepdims=1)
        if operation == "slice":
            ends = [self.constant(f"{name}.{k}", np.array([end])) for k, end in enumerate(settings)]
            return self.node("Slice", [*inputs, *ends], name)
        if operation == "cast":
            dtype = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(settings[0]))
            return self.node("Cast", inputs, name, to=dtype)
        if operation == "transpose":
            return self.node("Transpose", inputs, name, perm=list(settings))
        if operation == "concatenate":
            return self.node("Concat", inputs, name, axis=0)
        if operation == "convolve":
            return self.node("Conv", inputs, name, strides=[settings[0]] * 2)
        assert operation == "reshape", operation
        shape = self.constant(f"{name}.shape", np.array(settings, np.int64))
        return self.node("Reshape", [*inputs, shape], name)

    def flattened(self) -> str:
        parts = [self.flat(field, f"field{number}") for number, field in enumerate(self.card.fields)]
        return parts[0] if len(parts) == 1 else self.node("Concat", parts, "observation.vector", axis=0)

    def flat(self, field: Field, name: str) -> str:
        row = self.constant(f"{name}.shape", np.array([-1]))
        vector = self.node("Reshape", [field.name, row], f"{name}.row")
        if field.choices is not None:
            owner, value = (
                self.constant(f"{name}.{part}", array)
                for part, array in zip(("owner", "value"), one_hot(field.choices), strict=True)
            )
            vector = self.node("Gather", [vector, owner], f"{name}.each")
            vector = self.node("Equal", [vector, value], f"{name}.equal")
        return self.node("Cast", [vector], f"{name}.vector", to=self.onnx.TensorProto.FLOAT)
