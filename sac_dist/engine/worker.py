"""One worker process: it acts in its own environment, fills its shard of the replay, and updates the shared networks."""

from __future__ import annotations

import contextlib
import math
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import gymnasium
import numpy as np
import torch

from sac_dist.agent import SACAgent, Step
from sac_dist.compiled import compiled_path, load_update
from sac_dist.config import Config
from sac_dist.dataset import Batches, DataSet
from sac_dist.engine import divergence
from sac_dist.engine.control import EPISODES, OFFLINE, STEPS, UPDATES, Control
from sac_dist.engine.phases import ONLINE, Phase, due, phases
from sac_dist.engine.processes import settle_child
from sac_dist.replay import ReplayBuffer
from sac_dist.rollout import EnvironmentFault, Episode, Play, make_env, training_seed
from sac_dist.types import Batch

PARKED_POLL = 0.0005  # s between looks at the supervisor's row while parked
REPORT_INTERVAL = 1.0  # s between messages of an offline phase


@dataclass(frozen=True)
class EpisodeDone:
    """A finished training episode, and the metrics of the newest update if there was one."""

    episode: Episode
    metrics: dict[str, float]


@dataclass(frozen=True)
class UpdatesDone:
    """An offline phase goes on; the metrics of its newest update."""

    metrics: dict[str, float]


@dataclass(frozen=True)
class Boundary:
    """The worker stands still between two steps (parked) or, ``final``, has done its work; ``state`` resumes it exactly."""

    state: dict[str, Any]
    final: bool = False


@dataclass(frozen=True)
class Failure:
    """The process dies of a Python error; the text is its traceback, or where the environment is to blame a line."""

    text: str


@dataclass(frozen=True)
class NotCompiled:
    """The run goes on with the uncompiled update; why, in a line."""

    obstacle: str


@dataclass(frozen=True)
class WorkerTask:
    rank: int
    generation: int  # of this rank, over all its restarts
    config: Config
    agent: SACAgent  # shared memory
    replay: ReplayBuffer  # shared memory, this worker's shard
    data: DataSet | None  # shared memory: demonstrations
    control: Control  # shared memory
    state: dict[str, Any] | None  # to go on exactly from a checkpoint


def worker_main(connection: Connection, task: WorkerTask) -> None:
    """Entry point of the process."""
    settle_child()
    with reported(connection):
        worker = Worker(connection, task)
        worker.run()
        connection.send(Boundary(worker.state(), final=True))


@contextlib.contextmanager
def reported(connection: Connection) -> Iterator[None]:
    """Whatever ends the block is told to the supervisor and ends the process with status 1: an environment may call sys.exit."""
    try:
        yield
    except divergence.Divergence:
        raise SystemExit(1) from None
    except BaseException as error:
        with contextlib.suppress(OSError):  # the supervisor has gone, and this process ends too
            connection.send(Failure(str(error) if isinstance(error, EnvironmentFault) else traceback.format_exc()))
        raise SystemExit(1) from None


