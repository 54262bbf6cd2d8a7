"""The command line: ``python -m sac_dist --train``, ``--offline DATA``, ``--resume RUN``, ``--test`` and the
tools around them.

Every field of the configuration (config.py) is a flag with its help text; a YAML file holds the same names.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import typing
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml

from sac_dist.settings import (
    OFFLINE,
    AgentConfig,
    ClusterConfig,
    Config,
    ConfigError,
    DataConfig,
    EnvConfig,
    TrainConfig,
)

SECTIONS = {
    "env": EnvConfig,
    "agent": AgentConfig,
    "train": TrainConfig,
    "data": DataConfig,
    "cluster": ClusterConfig,
}
BOOK = {
    **{"hidden_width": 512, "hidden_depth": 4, "critic_depth": 3, "layer_norm": False},
    **{"actor_lr": 3e-4, "critic_lr": 3e-4, "alpha_lr": 3e-4},
}
PRESETS = {"book": BOOK, "offline": OFFLINE}
# What may change when a run goes on: what to do with the time, and the sizes of the steps, not what is
# learned.
RESUMABLE = {
    "train": (
        *(
            "steps",
            "episodes",
            "time",
            "success_target",
            "workers",
            "eval_interval",
            "eval_episodes",
            "checkpoint_interval",
        ),
        *("keep_interval", "step_timeout", "worker_memory", "compile", "device", "engine", "wandb", "video"),
    ),
    "agent": ("actor_lr", "critic_lr", "alpha_lr", "grad_clip"),
    "data": ("offline_steps", "demos", "offline"),  # the files by new names
    "cluster": tuple(option.name for option in fields(ClusterConfig)),
}
SCALARS = (str, int, float, date)  # what a text in YAML can come to
MODES = ("train", "offline", "test", "resume", "record_demos", "convert", "inspect", "export_book", "doctor")


class Parser(argparse.ArgumentParser):
    """argparse, with an error that is one line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 when training failed, 2 for a mistake of the caller,
    128 + signal.
    """
    try:
        given = parse(sys.argv[1:] if arguments is None else arguments)
        return run(given)
    except ConfigError as error:
        print(f"sac-dist: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def build_parser() -> Parser:
    parser = Parser(
        prog="sac-dist", description=__doc__, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    modes = parser.add_argument_group("what to do (one of these)")
    modes.add_argument("--train", action="store_true", help="train a policy")
    modes.add_argument(
        "--offline", nargs="+", metavar="DATA", help="train from data alone: files, run folders or minari:ID"
    )
    modes.add_argument("--resume", type=Path, metavar="RUN", help="go on with the run in this folder")
    modes.add_argument(
        "--test",
        action="store_true",
        help="show a policy: in a window, or where there is no display in an mp4",
    )
    modes.add_argument(
        "--record-demos", type=int, metavar="N", help="record N episodes of --policy into --out"
    )
    modes.add_argument(
        "--convert", nargs=2, metavar=("IN", "OUT"), help="change demonstrations to the format of OUT's name"
    )
    modes.add_argument(
        "--inspect",
        nargs="+",
        metavar="FILE",
        help="print what demonstrations hold, and draw it into FILE.png",
    )
    modes.add_argument(
        "--export-book", type=Path, metavar="PREFIX", help="write the policy in the book's format"
    )
    modes.add_argument(
        "--doctor",
        action="store_true",
        help="what this machine has, what --env auto takes, how to get what is missing",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML file with settings by the flags' names; flags win over it",
    )
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        help="book: networks (4 layers of 512) and step sizes of the book; offline: what --offline "
        "takes by itself (README)",
    )
    parser.add_argument(
        "--episodes",
        type=int,
        metavar="N",
        help="train: stop after so many episodes; test: episodes to show (default 30)",
    )
    test = parser.add_argument_group("showing a policy")
    test.add_argument(
        "--model",
        type=Path,
        metavar="PATH",
        help="run folder, file or the book's prefix; default: newest run, else models/",
    )
    test.add_argument(
        "--video",
        type=Path,
        nargs="?",
        const=True,
        metavar="FILE.mp4",
        help="test: write a video instead of opening a window; train: film the final policy (default)",
    )
    test.add_argument("--no-video", dest="video", action="store_false", help="train: no film at the end")
    test.add_argument("--no-render", action="store_true", help="only measure: no window, no video")
    test.add_argument(
        "--deterministic",
        action=argparse.BooleanOptionalAction,
        help="act by the policy's mean (default) or sample from it",
    )
    record = parser.add_argument_group("recording demonstrations")
    record.add_argument(
        "--policy", metavar="POLICY", help="expert (default), random, or a policy as --model takes it"
    )
    record.add_argument(
        "--out", type=Path, metavar="FILE", help="file to write, new; its suffix names the format"
    )
    record.add_argument(
        "--only-success",
        action=argparse.BooleanOptionalAction,
        help="keep successes only (default, but for random)",
    )
    titles = {
        "env": "environment",
        "agent": "SAC and CQL",
        "train": "training",
        "data": "demonstrations and offline phases",
    }
    titles["cluster"] = "cluster (--engine ray)"
    for name, section in SECTIONS.items():
        group = parser.add_argument_group(titles[name])
        hints = typing.get_type_hints(section)
        for option in fields(section):
            if option.name not in ("episodes", "offline", "video"):  # these are above
                add_flag(group, option, hints[option.name])
    return parser


def add_flag(group: Any, option: Field[Any], hint: Any) -> None:
    """The flag of one configuration field: ``--its-name``, with its type, choices, help and default."""
    flag = "--" + option.name.replace("_", "-")
    kinds = (
        [kind for kind in typing.get_args(hint) if kind is not type(None)]
        if type(None) in typing.get_args(hint)
        else [hint]
    )
    kind = kinds[0]
    default = "" if option.default in (None, MISSING) else f" (default: {option.default})"
    help = option.metadata["help"].replace("%", "%%")
    if kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, help=help)
    elif typing.get_origin(kind) is Literal:
        group.add_argument(flag, choices=typing.get_args(kind), help=help + default)
    elif typing.get_origin(kind) is tuple:
        group.add_argument(flag, nargs="+", metavar="FILE", help=help)
    else:
        group.add_argument(flag, type=kind, metavar=kind.__name__.upper(), help=help + default)


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """The settings that were given, by name: file first, flags over it. Raise ConfigError on anything
    unknown.
    """
    parser = build_parser()
    flags = vars(parser.parse_args(arguments))
    settings: dict[str, Any] = {}
    if "config" in flags:
        settings = vars(parser.parse_args(read_settings(flags.pop("config"))))
    if "preset" in flags:
        settings |= PRESETS[flags.pop("preset")]
    return settings | flags


def read_settings(path: Path) -> list[str]:
    """A YAML file's settings as flags, so that one parser checks both."""
    try:
        settings = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"{path} holds no settings: lines such as 'workers: 2' are expected")
    arguments = []
    for name, value in settings.items():
        flag = str(name).replace("_", "-")
        if not all(
            part is None or isinstance(part, SCALARS)
            for part in (value if isinstance(value, list) else [value])
        ):
            raise ConfigError(
                f"{path}: {name} is neither a text, a number, true or false, nor a list of such"
            )
        if isinstance(value, bool):
            arguments.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            arguments += [f"--{flag}", *map(str, value)] if value else []
        elif value is not None:
            arguments.append(f"--{flag}={value}")
    return arguments


