"""One worker process: it acts in its own environment, fills its shard of the replay, and updates the shared
networks.
"""

from __future__ import annotations

import math
from multiprocessing.connection import Connection
from typing import Any

import gymnasium
import numpy as np

from sac_dist.acting.environment import make_env
from sac_dist.acting.episode import Play, training_seed
from sac_dist.algorithms.agent import Step
from sac_dist.engine.control import DONE, EPISODES, OFFLINE, STEPS
from sac_dist.engine.member import EpisodeDone, Member, Task
from sac_dist.engine.phases import Phase

LEAD = 2  # steps of each worker that a central learner may be behind before they wait for it


class Worker(Member):
    """Steps, inserts and updates; in offline phases it only updates. Beside a central learner it never
    updates.

    With one worker, the run pauses and stops only between episodes: a new episode is a function of its seed,
        so the
    checkpoint holds everything and a resumed run gives the same bits. Several workers pause at the next step.
    """

    lead = LEAD

    def __init__(self, connection: Connection, task: Task) -> None:
        self.env_config = task.config.env
        self.env: gymnasium.Env | None = None  # offline phases need none
        self.episode = 0
        self.updates_owed = 0.0
        super().__init__(connection, task)
        self.learns = not self.config.central

    def state(self) -> dict[str, Any]:
        return super().state() | {"episode": self.episode, "updates_owed": self.updates_owed}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.episode = state["episode"]
        self.updates_owed = state["updates_owed"]

    def run(self) -> None:
        try:
            super().run()
            self.settle()
            self.control.count(self.rank, DONE)
        finally:
            if self.env is not None:
                self.env.close()

    def load_compiled(self, phase: Phase) -> Step | None:
        return super().load_compiled(phase) if self.learns else None

    def settle(self) -> None:
        """Nothing to do where the replay is shared memory: what was pushed is stored."""

    def offline(self) -> None:
        if self.learns:
            super().offline()
        else:
            self.wait()

    def online(self) -> None:
        """One training episode; ends early, without being counted, when several workers share a reached
        budget.
        """
        if self.env is None:
            self.env = make_env(self.env_config)
            self.control.beat(self.rank)
        alone = self.config.workers == 1
        seed = training_seed(self.config.seed, self.rank, self.generation, self.episode)
        play = Play(self.env, seed, self.env_config.success)
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
        if alone:
            self.batches.forget()
        self.episode += 1
        self.control.count(self.rank, EPISODES)
        self.connection.send(EpisodeDone(play.episode(), self.metrics))

    def choose(self, observation: np.ndarray) -> np.ndarray:
        """Uniform in [-1, 1] during the warm-up, then the policy's sample; at once if an offline phase has
        trained the policy.
        """
        if self.control.total(STEPS) < self.config.warmup_steps and self.control.total(OFFLINE) == 0:
            return self.rng.uniform(-1, 1, self.agent.action_size).astype(np.float32)
        action = self.agent.act(observation)
        if not math.isfinite(np.vdot(action, action)):  # another process's update has just spoilt the policy
            self.diverge(self.metrics | {"action": math.nan}, {})
        return action

    def learn(self) -> None:
        """The updates this step owes; each worker pays for its own steps, so the ratio holds over all of
        them.
        """
        if not self.learns:
            self.await_learner()
        elif self.control.total(STEPS) > self.config.warmup_steps:
            self.updates_owed += self.config.update_ratio
            while self.updates_owed >= 1:
                self.update_online()
                self.updates_owed -= 1

    def await_learner(self) -> None:
        """Let the learner catch up, unless it is parked or has been told to stop."""
        lead = self.lead * self.config.workers * self.config.update_ratio
        while self.owed() - 1 > lead and not self.control.paused() and not self.control.stopped():
            self.wait()
