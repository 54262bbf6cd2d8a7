"""What runs in the actors: worker, learner and evaluator as they are locally, and the exchange with the
driver beside them.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch

from sac_dist.algorithms.agent import SACAgent
from sac_dist.data.dataset import DataSet
from sac_dist.data.hindsight import Later
from sac_dist.data.transitions import Transitions
from sac_dist.engine.control import BEATS, STEPS, Control
from sac_dist.engine.evaluator import EvaluatorTask, Result, serve
from sac_dist.engine.member import Boundary, Member, Task, reported
from sac_dist.engine.ray.members import RemoteLearner, RemoteWorker, as_tensors
from sac_dist.engine.ray.replay import ChunkSender, NoBatch, Stores, StoreSampler
from sac_dist.engine.start_method import environment
from sac_dist.engine.worker import LEAD
from sac_dist.settings import Config
from sac_dist.system.shared import show_role

# s between an actor's exchanges with the driver, and so the age of what it knows of the others. Each takes
# both sides half a millisecond: with more members they are further apart, up to half of what a worker may be
# ahead of the learner at 20 ms a step.
SHORTEST, PER_MEMBER, LONGEST = 0.02, 0.01, 0.4
BATCHES_AHEAD = 8
ANSWERING = 0.001  # s between looks whether a store has answered
EVALUATOR_NICENESS = 5

Versioned = tuple[
    int, list[Any]
]  # a version, and what it is of; a list, in which Ray leaves references alone


class Instructions(NamedTuple):
    """What the driver tells an actor. None: nothing newer than it has."""

    others: npt.NDArray[np.int64]  # (8,) sums over the other members' rows
    commands: npt.NDArray[np.int64]  # (8,) the supervisor's row
    stores: list[Any] | None  # actors
    weights: Versioned | None  # for workers: reference to the policy's parameters


class Report(NamedTuple):
    """What an actor tells the driver."""

    row: npt.NDArray[np.int64]  # (8,) its own; STEPS counts what the replay has confirmed
    messages: list[Any]
    weights: Versioned | None  # the learner's newest
    status: int | None  # None: it goes on; else as a process's exit status


@dataclass(frozen=True)
class BestPolicy:
    """The file of a policy that the evaluator found to be the best so far: the folder for it is on the
    driver's machine.
    """

    data: bytes


@dataclass(frozen=True)
class ActorTask:
    name: str
    row: int  # of the counters: a member's rank, or the evaluator's
    generation: int
    config: Config
    agent: SACAgent
    counted: npt.NDArray[np.int64]  # (8,) what the row holds already
    stores: list[Any]
    data: Transitions | None = None  # the learner's
    state: dict[str, Any] | None = None
    best_score: float | None = None  # the evaluator's


class Mailbox:
    """The actor's end of the connection to the driver: what ``multiprocessing.Pipe`` is locally."""

    def __init__(self) -> None:
        self._outgoing: deque[Any] = deque()
        self._incoming: deque[Any] = deque()
        self._arrived = threading.Condition()

    def send(self, message: Any) -> None:
        self._outgoing.append(message)

    def sent(self) -> list[Any]:
        """Messages since the last call."""
        return [self._outgoing.popleft() for _ in range(len(self._outgoing))]

    def deliver(self, message: Any) -> None:
        with self._arrived:
            self._incoming.append(message)
            self._arrived.notify()

    def poll(self, timeout: float = 0.0) -> bool:
        with self._arrived:
            return self._arrived.wait_for(lambda: bool(self._incoming), timeout)

    def recv(self) -> Any:
        return self._incoming.popleft()


class Host:
    """Actor: the work goes on in ``run``, and the driver calls ``exchange`` beside it again and again."""

    def __init__(self, task: ActorTask) -> None:
        self.task = task
        self.mailbox = Mailbox()
        self.control = Control(task.config.train.members)
        self.control.put(task.row, task.counted)
        self.stores = Stores(task.stores)
        self.weights: Versioned | None = None
        self.status: int | None = None

    def run(self) -> None:
        """Ends with ``status`` set, whatever happens."""
        os.environ.update(environment())
        show_role(self.task.name)
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        try:
            with reported(cast(Any, self.mailbox)):
                self.work()
            self.status = 0
        except SystemExit:  # told already
            self.status = 1

    def work(self) -> None:
        raise NotImplementedError

    def exchange(self, instructions: Instructions) -> Report:
        """Take what is new, and a little later answer with what is new here."""
        row = self.task.row
        self.control.put(0 if row else 1, instructions.others)
        self.control.put(-1, instructions.commands)
        if instructions.stores is not None:
            self.stores.handles = instructions.stores
        if instructions.weights is not None:
            self.weights = instructions.weights
        time.sleep(min(max(SHORTEST, PER_MEMBER * self.control.members), LONGEST))
        status, messages = self.status, self.mailbox.sent()  # before the row, which so is never older
        return Report(self.counted(), messages, self.published(), status)

    def published(self) -> Versioned | None:
        """What the learner has published since the last call."""
        return None

    def counted(self) -> npt.NDArray[np.int64]:
        return self.control.row(self.task.row)