def run(given: dict[str, Any]) -> int:
    modes = [mode for mode in MODES if given.get(mode, False) is not False]
    if len(modes) != 1:
        raise ConfigError(
            f"give exactly one of {flags_of(MODES, ' or ')}; got {flags_of(modes, ' and ') or 'none'}"
        )
    settings = {name: value for name, value in given.items() if name not in MODES}
    actions: dict[str, Callable[[dict[str, Any], Any], int]] = {
        "train": run_train,
        "offline": run_offline,
        "resume": run_resume,
        "test": run_test,
        "record_demos": run_record,
        "convert": run_convert,
        "inspect": run_inspect,
        "export_book": run_export,
        "doctor": run_doctor,
    }
    return actions[modes[0]](settings, given[modes[0]])


def flags_of(names: Sequence[str], joint: str) -> str:
    return joint.join("--" + name.replace("_", "-") for name in names)


def take(settings: dict[str, Any], section: type) -> Any:
    """The configuration section made from its settings, which leave ``settings``."""
    names = [option.name for option in fields(section) if option.name in settings]
    values = {name: settings.pop(name) for name in names}
    return section(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )


def refuse_rest(settings: dict[str, Any], mode: str) -> None:
    if settings:
        raise ConfigError(f"--{next(iter(settings)).replace('_', '-')} has no meaning with --{mode}")


