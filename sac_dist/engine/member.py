"""What worker and learner have in common: a process that takes part in the training of the shared networks,
and what it tells.
"""

from __future__ import annotations

import contextlib
import math
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, ClassVar, NoReturn, Protocol

import gymnasium
import numpy as np
import torch

from sac_dist.acting.environment import close, make_env
from sac_dist.acting.episode import EnvironmentFault, Episode
from sac_dist.acting.goals import GoalRewards
from sac_dist.acting.hand import Hand
from sac_dist.acting.reels import Reels
from sac_dist.algorithms.agent import SACAgent
from sac_dist.data.batch import Batch
from sac_dist.data.dataset import DataSet
from sac_dist.data.hindsight import Hindsight
from sac_dist.data.moments import Moments, NewObservations
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.sampler import Batches
from sac_dist.engine import divergence
from sac_dist.engine.control import EPISODES, OFFLINE_UPDATES, STEPS, UPDATES, Control
from sac_dist.engine.phases import ONLINE, due, phases, policy_share, step_size_share
from sac_dist.engine.processes import settle_child
from sac_dist.engine.returns_watch import ReturnsWatch
from sac_dist.execution.choose import Choice, choose
from sac_dist.execution.threads import update_threads
from sac_dist.settings import Config
from sac_dist.storage.arrays_in_json import from_json, to_json

PARKED_POLL = 0.0005  # s between looks at the supervisor's row while parked
WAIT_POLL = 0.0001  # s between looks at the others' rows while there is nothing to do
REPORT_INTERVAL = 1.0  # s between reports of a process that only updates


@dataclass(frozen=True)
class EpisodeDone:
    """A finished training episode, and the metrics of the newest update if there was one."""

    episode: Episode
    metrics: dict[str, float]


@dataclass(frozen=True)
class UpdatesDone:
    """A process that only updates goes on; the metrics of its newest update."""

    metrics: dict[str, float]


@dataclass(frozen=True)
class Boundary:
    """The process stands still between two steps or updates (parked) or, ``final``, has done its work;
    ``state`` resumes it exactly.
    """

    state: dict[str, Any]
    final: bool = False


@dataclass(frozen=True)
class Failure:
    """The process dies of a Python error; the text is its traceback, or where the environment is to blame a
    line.
    """

    text: str


@dataclass(frozen=True)
class Note:
    """A line for the user."""

    text: str


@dataclass(frozen=True)
class NotCompiled:
    """The run goes on with the uncompiled update; why, in a line."""

    obstacle: str


@dataclass(frozen=True)
class Task:
    rank: int  # the learner's comes after the workers'
    generation: int  # of this rank, over all its restarts
    config: Config
    agent: SACAgent  # shared memory
    replay: ReplayBuffer  # shared memory; a worker's own shard
    data: DataSet | None  # shared memory: demonstrations
    control: Control  # shared memory
    state: dict[str, Any] | None  # to go on exactly from a checkpoint
    # of each shard, what the statistics of observations know already; None: all that is written
    observed: list[int] | None = None
    reels: Reels | None = None  # shared memory: what a page shows; None: there is no page
    hand: Hand | None = None  # shared memory: of who steers from the page
    # shared memory: what people did in place of the policy; a worker's own shard
    corrections: ReplayBuffer | None = None


class Observations(Protocol):
    def moments(self) -> Moments | None:
        """Of what the replay has got since the last call; None: nothing, or too little yet."""


@contextlib.contextmanager
def reported(connection: Connection) -> Iterator[None]:
    """Whatever ends the block is told to the supervisor and ends the process with status 1: an environment
    may call sys.exit.
    """
    try:
        yield
    except divergence.Divergence:
        raise SystemExit(1) from None
    except BaseException as error:
        with contextlib.suppress(OSError):  # the supervisor has gone, and this process ends too
            connection.send(
                Failure(str(error) if isinstance(error, EnvironmentFault) else traceback.format_exc())
            )
        raise SystemExit(1) from None


