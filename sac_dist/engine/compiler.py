"""The process that compiles the update before the workers start: its memory and its threads end with it."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch

from sac_dist.algorithms.agent import SACAgent
from sac_dist.engine.member import NotCompiled
from sac_dist.engine.phases import Phase
from sac_dist.engine.processes import settle_child
from sac_dist.execution.choose import EXPLICIT, choose, worth_compiling
from sac_dist.execution.compiled import compile_obstacle, compile_update
from sac_dist.execution.threads import torch_threads


@dataclass(frozen=True)
class CompilerTask:
    agent: SACAgent
    phases: tuple[Phase, ...]
    threads: int  # of the updates


def not_compiled(agent: SACAgent, phases: Iterable[Phase], threads: int) -> tuple[Phase, ...]:
    """Those whose update would gain from being compiled for so many threads and is not in the cache.

    This one and the next leave the agent with the algorithm of the last phase in use.
    """

    def missing(phase: Phase) -> bool:
        agent.use(phase.algorithm)
        return worth_compiling(agent, phase.batch_size)

    with torch_threads(threads):
        return tuple(filter(missing, phases))


def quick_uncompiled(agent: SACAgent, phase: Phase) -> bool:
    """Whether the phase's update is quick without being compiled, so that a run can begin with it."""
    agent.use(phase.algorithm)
    return choose(agent, phase.batch_size).how == EXPLICIT


def compiler_main(connection: Connection, task: CompilerTask) -> None:
    """Entry point of the process: ends with the compiled updates in the cache, or after a NotCompiled."""
    settle_child()
    torch.set_num_threads(task.threads)
    try:
        obstacle = compile_obstacle()
        if obstacle is None:
            for phase in task.phases:
                task.agent.use(phase.algorithm)
                compile_update(task.agent, phase.batch_size)
    except Exception:
        obstacle = traceback.format_exc().strip().splitlines()[-1]
    if obstacle is not None:
        connection.send(NotCompiled(obstacle))
