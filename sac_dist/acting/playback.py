"""Showing what a policy does: the call behind ``--test``."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from envs import resolve
from sac_dist.acting.environment import close, make_env
from sac_dist.acting.episode import Episode, check_picture, run_episode
from sac_dist.acting.evaluation import Evaluation, evaluation_seed
from sac_dist.acting.inset import Inset
from sac_dist.acting.interface import notes_on
from sac_dist.acting.observation import check_policy_fits
from sac_dist.acting.video import video_writer
from sac_dist.book.policy_files import load_book_policy
from sac_dist.settings import Config, ConfigError, EnvConfig, check_path
from sac_dist.storage import hub
from sac_dist.storage.checkpoint import Checkpoint, read
from sac_dist.storage.run_folder import RunFolder, newest_runs
from sac_dist.system.files import models_dir

DEFAULT_FPS = 30


def silent(line: str) -> None:
    """Tells nobody."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after the whole episodes of ``evaluation``."""

    def __init__(self, evaluation: Evaluation) -> None:
        super().__init__()
        self.evaluation = evaluation


def play(
    policy: Checkpoint,
    overrides: EnvConfig,
    episodes: int,
    deterministic: bool = True,
    video: Path | None = None,
    window: bool = False,
    on_episode: Callable[[int, Episode], None] = lambda index, episode: None,
    note: Callable[[str], None] = silent,
    first: int = 0,
) -> Evaluation:
    """Play the fixed unseen episodes ``first`` … ``first + episodes`` - 1 in the policy's own environment,
    changed where ``overrides`` says.

    Draws into ``video`` (an mp4) or a window if asked. ``note`` gets lines that a user has to read first.
    Ctrl-C after the first episode raises Interrupted, and the film is there as far as it went.
    Raise ConfigError if the policy does not fit the environment, and NoPicture, before the first step, where
    the environment cannot be drawn.
    """
    config = overrides.over(policy.config.env)
    video = None if video is None else video.absolute()  # an environment may change the folder
    if not window:
        os.environ.setdefault(
            "SDL_VIDEODRIVER", "dummy"
        )  # what draws gymnasium's classic tasks needs no screen then
    env = make_env(config, "rgb_array" if video is not None else "human" if window else None)
    try:
        check_policy_fits(policy.schema, env, config.name)
        agent = policy.build_agent()
        if policy.schema.pictures:
            env = Inset(env)
        if env.render_mode is not None:
            check_picture(env, evaluation_seed(0))
        for line in notes_on(env, config.name):
            note(line)

        def act(observation: np.ndarray) -> np.ndarray:
            return agent.act(observation, deterministic=deterministic)

        played, interrupted = [], False
        with ExitStack() as stack:
            on_frame = None
            if video is not None:
                fps = env.metadata.get("render_fps", DEFAULT_FPS)
                on_frame = stack.enter_context(video_writer(video, fps))
            for index in range(episodes):
                seed = evaluation_seed(first + index)
                try:
                    played.append(run_episode(env, act, seed, on_frame, config.success))
                    on_episode(index, played[-1])
                except KeyboardInterrupt:
                    if not played:
                        raise
                    interrupted = True
                    break
    finally:
        close(env)
    evaluation = Evaluation.of(played)
    if interrupted:
        raise Interrupted(evaluation)
    return evaluation


class _FilmEnds(Exception):
    pass


def film(
    policy: Checkpoint, overrides: EnvConfig, path: Path, episodes: int, seconds: float, frames: int
) -> bool:
    """As ``play`` into a video, but at most so many seconds of drawing and so many frames; whether all
    episodes are in it whole.
    """
    deadline, left = math.inf, frames

    def in_time(append: Callable[[np.ndarray], None], frame: np.ndarray) -> None:
        nonlocal deadline, left
        append(frame)
        left -= 1
        if deadline == math.inf:  # drawing begins with the first frame: a simulator's start is not counted
            deadline = time.monotonic() + seconds
        if left == 0 or time.monotonic() > deadline:
            raise _FilmEnds

    config = overrides.over(policy.config.env)
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    env = make_env(config, "rgb_array")
    try:
        check_policy_fits(policy.schema, env, config.name)
        if policy.schema.pictures:
            env = Inset(env)
        act = partial(policy.build_agent().act, deterministic=True)
        with video_writer(path, env.metadata.get("render_fps", DEFAULT_FPS)) as append:
            try:
                for index in range(episodes):
                    run_episode(env, act, evaluation_seed(index), partial(in_time, append))
            except _FilmEnds:
                return False
    finally:
        close(env)
    return True


def find_policy(
    path: str | Path | None, env: str, note: Callable[[str], None] = silent
) -> tuple[str | Path, Checkpoint]:
    """The policy at ``path`` (run folder, checkpoint, the book's prefix, or hf://owner/name[/FILE] on the
    Hugging Face Hub), and where it is; without one, the newest run's, else a shipped one.

    ``env`` narrows the search without a path to that environment; "auto" does not, but of the shipped ones it
    takes the one for the environment that training would take. ``note`` gets a line for each newer run that
    has no policy which can be read. Raise ConfigError if nothing is found.
    """
    if path is None:
        for folder, model in newest_runs():
            if model is None:
                note(f"{folder.path} is passed over: it has no policy yet")
                continue
            try:
                policy = read(model)
            except ConfigError as error:
                note(f"{folder.path} is passed over: {error}")
                continue
            if env in ("auto", policy.config.env.id):
                return model, policy
        first = resolve("auto").id
        shipped = sorted(
            models_dir().glob("*.safetensors"), key=lambda model: (model.stem != first, model.stem)
        )
        for model in shipped:
            policy = read(model)
            if env in ("auto", policy.config.env.id):
                return model, policy
        raise ConfigError(
            f"no trained policy for {env} in runs/ or {models_dir()}: train one with --train, or name "
            "one with --model"
        )
    if isinstance(path, str) and hub.is_remote(path):
        note(f"asking {hub.hub_address()} for {path}")
        return path, read_remote(path)
    check_path(path)
    path = Path(path)
    if path.is_dir():
        folder = RunFolder(path)
        path = folder.best if folder.best.is_file() else folder.last
    elif not path.exists() and os.path.exists(f"{path}_policy"):  # False for too long a name
        return path, read_book(path)
    return path, read(path)


def read_remote(name: str) -> Checkpoint:
    """The policy hf://… from the local copy of its file. Raises ConfigError."""
    local = hub.download(name)
    try:
        return read(local)
    except ConfigError as error:
        raise ConfigError(str(error).replace(str(local), name)) from None


def read_book(prefix: Path) -> Checkpoint:
    """The book's three files, as a policy for its task: SawyerGrasp-v0 with its 17 observations and its fixed
    target.
    """
    agent = load_book_policy(prefix)
    env = EnvConfig(
        "SawyerGrasp-v0",
        {"observation": "book", "random_target": False, "random_yaw": False, "start": "book"},
    )
    config = Config(env=env, agent=agent.config)
    return Checkpoint(agent.state_dict(), agent.schema, config, {"from": str(prefix)})
