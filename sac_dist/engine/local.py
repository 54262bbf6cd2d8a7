"""The engine of one machine: processes that train the same shared memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any

import torch

from sac_dist.book.replay_manager import publish, serve, socket_address
from sac_dist.data.dataset import DataSet
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.segment import ReplaySegment
from sac_dist.data.transitions import Transitions
from sac_dist.engine.evaluator import EvaluatorTask, evaluator_main
from sac_dist.engine.learner import Learner
from sac_dist.engine.member import Task
from sac_dist.engine.parts import Engine, EngineInputs, Part, StateOfStart
from sac_dist.engine.processes import Child, settle_child
from sac_dist.engine.start_method import context_on, start_context
from sac_dist.engine.worker import Worker

CORRECTIONS = 100_000  # steps of people that are kept as data: 83 minutes of one arm


def replay_manager_main(_: connection.Connection, buffer: ReplayBuffer, address: str, key: bytes) -> None:
    """Entry point of the process."""
    settle_child()
    serve(buffer, address, key)


class LocalEngine(Engine):
    """Moves ``agent`` into shared memory once a member is made."""

    published: Path | None = None  # where the manager's address lies

    def __init__(self, inputs: EngineInputs) -> None:
        super().__init__(inputs)
        train, self.reels, self.hand = self.config.train, inputs.reels, inputs.hand
        self.context = start_context(with_compiler=train.compiles)
        self._replay = ReplayBuffer(train.buffer_size, self.agent.schema, train.workers).for_shard(None)
        self.shards = [self._replay.for_shard(rank) for rank in range(train.workers)]
        if train.interventions:
            capacity = max(min(CORRECTIONS, train.buffer_size), train.workers)
            corrections = ReplayBuffer(capacity, self.agent.schema, train.workers)
            self.corrections = corrections.for_shard(None)
        self.data = None if inputs.data is None else DataSet(inputs.data, self.config.agent)

    @property
    def replay(self) -> ReplayBuffer:
        return self._replay

    def prefill(self, demos: Transitions) -> None:
        self._replay.restore(ReplaySegment.of(demos))

    def member(self, rank: int, state_of_start: StateOfStart) -> Child:
        self.agent.share_memory()
        works = rank < self.config.train.workers
        replay = self.shards[rank] if works else self._replay
        before_all = self._replay.written.tolist()

        def make(start: int) -> tuple[Task]:
            generation, state = state_of_start(start)
            observed = None if start else before_all
            shared = self.config, self.agent, replay, self.data, self.control
            corrections = self.corrections
            if corrections is not None and works:
                corrections = corrections.for_shard(rank)
            return (Task(rank, generation, *shared, state, observed, self.reels, self.hand, corrections),)

        if works:
            return Child(self.context, f"worker-{rank}", Worker.main, make)
        return Child(context_on(self.config.train.device, self.context), "learner", Learner.main, make)

    def evaluator(self, best_path: Path, best_score: Callable[[], float | None]) -> Child:
        def make(start: int) -> tuple[EvaluatorTask]:
            shared = self.config, self.agent, self.control
            return (EvaluatorTask(*shared, best_path, best_score(), self.reels),)

        return Child(self.context, "evaluator", evaluator_main, make)

    def wait(self, parts: Sequence[Part], timeout: float) -> None:
        connection.wait([part.connection for part in parts if isinstance(part, Child)], timeout)

    def services(self, folder: Path) -> list[Part]:
        """The replay manager: the memory that it serves is this process's, so the run does without it."""
        key, address = os.urandom(32), socket_address()
        self.published = publish(folder, address, key)

        def make(start: int) -> tuple[ReplayBuffer, str, bytes]:
            return self._replay, address, key

        manager = Child(self.context, "replay-manager", replay_manager_main, make, essential=False)
        return [manager]

    def broken(self) -> str | None:
        return None

    def gather(self) -> dict[str, torch.Tensor]:
        return self.agent.state_dict()

    def ask(self, evaluator: Part, request: Any) -> None:
        assert isinstance(evaluator, Child)
        evaluator.connection.send(request)

    def close(self) -> None:
        if self.published is not None:
            with contextlib.suppress(OSError):  # the folder has gone
                self.published.unlink(missing_ok=True)
