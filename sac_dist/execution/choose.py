"""Which way an agent's updates run. Nobody else decides it."""

from __future__ import annotations

import functools
from typing import NamedTuple

from sac_dist.algorithms.agent import SACAgent
from sac_dist.algorithms.base import Algorithm, Tensors, Update
from sac_dist.execution.compiled import compiled_paths, load_update
from sac_dist.execution.explicit import ExplicitUpdate
from sac_dist.execution.gpu import DeviceUpdate

RECORDED, EXPLICIT, COMPILED = "recorded by autograd", "with explicit gradients", "compiled"


class Choice(NamedTuple):
    """How updates of an agent run: give them to SACAgent.use, or call ``install``."""

    update: Update
    how: str  # one of the above, with the device where that is not the cpu
    obstacle: str | None = None  # why a compiled update that lies there could not be loaded
    critics_update: Update | None = None  # where not each update trains the policy: the others

    def install(self, agent: SACAgent) -> None:
        agent.run_update = self.update
        if self.critics_update is not None:
            agent.run_critics_update = self.critics_update


def choose(agent: SACAgent, batch_size: int, device: str = "cpu", compiled: bool = False) -> Choice:
    """The quickest way there is for the algorithm that ``agent`` has in use.

    On the CPU an update that was compiled for these sizes, if ``compiled`` allows it; else explicit gradients
    where they are written for the algorithm and its networks; else recorded ones. A GPU captures what it is
    given as a graph, so nothing is compiled for it.
    """
    obstacle = None
    if device == "cpu" and compiled and all(path.exists() for path in compiled_paths(agent, batch_size)):
        try:
            loaded = [load_update(path) for path in compiled_paths(agent, batch_size)]
            return Choice(loaded[0], COMPILED, None, *loaded[1:])
        except Exception as error:
            obstacle = f"{type(error).__name__}: {error}"
    how = EXPLICIT if ExplicitUpdate.covers(agent.algorithm) else RECORDED
    if device == "cpu":
        updates = [uncompiled(algorithm, agent.tensors) for algorithm in agent.variants]
        return Choice(updates[0], how, obstacle, *updates[1:])
    first, *others = agent.variants
    update = DeviceUpdate(agent, device, functools.partial(uncompiled, first))
    beside = [DeviceUpdate(agent, device, functools.partial(uncompiled, each), update) for each in others]
    return Choice(update, f"{how}, on {device}", None, *beside)


def uncompiled(algorithm: Algorithm, tensors: Tensors) -> Update:
    """The update of ``tensors``, the agent's or others like them, by what is there without a compiler."""
    covered = ExplicitUpdate.covers(algorithm)
    return ExplicitUpdate(algorithm, tensors) if covered else algorithm  # type: ignore[arg-type]


def worth_compiling(agent: SACAgent, batch_size: int) -> bool:
    """Whether updates of the algorithm in use would gain from being compiled and are not yet."""
    missing = not all(path.exists() for path in compiled_paths(agent, batch_size))
    return agent.algorithm.compiles and missing
