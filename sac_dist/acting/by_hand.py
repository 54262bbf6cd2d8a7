"""Demonstrations by a person's hand, in real time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from envs.backends.base import CONTROL_TIMESTEP
from envs.tasks.steering import Steering
from sac_dist.acting.environment import close, make_env
from sac_dist.acting.episode import Episode, Play
from sac_dist.acting.hand import (
    DISCARD,
    DONE,
    FAILED,
    LEFT,
    MOVES,
    NOBODY,
    REDO,
    SHOWN,
    STANDS,
    SUCCEEDED,
    Command,
    Hand,
    Pace,
)
from sac_dist.acting.interface import notes_on
from sac_dist.acting.playback import silent
from sac_dist.acting.recording import Recorder, demonstration_seed, of_episodes, resolved
from sac_dist.acting.reels import Filming, Reels
from sac_dist.data.transitions import Transitions
from sac_dist.settings import ConfigError, EnvConfig

HORIZON = 600  # steps of an episode, 30 s: people are slower than policies
LOOK = 0.02  # s between looks for the first motion


class NoHand(Exception):
    """Who steers has left in the middle of an episode."""


def record_by_hand(
    config: EnvConfig,
    hand: Hand,
    reels: Reels,
    episodes: int,
    keep: Callable[[Transitions], None],
    seed: int = 0,
    only_success: bool = True,
    on_episode: Callable[[int, Episode], None] = lambda index, episode: None,
    note: Callable[[str], None] = silent,
    quicker: float = 1.0,
    attended: Callable[[], bool] = lambda: True,
) -> None:
    """Let ``hand`` play until ``episodes`` episodes are kept, or nobody will come who holds it, which
    ``attended`` says; ``keep`` gets all of them after each.

    An episode begins with the first motion. It is kept if it succeeds, or whatever comes of it with
    ``only_success`` false, and if DONE ends it; DISCARD goes on to another start, REDO plays the same again.
    One that the hand leaves in its middle is discarded. All are filmed on the first of ``reels``.
    ``quicker``: times the real robot's speed.

    Raises ConfigError for an environment that does not work or has no tool to steer, and for a number that is
    not finite.
    """
    config = resolved(config)
    long = config if config.horizon is not None else replace(config, horizon=HORIZON)
    env = Recorder(make_env(long))
    try:
        try:
            steering = Steering(env)
        except ValueError as error:
            raise ConfigError(f"--policy human: {error}") from None
        for line in notes_on(env, config.name):
            note(line)
        kept: list[Transitions] = []
        success: list[bool | None] = []
        session = _Session(env, long, steering, hand, Filming(reels, 0, env), episodes, quicker, attended)
        tried = start = 0
        while len(kept) < episodes and attended():
            episode = None
            try:
                episode = session.play(demonstration_seed(seed, start), len(kept))
            except NoHand:
                note("who steered has left: the episode is discarded")
            start += not session.again
            if episode is None:
                continue
            on_episode(tried, episode)
            tried += 1
            wanted = session.done or bool(episode.success) or not only_success
            if wanted:
                kept.append(env.episode(config.name))
                success.append(episode.success)
                keep(of_episodes(kept, success, config, "human", seed, tried))
            session.show_end(wanted, len(kept))
    finally:
        close(env)


class _Session:
    def __init__(
        self,
        env: Recorder,
        config: EnvConfig,
        steering: Steering,
        hand: Hand,
        film: Filming,
        wanted: int,
        quicker: float,
        attended: Callable[[], bool],
    ) -> None:
        self.env, self.config, self.steering, self.hand, self.film = env, config, steering, hand, film
        self.wanted, self.quicker, self.attended = wanted, quicker, attended
        self.done = self.again = False  # how the last episode ended

    def play(self, seed: int, kept: int) -> Episode | None:
        """One episode; None: it is not wanted. Raises NoHand."""
        self.done = self.again = False
        self._pressed = {button: self.hand.presses(button) for button in (DONE, DISCARD, REDO, LEFT)}
        play = Play(self.env, seed, self.config.success)
        self.film.begin()
        command = self._first_motion(kept)
        if command is None:
            return None
        pace = Pace(CONTROL_TIMESTEP / self.quicker)
        while True:
            play.step(self.steering.action(command.motion, command.opening))
            self.film.add()
            self.hand.tell(MOVES, self.steering.seen(), kept, self.wanted)
            if play.over or self._is_pressed(DONE):
                break
            if self._is_left():
                return None
            pace.wait(self.hand.speed)
            following = self.hand.command()
            if following is None or self._is_pressed(LEFT) or not self.attended():
                self.again = True
                raise NoHand
            command = following
        self.done = not play.over
        if self.done:
            self.env.cut()
        episode = play.episode()
        self.film.end(episode.total_reward, episode.success)
        return episode

    def show_end(self, kept: bool, count: int) -> None:
        self.hand.tell(SUCCEEDED if kept else FAILED, self.steering.seen(), count, self.wanted)
        time.sleep(SHOWN / self.quicker)

    def _first_motion(self, kept: int) -> Command | None:
        """None: another start is wanted, or nobody will come."""
        while self.attended():
            command = self.hand.command()
            seen = self.steering.seen()
            self.hand.tell(NOBODY if command is None else STANDS, seen, kept, self.wanted)
            if command is not None and np.any(command.motion):
                return command
            if self._is_left():
                return None
            time.sleep(LOOK / self.quicker)
        return None

    def _is_pressed(self, button: int) -> bool:
        return self.hand.presses(button) != self._pressed[button]

    def _is_left(self) -> bool:
        """Whether the person wants another episode instead, or the same again."""
        self.again = self._is_pressed(REDO)
        return self.again or self._is_pressed(DISCARD)