class Worker:
    """Steps, inserts and updates until the budget is reached or the supervisor says stop; in offline phases it only updates.

    With one worker, the run pauses and stops only between episodes: a new episode is a function of its seed, so the
    checkpoint holds everything and a resumed run gives the same bits. Several workers pause at the next step.
    """

    def __init__(self, connection: Connection, task: WorkerTask) -> None:
        self.connection = connection
        self.rank, self.generation = task.rank, task.generation
        self.config, self.data_config, self.env_config = task.config.train, task.config.data, task.config.env
        self.agent, self.replay, self.control = task.agent, task.replay, task.control
        self.env: gymnasium.Env | None = None  # offline phases need none
        action_seed, sample_seed = np.random.SeedSequence((self.config.seed, self.rank, self.generation)).generate_state(2)
        self.agent.reseed(int(action_seed))
        self.rng = np.random.default_rng(sample_seed)
        self.episode = 0
        self.updates_owed = 0.0
        self.metrics: dict[str, float] = {}
        self.reported = 0.0
        self.phases = phases(task.config, 0 if task.data is None else len(task.data))
        self.compiled = {name: self.load_compiled(phase) for name, phase in self.phases.items()}
        self.phase: str | None = None
        self.batches = Batches(self.replay, task.data, self.data_config, self.config.batch_size, task.config.agent.cal_ql)
        if task.state is not None:
            self.restore(task.state)

    def state(self) -> dict[str, Any]:
        """Everything but the shared memory, ready for JSON (a tensor in a message would need this process to live on)."""
        return {
            "generation": self.generation,
            "episode": self.episode,
            "updates_owed": self.updates_owed,
            "sampling": self.rng.bit_generator.state,
            "generator": self.agent.rng_state().numpy().tobytes().hex(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.episode = state["episode"]
        self.updates_owed = state["updates_owed"]
        self.rng.bit_generator.state = state["sampling"]
        self.agent.set_rng_state(torch.tensor(list(bytes.fromhex(state["generator"])), dtype=torch.uint8))

    def run(self) -> None:
        try:
            while not self.finished():
                self.enter(self.due())
                if self.phase == ONLINE:
                    self.run_episode()
                else:
                    self.update_offline()
                self.park_if_asked()
        finally:
            if self.env is not None:
                self.env.close()

    def due(self) -> str | None:
        return due(self.data_config, self.control.total(STEPS), self.control.total(OFFLINE))

    def enter(self, phase: str | None) -> None:
        if phase != self.phase and phase is not None:
            self.phase = phase
            self.agent.use(self.phases[phase].algorithm, self.compiled[phase])

    def finished(self) -> bool:
        steps, episodes = self.config.steps, self.config.episodes
        return (
            self.control.stopped()
            or self.due() is None
            or (steps is not None and self.control.total(STEPS) >= steps)
            or (episodes is not None and self.control.total(EPISODES) >= episodes)
        )

    def park_if_asked(self) -> None:
        if self.control.paused():
            self.connection.send(Boundary(self.state()))
            while self.control.paused() and not self.control.stopped():
                self.control.beat(self.rank)
                time.sleep(PARKED_POLL)

    def load_compiled(self, phase: Phase) -> Step | None:
        """The phase's compiled update where there is one; one that does not load is reported and done without."""
        self.agent.use(phase.algorithm)
        if self.config.compile == "off" or not compiled_path(self.agent, phase.batch_size).exists():
            return None
        try:
            return load_update(self.agent, phase.batch_size)
        except Exception as error:
            self.connection.send(NotCompiled(f"{type(error).__name__}: {error}"))
            return None

    def update_offline(self) -> None:
        """One update from data."""
        self.update(self.batches.offline(self.rng))
        self.control.count(self.rank, OFFLINE)
        if time.monotonic() > self.reported + REPORT_INTERVAL:
            self.reported = time.monotonic()
            self.connection.send(UpdatesDone(self.metrics))

    def update(self, batch: Batch) -> None:
        self.metrics = {name: value.item() for name, value in self.agent.update(batch).items()}
        if not math.isfinite(sum(self.metrics.values())):  # of float32 in float64: no overflow
            self.diverge(self.metrics, divergence.statistics(batch))
        self.control.count(self.rank, UPDATES)

    def diverge(self, metrics: dict[str, float], batch: dict[str, float]) -> NoReturn:
        self.connection.send(divergence.Diverged(self.control.total(UPDATES) + 1, metrics, batch))
        raise divergence.Divergence

    def run_episode(self) -> None:
        """One training episode; ends early, without being counted, when several workers share a reached budget."""
        if self.env is None:
            self.env = make_env(self.env_config)
            self.control.beat(self.rank)
        alone = self.control.workers == 1
        play = Play(self.env, training_seed(self.config.seed, self.rank, self.generation, self.episode))
        self.control.beat(self.rank)
        while True:
            observation = play.observation
            action = self.choose(observation)
            reward, terminated, truncated = play.step(action)
            self.replay.push(observation, action, reward, play.observation, terminated, truncated)
            self.control.count(self.rank, STEPS)
            self.learn()
            if play.over:
                break
            if not alone:
                self.park_if_asked()
                if self.finished():
                    return
        self.episode += 1
        self.control.count(self.rank, EPISODES)
        self.connection.send(EpisodeDone(play.episode(), self.metrics))

    def choose(self, observation: np.ndarray) -> np.ndarray:
        """Uniform in [-1, 1] during the warm-up, then the policy's sample; at once if an offline phase has trained the policy."""
        if self.control.total(STEPS) < self.config.warmup_steps and self.control.total(OFFLINE) == 0:
            return self.rng.uniform(-1, 1, self.agent.action_size).astype(np.float32)
        action = self.agent.act(observation)
        if not math.isfinite(np.vdot(action, action)):  # another worker's update has just spoilt the policy
            self.diverge(self.metrics | {"action": math.nan}, {})
        return action

    def learn(self) -> None:
        """The updates this step owes; each worker pays for its own steps, so the ratio holds over all of them."""
        if self.control.total(STEPS) <= self.config.warmup_steps:
            return
        self.updates_owed += self.config.update_ratio
        while self.updates_owed >= 1:
            self.update(self.batches.online(self.control.total(STEPS), self.rng))
            self.updates_owed -= 1
