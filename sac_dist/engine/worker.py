"""One worker process: it acts in its own environment, fills its shard of the replay, and updates the shared
networks.
"""

from __future__ import annotations

import math
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import gymnasium
import numpy as np

from sac_dist.acting.episode import Play, training_seed
from sac_dist.acting.half_played import EpisodeRecord, NotRepeated, exactness, go_on
from sac_dist.acting.interventions import Corrections, TakenOver
from sac_dist.acting.reels import Filming
from sac_dist.engine.control import DONE, EPISODES, OFFLINE_UPDATES, STEPS
from sac_dist.engine.member import WAIT_POLL, EpisodeDone, Member, Note, Task
from sac_dist.engine.phases import ONLINE

LEAD = 2  # steps of each worker that a central learner may be behind before they wait for it
LONGEST_PAUSE = 0.001  # s between two looks at it


class Worker(Member):
    """Steps, inserts and updates; in offline phases it only updates. Beside a central learner it never
    updates.

    It looks at budgets and at the supervisor's word after each step. A run with one worker repeats: its state
    holds the episode that it is in the middle of, see acting/half_played.py.
    """

    lead = LEAD

    def __init__(self, connection: Connection, task: Task) -> None:
        self.env_config = task.config.env
        self.reels, self.hand, self.corrections = task.reels, task.hand, task.corrections
        self.intervened = 0  # steps of the present episode in which a person acted
        self.film: Filming | None = None  # of the present episode; None: nobody looks
        self.episode = 0
        self.updates_owed = 0.0
        self.play: Play | None = None  # None: between two episodes
        self.record: EpisodeRecord | None = None  # what makes the episode exact on resume; None: nobody asks
        self.half_played: dict[str, Any] | None = None  # to go on from
        super().__init__(connection, task)

    def state(self) -> dict[str, Any]:
        state = super().state() | {"episode": self.episode, "updates_owed": self.updates_owed}
        if self.agent.repeated_noise is not None:
            state["repeated_noise"] = self.agent.repeated_noise.state()
        if not self.alone:
            return state
        half_played = self.half_played  # a stop before it went on
        if self.play is not None and self.record is not None:
            half_played = self.record.state(self.play)
        return state | {"half_played": half_played, "exact": exactness(half_played)}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.episode = state["episode"]
        self.updates_owed = state["updates_owed"]
        self.half_played = state.get("half_played") if self.alone else None
        if self.agent.repeated_noise is not None and "repeated_noise" in state:
            self.agent.repeated_noise.restore(state["repeated_noise"])

    def run(self) -> None:
        super().run()
        self.settle()
        self.control.count(self.rank, DONE)

    def settle(self) -> None:
        """Nothing to do where the replay is shared memory: what was pushed is stored."""

    def offline(self) -> None:
        if self.learns:
            super().offline()
        else:
            self.wait()

    def online(self) -> None:
        """One training episode, or the rest of one; returns in its middle when a budget is reached."""
        play = self.play = self.begin_episode()
        self.film = self.new_film(play)
        while True:
            observation = play.observation
            action = self.choose(observation)
            reward, terminated, truncated = play.step(action)
            if self.corrections is not None:
                action = self.correct(observation, action, reward, terminated, truncated)
            if self.record is not None:
                self.record.add(action)
            self.replay.push(observation, action, reward, play.observation, terminated, truncated)
            self.control.count(self.rank, STEPS)
            if self.film is not None:
                self.film.add()
            self.learn()
            if play.over:
                break
            self.park_if_asked()
            if self.finished():
                return
        if self.film is not None:
            self.film.end(play.total_reward, play.success)
        self.play = None
        self.episode += 1
        self.control.count(self.rank, EPISODES)
        episode = play.episode()
        if self.corrections is not None:
            episode = replace(episode, intervened=self.intervened)
        self.connection.send(EpisodeDone(episode, self.metrics))

    def environment(self) -> gymnasium.Env:
        if self.env is None:
            self.env = super().environment()
            if self.hand is not None:
                self.env = TakenOver(self.env, self.hand, self.rank, lambda: self.control.beat(self.rank))
            self.reader = Corrections(self.env)
        return self.env

    def correct(
        self, observation: np.ndarray, action: np.ndarray, reward: float, terminated: bool, truncated: bool
    ) -> np.ndarray:
        """The action that the step was taken with. What a person did is data too."""
        play, corrections = self.play, self.corrections
        assert play is not None and corrections is not None
        taken = self.reader.taken(play.info)
        if taken is None:
            corrections.begin_episode()
            return action
        self.intervened += 1
        corrections.push(observation, taken, reward, play.observation, terminated, truncated)
        return taken

    def due(self) -> str | None:
        """Phases change between episodes: a half-played one is played to its end first."""
        return ONLINE if self.half_played is not None else super().due()

    def begin_episode(self) -> Play:
        env, self.intervened = self.environment(), 0
        half_played, self.half_played = self.half_played, None
        if half_played is not None:
            try:
                play, self.record = go_on(
                    env, half_played, lambda: self.control.beat(self.rank), self.env_config.success
                )
                if play.length:
                    self.replay.continue_episode()
                return play
            except NotRepeated as error:
                self.connection.send(Note(f"resumed with a new episode, so not exactly: {error}"))
                self.episode += 1
        seed = training_seed(self.config.seed, self.rank, self.generation, self.episode)
        play = Play(env, seed, self.env_config.success)
        self.control.beat(self.rank)
        self.replay.begin_episode()
        if self.alone:
            self.record = EpisodeRecord.of(env)
        return play

    def new_film(self, play: Play) -> Filming | None:
        """Of this episode, if a page has asked for one or a person steers."""
        steered = self.hand is not None and self.hand.attends(self.rank)
        if self.reels is None or not (steered or self.reels.asked(self.rank)):
            return None
        film = Filming(self.reels, self.rank, play.env)
        film.begin()
        return film

    def choose(self, observation: np.ndarray) -> np.ndarray:
        """Uniform in [-1, 1] during the warm-up, then the policy's sample; at once if an offline phase has
        trained the policy.
        """
        if self.control.total(STEPS) < self.config.warmup_steps and self.control.total(OFFLINE_UPDATES) == 0:
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
        lead, pause = self.lead * self.config.workers * self.config.update_ratio, WAIT_POLL
        while self.owed() - 1 > lead and not self.control.paused() and not self.control.stopped():
            self.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)  # whoever looks all the time takes the processor from it
