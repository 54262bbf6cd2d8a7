"""The evaluation process: it measures a snapshot of the policy and keeps the best one."""

from __future__ import annotations

import functools
import math
import os
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ClassVar

from sac_dist.acting.environment import make_env
from sac_dist.acting.evaluation import Evaluation, NoEpisodeEnded, evaluate, wilson_interval
from sac_dist.acting.reels import Filmed, Reels
from sac_dist.algorithms.agent import SACAgent
from sac_dist.engine.control import Control
from sac_dist.engine.divergence import all_finite
from sac_dist.engine.member import reported
from sac_dist.engine.processes import settle_child
from sac_dist.settings import Config
from sac_dist.storage import checkpoint
from sac_dist.system.processor import machine

TARGET_EPISODES = 100  # episodes that must confirm a success target
IDLE_BEAT = 0.1  # s between signs of life without a request


@dataclass(frozen=True)
class Request:
    """Evaluate the shared policy as it is now; ``steps`` is the run's clock that it is booked under.

    What has not ended after ``seconds`` does not count.
    """

    steps: int
    episodes: int
    seconds: float = math.inf
    offline_updates: int = 0  # those of ``steps`` that are no environment steps


@dataclass(frozen=True)
class Confirming:
    """So few episodes reached the success target: ``TARGET_EPISODES`` of the same policy come next."""

    successes: int
    episodes: int


@dataclass(frozen=True)
class Result:
    steps: int
    evaluation: Evaluation
    score: float
    is_best: bool
    cut: bool = False  # fewer episodes than asked for: the time was up


@dataclass(frozen=True)
class NotFinite:
    """There was nothing to evaluate: the policy holds NaN or infinite values, which the workers report."""

    steps: int
    reason: ClassVar[str] = "the policy holds NaN or infinite values"


@dataclass(frozen=True)
class OutOfTime:
    """Not one episode ended in the time of the request."""

    steps: int
    seconds: float

    @property
    def reason(self) -> str:
        return f"no episode ended within {self.seconds:.0f} s"


@dataclass(frozen=True)
class NotWritten:
    """The best policy could not be saved."""

    error: OSError


@dataclass(frozen=True)
class EvaluatorTask:
    config: Config
    agent: SACAgent  # shared memory
    control: Control  # shared memory
    best_path: Path
    best_score: float | None
    reels: Reels | None = None  # shared memory: what a page shows; None: there is no page


def score(evaluation: Evaluation) -> float:
    """What "best" means: the lower end of the success rate's confidence interval, else the mean return.

    The lower end lets evaluations of different sizes compare: 97 of 100 beats 20 of 20.
    """
    if evaluation.successes is None:
        return evaluation.mean_return
    return wilson_interval(int(evaluation.successes.sum()), len(evaluation.successes))[0]


def evaluator_main(connection: Connection, task: EvaluatorTask) -> None:
    """Entry point of the process; answers each Request with a Result until the pipe closes."""
    settle_child()
    os.nice(5)  # the workers come first
    with reported(connection):
        serve(connection, task)


def serve(connection: Connection, task: EvaluatorTask) -> None:
    env = make_env(task.config.env)
    filmed = None if task.reels is None else Filmed(env, task.reels)
    env = filmed or env
    best = task.best_score
    agent = task.agent
    snapshot = SACAgent(agent.schema, agent.config, algorithms=agent.algorithms, networks=agent.networks)
    target = task.config.train.success_target
    beat = functools.partial(task.control.beat, task.control.members)

    def act(observation):  # type: ignore[no-untyped-def]
        beat()
        return snapshot.act(observation, deterministic=True)

    while True:
        beat()
        if not connection.poll(IDLE_BEAT):
            continue
        try:
            request: Request = connection.recv()
        except (EOFError, OSError):  # the supervisor has gone
            return
        state = task.agent.state_dict()
        if not all_finite(state):
            connection.send(NotFinite(request.steps))
            continue
        snapshot.load_state_dict(state)
        if filmed is not None:
            filmed.evaluation(request.steps)
        deadline, asked_for = time.monotonic() + request.seconds, request.episodes
        measure = functools.partial(evaluate, env, act, deadline=deadline, success=task.config.env.success)
        try:
            evaluation = measure(asked_for)
            rate = evaluation.success_rate
            if target is not None and rate is not None and rate >= target and asked_for < TARGET_EPISODES:
                connection.send(Confirming(round(rate * len(evaluation.returns)), len(evaluation.returns)))
                asked_for = TARGET_EPISODES
                evaluation = measure(asked_for)
        except NoEpisodeEnded:
            connection.send(OutOfTime(request.steps, request.seconds))
            continue
        value = score(evaluation)
        is_best = best is None or value >= best
        if is_best:
            best = value
            info = {
                "steps": request.steps - request.offline_updates,
                "offline_updates": request.offline_updates,
                "evaluation": str(evaluation),
                "machine": machine(),
            }
            try:
                checkpoint.save_policy(task.best_path, snapshot, task.config, info)
            except OSError as error:
                connection.send(NotWritten(error))
                return
        cut = len(evaluation.returns) < asked_for
        connection.send(Result(request.steps, evaluation, value, is_best, cut))
