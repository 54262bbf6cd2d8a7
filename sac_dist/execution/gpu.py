"""An agent's update on another device: a GPU, for a learner that nobody else trains beside."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch import Tensor

from sac_dist.algorithms.agent import SACAgent
from sac_dist.algorithms.base import Metrics, Tensors, Update, tensors_in
from sac_dist.data.batch import Batch

WARM_UP = 3  # updates before the one that is captured: libraries take their memory in the first ones


def lock_pages(agent: SACAgent) -> None:
    """Lock the agent's memory into place while the agent lives: a GPU's copies there take a fourth of the
    time. RuntimeError if it cannot.

    Memory that is given back while it counts as locked would go on being written to, wherever the system has
    put it since.
    """
    memory = agent.memory
    if code := int(torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), memory.nbytes, 0)):
        raise RuntimeError(
            f"CUDA cannot lock the agent's {memory.nbytes:,} bytes into memory: its error {code}"
        )
    weakref.finalize(agent, unlock_pages, memory).atexit = False


def unlock_pages(memory: Tensor) -> None:
    torch.cuda.cudart().cudaHostUnregister(memory.data_ptr())


class Parcel:
    """Tensors of one type, which go to ``device`` in one copy; ``views`` are theirs there."""

    def __init__(self, tensors: list[Tensor], device: torch.device) -> None:
        self.shapes = [tensor.shape for tensor in tensors]
        sizes = [shape.numel() for shape in self.shapes]
        self.given = torch.empty(sum(sizes), dtype=tensors[0].dtype, pin_memory=device.type == "cuda")
        self.there = self.given.to(device)
        pieces = self.there.split(sizes)
        self.views = [piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]

    def send(self, tensors: list[Tensor]) -> None:
        torch.cat([tensor.reshape(-1) for tensor in tensors], out=self.given)
        self.there.copy_(self.given, non_blocking=True)


class DeviceUpdate:
    """An update on a copy of ``agent``'s memory on ``device``; ``make`` gives it for the copy's tensors.

    After each update the agent's own memory holds what the copy holds, so whoever acts, evaluates or saves
    reads that. On a GPU an update after the first ones is the replay of a CUDA graph: at these sizes starting
    its kernels one by one takes longer than they do.
    """

    def __init__(
        self,
        agent: SACAgent,
        device: str,
        make: Callable[[Tensors], Update],
        beside: DeviceUpdate | None = None,
    ) -> None:
        """``beside``: another one, with which it trains the same copy in turn."""
        self.agent, self.device = agent, torch.device(device)
        self.memory: Tensor = agent.memory.to(self.device, copy=True) if beside is None else beside.memory
        self.tensors = tensors_in(self.memory, agent.groups)
        self.update = make(self.tensors)
        own = torch.cuda.Stream() if self.device.type == "cuda" and beside is None else None
        self.stream: torch.cuda.Stream | None = own if beside is None else beside.stream
        if self.stream is not None and not agent.memory.is_pinned():
            lock_pages(agent)
        self.parcels: dict[torch.dtype, Parcel] = {}
        self.names: list[str] = []

    def _prepare(self, batch: Batch, given: dict[torch.dtype, list[Tensor]]) -> None:
        """Memory for inputs of these shapes, of the fields that ``batch`` has, and the update on it."""
        self.calls = 0
        self.parcels = {kind: Parcel(tensors, self.device) for kind, tensors in given.items()}
        views = {kind: iter(parcel.views) for kind, parcel in self.parcels.items()}
        fields = (None if field is None else next(views[field.dtype]) for field in batch)
        batch = Batch(*fields)  # type: ignore[arg-type]
        noise, lrs, steps = views[torch.float32]

        def run() -> Tensor:
            self.tensors.steps.copy_(steps)
            metrics = self.update(self.tensors, batch, noise, lrs)
            self.names = list(metrics)
            return torch.stack(list(metrics.values()))

        self.run: Callable[[], Tensor] = run

    def __call__(self, tensors: Tensors, batch: Batch, noise: Tensor, lrs: Tensor) -> Metrics:
        """``tensors``, the agent's own, bring the counts of Adam's steps, and are overwritten."""
        given: dict[torch.dtype, list[Tensor]] = {}
        for tensor in (*batch, noise, lrs, tensors.steps):
            if tensor is not None:
                given.setdefault(tensor.dtype, []).append(tensor)
        if {kind: [tensor.shape for tensor in of_kind] for kind, of_kind in given.items()} != {
            kind: parcel.shapes for kind, parcel in self.parcels.items()
        }:
            self._prepare(batch, given)
        with torch.cuda.stream(self.stream):
            for kind, parcel in self.parcels.items():
                parcel.send(given[kind])
            values = self.run() if self.stream is None else self._replay(self.stream)
            self.agent.memory.copy_(self.memory, non_blocking=True)
            values = values.cpu()
        return dict(zip(self.names, values.unbind(), strict=True))

    def _replay(self, stream: torch.cuda.Stream) -> Tensor:
        self.calls += 1
        if self.calls <= WARM_UP:
            return self.run()
        if self.calls == WARM_UP + 1:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, stream=stream):
                self.values = self.run()
        self.graph.replay()
        return self.values