def run_train(settings: dict[str, Any], _: Any) -> int:
    return train_as(settings, "train")


def run_offline(settings: dict[str, Any], data: list[str]) -> int:
    online = "steps", "episodes", "update_ratio", "warmup_steps", "actor_warmup_steps"
    for name in (*online, "demos", "demo_mode", "demo_ratio", "demo_anneal"):
        if name in settings:
            refuse_rest({name: None}, "offline")
    return train_as(OFFLINE | settings | {"offline": data}, "offline")


def train_as(settings: dict[str, Any], mode: str) -> int:
    refuse_film_name(settings, mode)
    config = Config(*(take(settings, section) for section in SECTIONS.values()))
    refuse_rest(settings, mode)
    from sac_dist.engine.start_method import start_early

    start_early(config.train.compiles)
    from sac_dist.engine.train import (
        train,  # torch takes seconds to load: not before the flags are known to be right
    )

    return finish(lambda: train(config))


def refuse_film_name(settings: dict[str, Any], mode: str) -> None:
    if isinstance(settings.get("video"), Path):
        raise ConfigError(
            f"--video FILE has no meaning with --{mode}: the film lies in the run folder's videos/"
        )


def run_resume(settings: dict[str, Any], path: Path) -> int:
    refuse_film_name(settings, "resume")
    fixed = [name for name in settings if not any(name in names for names in RESUMABLE.values())]
    if fixed:
        raise ConfigError(f"--{fixed[0].replace('_', '-')} cannot change when a run is resumed")
    from sac_dist.engine.train import read_run, resume

    config = resumed(read_run(path).config, settings)
    return finish(lambda: resume(path, config))


def resumed(config: Config, settings: dict[str, Any]) -> Config:
    """The configuration of a run with what ``settings`` change; the other engine's own settings are left
    behind with it.
    """
    sections = {name: getattr(config, name) for name in SECTIONS}
    if "demos" in settings:
        if not config.data.files:
            raise ConfigError("the run began without demonstrations: --demos cannot give it some")
        role = "offline" if config.data.offline else "demos"
        others = {name: value for name, value in settings.items() if name != "demos"}
        settings = {**others, role: tuple(settings["demos"])}
    if settings.get("engine", config.train.engine) == "local":
        sections["cluster"] = ClusterConfig()
    elif config.train.learner == "workers":  # on a cluster the learner is central
        sections["train"] = replace(sections["train"], learner=None)
    for section, names in RESUMABLE.items():
        sections[section] = replace(
            sections[section], **{name: settings[name] for name in names if name in settings}
        )
    return Config(**sections)


def finish(train: Any) -> int:
    from sac_dist.engine.outcome import TrainingFailed

    try:
        reason = train().outcome.reason
    except TrainingFailed as error:
        print(f"sac-dist: {error}", file=sys.stderr)
        return 1
    return 128 + signal.Signals[reason] if reason in signal.Signals.__members__ else 0


