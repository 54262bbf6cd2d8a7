"""The evaluation process: it measures a snapshot of the policy and keeps the best one."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from sac_dist.acting.environment import make_env
from sac_dist.acting.evaluation import Evaluation, evaluate, wilson_interval
from sac_dist.algorithms.agent import SACAgent
from sac_dist.engine.control import Control
from sac_dist.engine.divergence import all_finite
from sac_dist.engine.member import reported
from sac_dist.engine.processes import settle_child
from sac_dist.settings import Config
from sac_dist.storage import checkpoint

TARGET_EPISODES = 100  # episodes that must confirm a success target
IDLE_BEAT = 0.1  # s between signs of life without a request


@dataclass(frozen=True)
class Request:
    """Evaluate the shared policy as it is now; ``steps`` is the run's clock that it is booked under."""

    steps: int
    episodes: int


@dataclass(frozen=True)
class Result:
    steps: int
    evaluation: Evaluation
    score: float
    is_best: bool


@dataclass(frozen=True)
class NotFinite:
    """There was nothing to evaluate: the policy holds NaN or infinite values, which the workers report."""

    steps: int


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
    best = task.best_score
    snapshot = SACAgent(task.agent.observation_size, task.agent.action_size, task.config.agent)
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
        evaluation = evaluate(env, act, request.episodes, success=task.config.env.success)
        promising = (
            target is not None and evaluation.success_rate is not None and evaluation.success_rate >= target
        )
        if promising and request.episodes < TARGET_EPISODES:
            evaluation = evaluate(env, act, TARGET_EPISODES, success=task.config.env.success)
        value = score(evaluation)
        is_best = best is None or value >= best
        if is_best:
            best = value
            info = {"steps": request.steps, "evaluation": str(evaluation)}
            try:
                checkpoint.save_policy(task.best_path, snapshot, task.config, info)
            except OSError as error:
                connection.send(NotWritten(error))
                return
        connection.send(Result(request.steps, evaluation, value, is_best))