class Member:
    """Goes from phase to phase until the budget is reached or the supervisor says stop, and parks when it is
    asked to.

    A subclass says what ``online`` does; ``offline`` updates from data.
    """

    hindsight: ClassVar[type[Hindsight]] = Hindsight

    def __init__(self, connection: Connection, task: Task) -> None:
        self.connection = connection
        self.rank, self.generation = task.rank, task.generation
        self.alone = (
            task.config.train.members == 1
        )  # a run that repeats bit for bit, stopped and resumed or not
        # what one of several processes does for all
        self.leads = self.rank == (task.config.train.members - 1 if task.config.train.central else 0)
        self.run_config, self.config, self.data_config = task.config, task.config.train, task.config.data
        self.agent, self.replay, self.control = task.agent, task.replay, task.control
        noise_seed, sample_seed = np.random.SeedSequence(
            (self.config.seed, self.rank, self.generation)
        ).generate_state(2)
        self.agent.reseed(int(noise_seed))
        self.rng = np.random.default_rng(sample_seed)
        self.metrics: dict[str, float] = {}
        self.reported = 0.0
        self.agent.updates_made = self.control.total(UPDATES)
        self.phases = phases(task.config, 0 if task.data is None else len(task.data))
        self.learns = self.rank == self.config.workers or not self.config.central  # a learner comes last
        if self.learns:
            torch.set_num_threads(update_threads(self.agent, self.config))
        self.choices: dict[str, Choice] = {}  # by phase
        self.compilations = -1  # those announced when ``choices`` was begun
        self.phase: str | None = None
        self.averaged = False  # after the present offline phase
        self.share = 1.0  # of the policy's step sizes
        self.env: gymnasium.Env | None = None  # not every member needs one, nor from the start
        self.decays = task.config.agent.lr_decay is not None  # all step sizes, as the run goes on
        self.batches = Batches(
            self.replay,
            task.data,
            self.data_config,
            self.config.batch_size,
            task.config.agent,
            task.config.calibrated,
            task.config.agent.n_step,
            hindsight=(
                self.hindsight(self.agent.schema, self.data_config, self.goals)
                if self.data_config.relabels
                else None
            ),
            followed=task.config.followed,
            corrections=task.corrections,
        )
        state = task.state or {}
        # whether there are statistics that go with the replay
        watches = ReturnsWatch.is_needed(self.agent)
        self.observes = self.agent.normalization is not None or watches
        self.returns = (
            ReturnsWatch(
                self.agent, self.replay, state.get("returns"), lambda line: connection.send(Note(line))
            )
            if watches and self.leads
            else None
        )
        self.observations = self.new_observations(state.get("observed", task.observed))
        if task.state is not None:
            self.restore(task.state)

    @classmethod
    def main(cls, connection: Connection, task: Task) -> None:
        """Entry point of the process."""
        settle_child()
        with reported(connection):
            member = cls(connection, task)
            try:
                member.run()
                connection.send(Boundary(member.state(), final=True))
            finally:
                member.close()

    def state(self) -> dict[str, Any]:
        """Everything but the shared memory, ready for JSON (a tensor in a message would need this process to
        live on).
        """
        state: dict[str, Any] = {
            "generation": self.generation,
            "sampling": self.rng.bit_generator.state,
            "generator": self.agent.rng_state().numpy().tobytes().hex(),
        }
        ahead = self.batches.ahead()
        if isinstance(self.observations, NewObservations):
            state["observed"] = self.observations.taken.tolist()
        if self.returns is not None:
            state["returns"] = self.returns.running
        if self.alone and len(ahead):
            state["batches_ahead"] = to_json(ahead)
        return state

    def restore(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["sampling"]
        self.agent.set_rng_state(torch.tensor(list(bytes.fromhex(state["generator"])), dtype=torch.uint8))
        if "batches_ahead" in state:
            self.batches.set_ahead(from_json(state["batches_ahead"]))

    def new_observations(self, taken: list[int] | None) -> Observations | None:
        """Where the shared statistics of observations come from, in the process that keeps them; ``taken``:
        see NewObservations.
        """
        if not self.leads or not self.observes:
            return None
        return NewObservations(self.replay, taken, None if self.returns is None else self.returns.add)

    def run(self) -> None:
        while not self.finished():
            self.enter(self.due())
            if self.phase == ONLINE:
                self.online()
            else:
                self.offline()
            self.park_if_asked()

    def close(self) -> None:
        """After the last state was taken."""
        if self.env is not None:
            close(self.env)

    def environment(self) -> gymnasium.Env:
        """This process's own."""
        if self.env is None:
            self.env = make_env(self.run_config.env)
            self.control.beat(self.rank)
        return self.env

    def goals(self) -> GoalRewards:
        """Made in the middle of an episode, or by a process that plays none."""
        if self.env is None:
            self.environment().reset(seed=0)
        return GoalRewards(self.environment(), self.run_config.env.name)

    def online(self) -> None:
        """What this process does in the online phase, up to its next boundary."""
        raise NotImplementedError

    def offline(self) -> None:
        """One update from data."""
        if self.decays:
            self.scale(1.0)
        self.update(self.batches.offline(self.rng))
        self.control.count(self.rank, OFFLINE_UPDATES)
        if self.due() == ONLINE:
            self.end_offline()
        self.report()

    def end_offline(self) -> None:
        """After an offline phase's last update the policy goes on as its average, which is what was
        evaluated.

        One of several processes sees to that, once a phase.
        """
        if self.leads and not self.averaged:
            self.agent.take_average()
            self.averaged = True

    def due(self) -> str | None:
        return due(self.data_config, self.control.total(STEPS), self.control.total(OFFLINE_UPDATES))

    def enter(self, phase: str | None) -> None:
        before = self.phase
        if self.control.compilations() > self.compilations:
            self.compilations = self.control.compilations()
            self.choices.clear()
            self.phase = None
        if phase != self.phase and phase is not None:
            if phase != ONLINE:
                self.averaged = False
            elif before not in (None, ONLINE):  # another process has made the phase's last update
                self.end_offline()
            self.phase = phase
            self.agent.use(self.phases[phase].algorithm)
            if self.learns:
                self.choose_update(phase)
            self.scale(0.0 if phase == ONLINE else 1.0)

    def choose_update(self, phase: str) -> None:
        """Run the agent's updates in the quickest way; a compiled one that does not load is reported and done
        without.

        A phase that comes again runs as before, whatever another run has compiled since: a run of the same
        seed gives the same bits. A GPU's update starts anew from the agent's memory.
        """
        if phase not in self.choices or self.config.device != "cpu":
            choice = choose(
                self.agent, self.phases[phase].batch_size, self.config.device, self.config.compiles
            )
            self.choices[phase] = choice
            if choice.obstacle is not None:
                self.connection.send(NotCompiled(choice.obstacle))
        self.choices[phase].install(self.agent)

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
                self.wait(PARKED_POLL)

    def wait(self, seconds: float = WAIT_POLL) -> None:
        self.control.beat(self.rank)
        time.sleep(seconds)

    def update(self, batch: Batch) -> None:
        found = {name: value.item() for name, value in self.agent.update(batch).items()}
        # between two updates of the policy its last metrics stand
        self.metrics = found if self.agent.policy_every == 1 else self.metrics | found
        if not math.isfinite(sum(self.metrics.values())):  # of float32 in float64: no overflow
            self.diverge(self.metrics, divergence.statistics(batch))
        self.control.count(self.rank, UPDATES)

    def update_online(self) -> None:
        """One update of the online phase."""
        steps = self.control.total(STEPS)
        if self.share < 1 or self.decays:
            self.scale(policy_share(self.run_config, steps))
        batch = self.batches.online(steps, self.rng)
        if self.observes:
            self.observe()
        self.update(batch)

    def observe(self) -> None:
        """Bring the statistics of observations and rewards up to date, or see to it that there are some."""
        normalization, scale = self.agent.normalization, self.agent.reward_scale
        if self.observations is None:
            while not all(each is None or each.known for each in (normalization, scale)):
                if self.control.paused() or self.control.stopped():
                    break
                self.wait()
        elif (new := self.observations.moments()) is not None:
            if normalization is not None:
                normalization.add(new)
            if self.returns is not None:
                self.returns.update()

    def scale(self, share: float) -> None:
        self.share = share
        self.agent.scale_steps(share, step_size_share(self.run_config, self.control.clock()))

    def diverge(self, metrics: dict[str, float], batch: dict[str, float]) -> NoReturn:
        self.connection.send(divergence.Diverged(self.control.total(UPDATES) + 1, metrics, batch))
        raise divergence.Divergence

    def report(self) -> None:
        """Send the newest metrics now and then: for a process that finishes no episodes."""
        if time.monotonic() > self.reported + REPORT_INTERVAL:
            self.reported = time.monotonic()
            self.connection.send(UpdatesDone(self.metrics))

    def owed(self) -> float:
        """Updates that the online steps so far call for and that have not been made, over all processes."""
        steps, online = (
            self.control.total(STEPS),
            self.control.total(UPDATES) - self.control.total(OFFLINE_UPDATES),
        )
        return self.config.update_ratio * max(steps - self.config.warmup_steps, 0) - online