class MemberHost(Host):
    """Actor: a worker or the learner."""

    def __init__(self, task: ActorTask) -> None:
        super().__init__(task)
        self.is_worker = task.row < task.config.train.workers
        train, schema = task.config.train, task.agent.schema
        self.replay: ChunkSender | StoreSampler
        if self.is_worker:
            writer, chunk = (task.row, task.generation), task.config.cluster.chunk
            self.replay = ChunkSender(self.stores, writer, schema, chunk, self.pause, self.control.stopped)
        else:
            ahead = BATCHES_AHEAD * train.batch_size
            later = Later.of(schema, task.config.data)
            self.replay = StoreSampler(self.stores, schema, ahead, self.pause_learner, later)
        self.member: Member | None = None
        self._reported: Versioned | None = None

    def work(self) -> None:
        task = self.task
        data = None if task.data is None else DataSet(task.data, task.config.agent)
        local = Task(
            task.row,
            task.generation,
            task.config,
            task.agent,
            cast(Any, self.replay),
            data,
            self.control,
            task.state,
        )
        cluster = task.config.cluster
        self.member = (
            RemoteWorker(self, local, LEAD + 2 * cluster.chunk)
            if self.is_worker
            else RemoteLearner(self, local, cluster.weight_interval)
        )
        try:
            self.member.run()
            self.mailbox.send(Boundary(self.member.state(), final=True))
        finally:
            self.member.close()

    def pause(self) -> None:
        self.control.beat(self.task.row)
        time.sleep(ANSWERING)

    def pause_learner(self) -> None:
        self.pause()
        if self.control.paused() or self.control.stopped():
            raise NoBatch

    def counted(self) -> npt.NDArray[np.int64]:
        row = super().counted()
        if isinstance(self.replay, ChunkSender):  # DONE, if it is set, was set after all was confirmed
            row[BEATS] += row[STEPS]
            row[STEPS] = self.task.counted[STEPS] + self.replay.settled
        return row

    def published(self) -> Versioned | None:
        newest = None if self.is_worker or self.weights is self._reported else self.weights
        self._reported = newest or self._reported
        return newest

    def snapshot(self) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[Any]]] | None:
        """The learner's, or None before it is up."""
        return self.member.snapshot() if isinstance(self.member, RemoteLearner) else None


class EvaluatorMailbox(Mailbox):
    """Requests come with the networks to evaluate, and the best policy's file leaves before its result."""

    def __init__(self, agent: SACAgent, best_path: Path) -> None:
        super().__init__()
        self.agent, self.best_path = agent, best_path

    def recv(self) -> Any:
        request, state = super().recv()
        self.agent.load_state_dict(as_tensors(state))
        return request

    def send(self, message: Any) -> None:
        if isinstance(message, Result) and message.is_best:
            super().send(BestPolicy(self.best_path.read_bytes()))
        super().send(message)


class EvaluatorHost(Host):
    """Actor: the evaluator."""

    def __init__(self, task: ActorTask) -> None:
        super().__init__(task)
        self.folder = tempfile.TemporaryDirectory()
        self.mailbox: EvaluatorMailbox = EvaluatorMailbox(
            task.agent, Path(self.folder.name) / "best.safetensors"
        )

    def work(self) -> None:
        os.nice(EVALUATOR_NICENESS)
        task = self.task
        serve(
            cast(Any, self.mailbox),
            EvaluatorTask(task.config, task.agent, self.control, self.mailbox.best_path, task.best_score),
        )

    def deliver(self, request: Any, state: dict[str, npt.NDArray[Any]]) -> None:
        self.mailbox.deliver((request, state))