def run_test(settings: dict[str, Any], _: Any) -> int:
    episodes = settings.pop("episodes", 30)
    if episodes < 1:
        raise ConfigError(f"--episodes is {episodes}: it must be above 0")
    overrides = take(settings, EnvConfig)
    model, video = settings.pop("model", None), settings.pop("video", None)
    deterministic, render = settings.pop("deterministic", True), not settings.pop("no_render", False)
    refuse_rest(settings, "test")
    if isinstance(video, bool):
        raise ConfigError("--test takes --video FILE.mp4, or --no-render for neither video nor window")
    if video is not None and not render:
        raise ConfigError("--video and --no-render contradict each other")
    from envs.backends.choice import has_display
    from sac_dist.acting.playback import find_policy, play
    from sac_dist.acting.rollout import NoPicture

    path, policy = find_policy(model, overrides.env)
    print(f"policy {path}: {policy.config.env.env}, {policy.info.get('steps', '?')} training steps")
    wanted = video is not None
    if render and video is None and not has_display():
        video = Path("rollout.mp4")
        print(f"no display: writing {video} instead")
    try:
        evaluation = play(
            policy, overrides, episodes, deterministic, video, render and video is None, show_episode
        )
    except NoPicture as error:
        if wanted:
            raise
        print(f"no picture, the policy is measured without: {' '.join(str(error).split())}")
        video = None
        evaluation = play(policy, overrides, episodes, deterministic, on_episode=show_episode)
    print(evaluation)
    if video is not None:
        print(f"video {video}")
    return 0


def show_episode(index: int, episode: Any) -> None:
    verdict = "" if episode.success is None else "  success" if episode.success else "  failure"
    print(
        f"episode {index + 1:>4}  return {episode.total_reward:>9.2f}  {episode.length:>4} steps{verdict}",
        flush=True,
    )


def run_record(settings: dict[str, Any], episodes: int) -> int:
    config = take(settings, EnvConfig)
    policy, out = settings.pop("policy", "expert"), settings.pop("out", None)
    seed, only_success = settings.pop("seed", 0), settings.pop("only_success", None)
    refuse_rest(settings, "record-demos")
    if episodes < 1:
        raise ConfigError(f"--record-demos is {episodes}: it must be above 0")
    if out is None:
        raise ConfigError("--record-demos needs --out FILE, such as --out demos.npz")
    from sac_dist.acting.recording import record
    from sac_dist.formats import files
    from sac_dist.reporting.describe import describe

    files.check_new(out)
    demos = record(config, policy, episodes, seed, only_success, show_episode)
    files.write(demos, out)
    print(describe(demos, str(out)))
    return 0


def run_convert(settings: dict[str, Any], names: list[str]) -> int:
    refuse_rest(settings, "convert")
    from sac_dist.formats import files

    source, target = names
    files.check_new(target)
    demos = files.read(source)
    files.write(demos, target)
    print(f"{target}: {len(demos):,} transitions, {len(demos.ends):,} episodes")
    if (note := files.notes(demos, source)) is not None:
        print(note)
    return 0


def run_inspect(settings: dict[str, Any], names: list[str]) -> int:
    refuse_rest(settings, "inspect")
    from sac_dist.formats import files
    from sac_dist.reporting.describe import describe, draw

    for name in names:
        demos = files.read(name)
        picture = Path(Path(name.removeprefix("minari:")).resolve().name + ".png")
        draw(demos, picture)
        show(f"{describe(demos, name)}\npicture {picture}")
    return 0


def run_export(settings: dict[str, Any], prefix: Path) -> int:
    model = settings.pop("model", None)
    refuse_rest(settings, "export-book")
    from sac_dist.acting.playback import find_policy
    from sac_dist.book.policy_files import save_book_policy

    path, policy = find_policy(model, "auto")
    save_book_policy(policy.build_agent(), prefix)
    print(f"{path} written as {prefix}_q1, {prefix}_q2, {prefix}_policy")
    return 0


def run_doctor(settings: dict[str, Any], _: Any) -> int:
    refuse_rest(settings, "doctor")
    from sac_dist.cli import doctor

    show(doctor.report())
    return 0


def show(text: str) -> None:
    """Print what may be piped into a program that reads its first lines alone."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # the interpreter flushes it once more at its end
