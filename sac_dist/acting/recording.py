"""Recording demonstrations: episodes of the scripted expert, of chance, of a trained policy or of a script of
the user's, kept transition by transition.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import envs
from envs.backends.base import BackendError
from envs.tasks.expert import Expert
from sac_dist import __version__
from sac_dist.acting.environment import close, make_env, with_absolute_paths
from sac_dist.acting.episode import TRAINING_SEEDS, Episode, run_episode
from sac_dist.acting.interface import notes_on
from sac_dist.acting.observation import check_policy_fits, schema_of
from sac_dist.acting.playback import find_policy, silent
from sac_dist.data.transitions import Transitions
from sac_dist.settings import ConfigError, EnvConfig
from sac_dist.storage.checkpoint import Checkpoint
from sac_dist.storage.hub import is_remote
from sac_dist.system.signals import STOPPING

DEMONSTRATION_SEEDS = (
    2 * TRAINING_SEEDS
)  # training stays below 2**30, evaluation counts up from there and comes nowhere near this
LEAST_TRIES, TRIES_PER_EPISODE = 20, 10  # after so many tries a policy that does not succeed is given up
WORDS = ("expert", "random")  # policies that are no file
BY_SIGNAL = [128 + number for number in STOPPING]  # how a command that is told to stop leaves
SCRIPT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")  # package.module:Name

Act = Callable[[np.ndarray], np.ndarray]  # (O,) float32 → (A,) float32 in [-1, 1]


class RecordingInterrupted(KeyboardInterrupt):
    """Ctrl-C, after the whole episodes of ``demos``."""

    def __init__(self, demos: Transitions) -> None:
        super().__init__()
        self.demos = demos


def demonstration_seed(seed: int, index: int) -> int:
    """The reset seed, in [2**31, 2**31 + 2**30), of try ``index`` (0, 1, …): never one of training's or of
    evaluation's.
    """
    return DEMONSTRATION_SEEDS + int(
        np.random.SeedSequence((seed, index)).generate_state(1)[0] % TRAINING_SEEDS
    )


def record(
    config: EnvConfig,
    policy: str | Path,
    episodes: int,
    seed: int = 0,
    only_success: bool | None = None,
    on_episode: Callable[[int, Episode], None] = lambda index, episode: None,
    note: Callable[[str], None] = silent,
) -> Transitions:
    """Play ``policy`` until ``episodes`` episodes are kept, and return those; the same call returns the same
    bytes.

    ``policy`` is "expert" (the script in envs/tasks/expert.py), "random" (uniform in [-1, 1]), a script of
    the user's, or a run folder, a checkpoint or the book's prefix. A trained policy acts by its mean, in its
    own environment changed where ``config`` says, as in ``play``. A script is "package.module:Name", which is
    called with the environment at each episode's first step, and gives a function from the observation (O,)
    to the action (A,) in [-1, 1].

    ``only_success`` keeps the successful episodes alone. At None this is so for the expert; a script and a
    trained policy lose the episodes that the environment calls failed, and "random" loses none.
    ``on_episode`` is told of every try, kept or not, with its index, and ``note`` before the first of what a
    user has to read.

    The result's ``source``: "env" (``EnvConfig.flat``, with the real id and simulator), "policy", "seed",
    "episodes tried" and "sac_dist" (the version).

    Raises ConfigError, in one line, for an environment or policy that is not there or does not work, a policy
    or a script's action that does not fit the environment, a number that is not finite, and where
    max(20, 10 ``episodes``) tries do not hold enough successes. Ctrl-C raises RecordingInterrupted with the
    episodes that were kept, if there are any.
    """
    if episodes < 1:
        raise ConfigError(f"episodes is {episodes}: it must be above 0")
    if seed < 0:
        raise ConfigError(f"seed is {seed}: it must not be negative")
    policy = str(policy)
    checkpoint = None if policy in WORDS or _is_script(policy) else _read_policy(policy)
    config = resolved(config if checkpoint is None else config.over(checkpoint.config.env))
    env = Recorder(make_env(config))
    try:
        act_of = _act_of(policy, checkpoint, env, config.name)
        for line in notes_on(env, config.name):
            note(line)
        return collect(
            env,
            config,
            episodes,
            seed,
            act_of,
            lambda success: _is_wanted(success, policy, only_success),
            # not the path, which only this machine knows
            policy if checkpoint is None else Path(policy).resolve().name,
            on_episode,
        )
    finally:
        close(env)


def collect(
    env: Recorder,
    config: EnvConfig,
    episodes: int,
    seed: int,
    act_of: Callable[[int], Act],
    is_wanted: Callable[[bool | None], bool],
    policy: str,
    on_episode: Callable[[int, Episode], None],
) -> Transitions:
    """Play until ``episodes`` episodes are wanted, and return those. ``act_of(reset_seed)`` is asked before
    the reset for what acts in that episode; ``policy`` is the source's name.

    Raises ConfigError and RecordingInterrupted as :func:`record` does.
    """
    kept: list[Transitions] = []
    tried: list[bool | None] = []  # the success of each try
    success: list[bool | None] = []  # of each kept one
    try:
        while len(kept) < episodes:
            if len(tried) == max(LEAST_TRIES, TRIES_PER_EPISODE * episodes):
                raise ConfigError(_too_few(config.name, policy, episodes, tried))
            reset_seed = demonstration_seed(seed, len(tried))
            episode = run_episode(env, act_of(reset_seed), reset_seed, success=config.success)
            if len(env.steps) != episode.length:
                raise ConfigError(
                    f"the policy {policy} steps or resets the environment itself: it must only give actions"
                )
            on_episode(len(tried), episode)
            tried.append(episode.success)
            if is_wanted(episode.success):
                kept.append(env.episode(config.name))
                success.append(episode.success)
    except KeyboardInterrupt:
        if not success:
            raise
        done = len(success)  # it may have come between the two lists
        raise RecordingInterrupted(
            of_episodes(kept[:done], success, config, policy, seed, len(tried))
        ) from None
    return of_episodes(kept, success, config, policy, seed, len(tried))


def of_episodes(
    kept: Sequence[Transitions],
    success: Sequence[bool | None],
    config: EnvConfig,
    policy: str,
    seed: int,
    tried: int,
) -> Transitions:
    """Episodes that were recorded now, ``tried`` being how many were played for them."""
    return replace(
        Transitions.concatenate(kept),
        # an environment may speak of success only where there is one
        success=None if all(one is None for one in success) else np.array([bool(one) for one in success]),
        source={
            "env": config.flat(),
            "policy": policy,
            "seed": seed,
            "episodes tried": tried,
            "sac_dist": __version__,
        },
    )


class Recorder(gymnasium.Wrapper):
    """Keeps the present episode's transitions; as copies, since an environment may write each observation
    into the same array.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.schema = schema_of(env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self.observations = [np.array(observation, np.float32)]
        self.steps: list[tuple[np.ndarray, float, bool, bool]] = []  # action, reward, terminated, truncated
        return self.observations[0], info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        taken = np.array(action, np.float32)
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.observations.append(np.array(observation, np.float32))
        self.steps.append((taken, float(reward), bool(terminated), bool(truncated)))
        return self.observations[-1], float(reward), terminated, truncated, info

    def cut(self) -> None:
        """The episode ends with its last step."""
        action, reward, terminated, _ = self.steps[-1]
        self.steps[-1] = action, reward, terminated, not terminated

    def episode(self, name: str) -> Transitions:
        """The episode's transitions. Raises ConfigError if a number in it is not finite."""
        actions, rewards, terminated, truncated = zip(*self.steps, strict=True)
        observations = np.array(self.observations)
        numbers = self.schema.numbers_of(observations)
        rows = self.schema.rows(
            {
                "observation": numbers[:-1],
                "action": actions,
                "reward": rewards,
                "next_observation": numbers[1:],
                "terminated": terminated,
                "truncated": truncated,
            }
        )
        for kind, array in self.schema.views(rows).items():
            if not np.isfinite(array).all():
                raise ConfigError(
                    f"{name} cannot be recorded: an episode has a number in {kind} that is not finite"
                )
        frames = self.schema.newest_frames(observations) if self.schema.pictures else None
        return Transitions(self.schema, rows, np.zeros(1, np.int64), frames=frames)


def _is_script(policy: str) -> bool:
    return SCRIPT.fullmatch(policy) is not None and not os.path.exists(policy)


def _read_policy(path: str) -> Checkpoint:
    if not is_remote(path) and not os.path.exists(path) and not os.path.exists(f"{path}_policy"):
        raise ConfigError(
            f"there is no policy {path}: give expert, random, a script of yours as package.module:Name, or a "
            "run folder, a checkpoint or the book's prefix"
        )
    return find_policy(path, "auto")[1]


def resolved(config: EnvConfig) -> EnvConfig:
    """With the real id and simulator in place of "auto", and files by their whole names."""
    if not isinstance(config.id, str):
        return config
    try:
        found = envs.resolve(config.id, config.kwargs)
    except (BackendError, ValueError) as error:
        raise ConfigError(str(error)) from error
    simulator = {} if found.backend is None else {"backend": found.backend}
    kwargs = with_absolute_paths(config.kwargs)
    return replace(config, id=found.id, kwargs={**kwargs, **simulator})


def _act_of(
    policy: str, checkpoint: Checkpoint | None, env: gymnasium.Env, name: str
) -> Callable[[int], Act]:
    """From the reset seed of an episode to the function that acts in it. Raises ConfigError if the policy
    does not fit ``env``.
    """
    if checkpoint is not None:
        check_policy_fits(checkpoint.schema, env, name)
        agent = checkpoint.build_agent()
        return lambda reset_seed: lambda observation: agent.act(observation, deterministic=True)
    if policy == "expert":
        try:
            expert = Expert(env)
        except ValueError as error:
            raise ConfigError(f"no expert for {name}: {error}") from error
        return lambda reset_seed: lambda observation: expert.act()
    assert env.action_space.shape is not None
    size = env.action_space.shape
    if policy not in WORDS:
        return _of_script(policy, env, size)

    def random_act(reset_seed: int) -> Act:
        # the pair, since the environment draws its start from the seed alone: actions from the same draws
        # would depend on it
        generator = np.random.default_rng((reset_seed, 1))
        return lambda observation: generator.uniform(-1, 1, size).astype(np.float32)

    return random_act


def _of_script(script: str, env: gymnasium.Env, size: tuple[int, ...]) -> Callable[[int], Act]:
    """What the script acts by, with one line for whatever it does wrong."""
    module, _, name = script.partition(":")
    with _told(f"the policy {script} does not load"):
        make = getattr(importlib.import_module(module), name)

    def begin(reset_seed: int) -> Act:
        script_act: Act | None = None

        def act(observation: np.ndarray) -> np.ndarray:
            nonlocal script_act
            with _told(f"the policy {script} fails"):
                if script_act is None:
                    script_act = make(env)
                    if not callable(script_act):
                        raise TypeError(
                            f"it gives {type(script_act).__name__}, not a function, for an environment"
                        )
                given = script_act(observation)
                action = np.asarray(given)
            if action.dtype.kind not in "biuf" or action.shape != size:
                raise ConfigError(
                    f"the policy {script} gives {type(given).__name__} of shape {action.shape}: an action is "
                    f"numbers of shape {size}"
                )
            if not (abs(action) <= 1).all():
                raise ConfigError(
                    f"the policy {script} gives {action.min():.3g} … {action.max():.3g}: an action lies in "
                    "[-1, 1], which is scaled to the environment's range"
                )
            return action.astype(np.float32)

        return act

    return begin


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Whatever code of the user's raises becomes a line; what a signal raises stays."""
    try:
        yield
    except Exception as error:
        raise ConfigError(f"{what}: {type(error).__name__}: {error}") from error
    except SystemExit as error:
        if error.code in BY_SIGNAL:
            raise
        raise ConfigError(f"{what}: SystemExit: {error.code}") from error


def _is_wanted(success: bool | None, policy: str, only_success: bool | None) -> bool:
    if only_success is None and policy not in WORDS:
        return success is not False  # None: an environment that knows no success, so nothing to choose by
    return bool(success) or not (policy == "expert" if only_success is None else only_success)


def _too_few(name: str, policy: str, episodes: int, tried: Sequence[bool | None]) -> str:
    if all(success is None for success in tried):
        return f"{name} does not say whether an episode succeeds: record it with --no-only-success"
    return (
        f"only {sum(map(bool, tried))} of {len(tried)} episodes of {name} succeed with the policy {policy}, "
        f"and {episodes} are asked for"
    )
