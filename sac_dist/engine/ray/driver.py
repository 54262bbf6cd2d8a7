"""The engine of a Ray cluster: every part of the run is an actor, and the command's own process, the driver,
supervises them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any, cast

import numpy.typing as npt
import ray
import torch
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sac_dist.data.hindsight import Later
from sac_dist.data.transitions import Transitions
from sac_dist.engine.control import BEATS, STEPS, UPDATES
from sac_dist.engine.divergence import all_finite
from sac_dist.engine.parts import Engine, EngineInputs, Part, StateOfStart
from sac_dist.engine.processes import Child
from sac_dist.engine.ray.actors import ActorTask, BestPolicy, EvaluatorHost, MemberHost
from sac_dist.engine.ray.cluster import SIMULATOR, Heartbeat
from sac_dist.engine.ray.link import BESIDE, ActorPart, Link
from sac_dist.engine.ray.members import as_arrays, as_tensors
from sac_dist.engine.ray.sharded import ShardedReplay
from sac_dist.settings import ConfigError
from sac_dist.system.files import replacing

PLACING = 60.0  # s for an actor to find a place in the cluster and to start
ANSWER = 5.0  # s for an actor's answer, before the run goes on without
GATHER_INTERVAL = 2.0  # s between copies of the learner's state: what is lost with it


class RayEngine(Engine):
    """Actors on the connected cluster. What dies is started anew by the supervisor, wherever the cluster has
    room.
    """

    def __init__(self, inputs: EngineInputs) -> None:
        super().__init__(inputs)
        self.data, self.stored, self.note = inputs.data, inputs.stored, inputs.note
        config, agent, control = self.config, self.agent, self.control
        self.heart = Heartbeat(ray.get_runtime_context().gcs_address)
        train, stores = config.train, config.cluster.replay_shards
        observes = agent.normalization is not None
        later = Later.of(agent.schema, config.data)
        self._replay = ShardedReplay(
            train.buffer_size, agent.schema, train.workers, stores, self.heart, observes, later
        )
        self.link = Link(control, self._replay.stores.handles, self.heart)
        self.parts: list[ActorPart] = []
        self.lost = 0  # transitions that were counted and are in no store
        self.learner: ActorPart | None = None
        self.learned = control.row(config.train.workers)  # the learner's row when ``agent`` was as it is
        self.writers: dict[
            int, tuple[tuple[int, int], int]
        ] = {}  # of each worker: its name at the stores, and its count before
        self._gathering: Any = None
        self._gathered = time.monotonic()
        group = cast(Any, ray.remote)(concurrency_groups={BESIDE: 2})
        self._member_class, self._evaluator_class = group(MemberHost), group(EvaluatorHost)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        simulates = (
            {SIMULATOR: 1}
            if config.env.kwargs.get("backend") == "coppelia" and SIMULATOR in ray.cluster_resources()
            else {}
        )
        self._worker_place = {
            "num_cpus": config.cluster.worker_cpus,
            "resources": simulates,
            "scheduling_strategy": "SPREAD",
        }
        self._evaluator_place = {"num_cpus": 0, "resources": simulates, "scheduling_strategy": here}
        gpus = 1 if config.train.device == "cuda" else 0
        self._learner_place = {
            "num_cpus": 0,
            "num_gpus": gpus,
            "scheduling_strategy": here,
        }  # where the compiled update and the files are

    @property
    def replay(self) -> ShardedReplay:
        return self._replay

    def prefill(self, demos: Transitions) -> None:
        self._replay.prefill(demos)

    def member(self, rank: int, state_of_start: StateOfStart) -> ActorPart:
        is_worker = rank < self.config.train.workers
        self.uncounted = self._replay.count() - self.control.total(
            STEPS
        )  # what was put in beside the steps, and before

        def make(start: int) -> Any:
            generation, state = state_of_start(start)
            counted = self.control.row(rank)
            if is_worker:
                self.writers[rank] = (rank, generation), int(counted[STEPS])
            name, data = f"worker-{rank}" if is_worker else "learner", None if is_worker else self.data
            task = ActorTask(
                name, rank, generation, self.config, self.agent, counted, self.link.stores, data, state
            )
            return self._member_class.options(
                **(self._worker_place if is_worker else self._learner_place)
            ).remote(task)

        part = ActorPart(f"worker-{rank}" if is_worker else "learner", rank, self.link, make, self._bury)
        self.parts.append(part)
        self.learner = self.learner if is_worker else part
        return part

    def evaluator(self, best_path: Path, best_score: Callable[[], float | None]) -> ActorPart:
        row = self.control.members

        def make(start: int) -> Any:
            counted = self.control.row(row)
            task = ActorTask(
                "evaluator", row, start, self.config, self.agent, counted, [], best_score=best_score()
            )
            return self._evaluator_class.options(**self._evaluator_place).remote(task)

        part = EvaluatorPart("evaluator", row, self.link, make, self._bury)
        part.best_path = best_path
        self.parts.append(part)
        return part

    def _bury(self, row: int) -> None:
        """Count what is lost with a member, and what is not: a dead worker's last chunks may be in the replay
        all the same.
        """
        counted = self.control.row(row)
        if row in self.writers:
            writer, before = self.writers[row]
            counted[STEPS] = max(counted[STEPS], before + self._replay.stored_by(writer))
            self.control.put(row, counted)
        elif self.learner is not None and row == self.learner.row:
            self.link.weights = None  # they lay in its memory
            lost = counted[UPDATES] - self.learned[UPDATES]
            self.learned[BEATS] = counted[BEATS]
            self.control.put(row, self.learned)
            if lost:
                self.note(f"{lost} updates are lost with the learner; the next one makes them up")

    def wait(self, parts: Sequence[Part], timeout: float) -> None:
        if any(isinstance(part, ActorPart) for part in parts):
            self.link.arrived.wait(timeout)
            self.link.arrived.clear()
        else:
            connection.wait([part.connection for part in parts if isinstance(part, Child)], timeout)
        self._revive_stores()

    def broken(self) -> str | None:
        """Beside that: watches what waits for a place, and keeps a copy of what the learner has learned."""
        if not self.heart.look():
            while not self.heart.stopped and not self.heart.look():
                time.sleep(0.1)
            if self.heart.stopped:
                return "the Ray cluster is gone; go on from the last checkpoint with --resume"
        for part in self.parts:
            if part.running and part.generation >= 0 and part.process.alive and not part.process.answered:
                self.control.beat(part.row)  # the time limit of a step begins once it is up
                if time.monotonic() > part.process.since + PLACING:
                    part.how = f"found no place in the cluster within {PLACING:g} s"
                    part.kill()
        if (
            self._gathering is None
            and time.monotonic() > self._gathered + GATHER_INTERVAL
            and self._can_ask_learner()
        ):
            assert self.learner is not None
            self._gathering = self.learner.call("snapshot")
        elif self._gathering is not None and ray.wait([self._gathering], timeout=0)[0]:
            self._take_state(self._gathering)
        return None

    def _can_ask_learner(self) -> bool:
        learner = self.learner
        return (
            learner is not None
            and learner.generation >= 0
            and learner.restart_at is None
            and learner.process.answered
        )

    def gather(self) -> dict[str, torch.Tensor]:
        if self._can_ask_learner():
            assert self.learner is not None
            state = self._take_state(self.learner.call("snapshot"))
            if state is not None:
                return state
        return self.agent.state_dict()

    def _take_state(self, call: Any) -> dict[str, torch.Tensor] | None:
        """What the learner has answered, which ``agent`` has now too; None: nothing."""
        self._gathering, self._gathered = None, time.monotonic()
        try:
            answer = ray.get(call, timeout=ANSWER)
        except (RayError, GetTimeoutError):
            return None
        if answer is None:
            return None
        row, state = answer[0], as_tensors(answer[1])
        if all_finite(state):
            self.agent.load_state_dict(state)
            self.learned = row.copy()
        return state

    def ask(self, evaluator: Part, request: object) -> None:
        assert isinstance(evaluator, ActorPart)
        state: dict[str, npt.NDArray[Any]] = as_arrays(self.gather())
        evaluator.call("deliver", request, state)

    def _revive_stores(self) -> None:
        if not self.heart.look():  # a call would wait for it
            return
        for store in self._replay.dead():
            try:
                segment = self.stored()
            except ConfigError:
                segment = None
            back = self._replay.revive(store, segment)
            if back is None:
                continue
            self.link.replace_store(store, self._replay.stores.handles[store])
            missing = self.uncounted + self.control.total(STEPS) - self._replay.count() - self.lost
            self.lost += max(missing, 0)
            self.note(
                f"replay-{store} died: {back:,} of its transitions are back from the last checkpoint, "
                f"{max(missing, 0):,} are lost"
            )

    def close(self) -> None:
        self.link.end()
        for part in self.parts:
            part.kill()
        if not self.heart.stopped:
            self._replay.close()


class EvaluatorPart(ActorPart):
    """Writes the best policy into the run's folder, which is here."""

    best_path: Path

    def receive(self) -> list[Any]:
        messages = super().receive()
        for message in messages:
            if isinstance(message, BestPolicy):
                with replacing(self.best_path) as temporary:
                    temporary.write_bytes(message.data)
        return [message for message in messages if not isinstance(message, BestPolicy)]
