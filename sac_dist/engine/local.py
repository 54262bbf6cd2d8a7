"""The engine of one machine: processes that train the same shared memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any

import torch

from sac_dist.book.replay_manager import ReplayManager
from sac_dist.data.dataset import DataSet
from sac_dist.data.ring import ReplayBuffer, ReplaySegment
from sac_dist.data.transitions import Transitions
from sac_dist.engine.evaluator import EvaluatorTask, evaluator_main
from sac_dist.engine.learner import Learner
from sac_dist.engine.member import Task
from sac_dist.engine.parts import Common, Engine, Life, Part
from sac_dist.engine.processes import Child
from sac_dist.engine.starting import context_on, quiet_start, start_context
from sac_dist.engine.worker import Worker

MANAGER_END = 5.0  # s for the manager's process to end


class LocalEngine(Engine):
    """Moves ``agent`` into shared memory once a member is made."""

    def __init__(self, common: Common) -> None:
        super().__init__(common)
        train = self.config.train
        self.context = start_context(with_compiler=train.compiles)
        self._replay = ReplayBuffer(train.buffer_size, self.agent.schema, train.workers).for_shard(None)
        self.shards = [self._replay.for_shard(rank) for rank in range(train.workers)]
        with quiet_start():
            self.manager = ReplayManager.launch(self.context, self._replay)
        served = self.manager.given()
        for _ in self.shards:  # who connects may sample, and finds every shard taken
            served.lease()
        self.data = None if common.data is None else DataSet(common.data, self.config.agent)

    @property
    def replay(self) -> ReplayBuffer:
        return self._replay

    def prefill(self, demos: Transitions) -> None:
        self._replay.restore(ReplaySegment.of(demos))

    def member(self, rank: int, life: Life) -> Child:
        self.agent.share_memory()
        works = rank < self.config.train.workers
        replay = self.shards[rank] if works else self._replay

        def make(start: int) -> tuple[Task]:
            generation, state = life(start)
            return (Task(rank, generation, self.config, self.agent, replay, self.data, self.control, state),)

        if works:
            return Child(self.context, f"worker-{rank}", Worker.main, make)
        return Child(context_on(self.config.train.device, self.context), "learner", Learner.main, make)

    def evaluator(self, best_path: Path, best_score: Callable[[], float | None]) -> Child:
        def make(start: int) -> tuple[EvaluatorTask]:
            return (EvaluatorTask(self.config, self.agent, self.control, best_path, best_score()),)

        return Child(self.context, "evaluator", evaluator_main, make)

    def wait(self, parts: Sequence[Part], timeout: float) -> None:
        connection.wait([part.connection for part in parts if isinstance(part, Child)], timeout)

    def broken(self) -> str | None:
        return (
            None
            if self.manager.is_alive()
            else "the replay manager died; go on from the last checkpoint with --resume"
        )

    def gather(self) -> dict[str, torch.Tensor]:
        return self.agent.state_dict()

    def ask(self, evaluator: Part, request: Any) -> None:
        assert isinstance(evaluator, Child)
        evaluator.connection.send(request)

    def close(self) -> None:
        """The manager has nothing to save, and one that is stopped would not answer: kill it, and let
        shutdown() clear up.
        """
        self.manager._process.kill()
        self.manager._process.join(MANAGER_END)
        self.manager.shutdown()
