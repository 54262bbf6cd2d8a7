"""Which way an agent's updates run. Nobody else decides it."""

from __future__ import annotations

import functools
from typing import NamedTuple

from sac_dist.algorithms.agent import SACAgent
from sac_dist.algorithms.base import Tensors, Update
from sac_dist.execution.compiled import compiled_path, load_update
from sac_dist.execution.explicit import ExplicitUpdate
from sac_dist.execution.gpu import DeviceUpdate

RECORDED, EXPLICIT, COMPILED = "recorded by autograd", "with explicit gradients", "compiled"


class Choice(NamedTuple):
    """How updates of an agent run: give ``update`` to SACAgent.use, or set it as its ``run_update``."""

    update: Update
    how: str  # one of the above, with the device where that is not the cpu
    obstacle: str | None = None  # why a compiled update that lies there could not be loaded


def choose(agent: SACAgent, batch_size: int, device: str = "cpu", compiled: bool = False) -> Choice:
    """The quickest way there is for the algorithm that ``agent`` has in use.

    On the CPU an update that was compiled for these sizes, if ``compiled`` allows it; else explicit gradients
    where they are written for the algorithm and its networks; else recorded ones. A GPU captures what it is
    given as a graph, so nothing is compiled for it.
    """
    obstacle = None
    if device == "cpu" and compiled and (path := compiled_path(agent, batch_size)).exists():
        try:
            return Choice(load_update(path), COMPILED)
        except Exception as error:
            obstacle = f"{type(error).__name__}: {error}"
    how = EXPLICIT if ExplicitUpdate.covers(agent.algorithm) else RECORDED
    if device == "cpu":
        return Choice(uncompiled(agent, agent.tensors), how, obstacle)
    return Choice(DeviceUpdate(agent, device, functools.partial(uncompiled, agent)), f"{how}, on {device}")


def uncompiled(agent: SACAgent, tensors: Tensors) -> Update:
    """The update of ``tensors``, the agent's or others like them, by what is there without a compiler."""
    covered = ExplicitUpdate.covers(agent.algorithm)
    return ExplicitUpdate(agent.algorithm, tensors) if covered else agent.algorithm  # type: ignore[arg-type]


def worth_compiling(agent: SACAgent, batch_size: int) -> bool:
    """Whether updates of the algorithm in use would gain from being compiled and are not yet."""
    return agent.algorithm.compiles and not compiled_path(agent, batch_size).exists()
