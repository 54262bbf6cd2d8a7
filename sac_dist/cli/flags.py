"""Every flag: what to do, and one for each field of the settings and each option of this package's tasks."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any, Literal, NoReturn

from sac_dist.cli.terminal import show
from sac_dist.settings import ConfigError, check_path
from sac_dist.settings.algorithms import ALGORITHMS, settings_class
from sac_dist.settings.config import SECTIONS
from sac_dist.settings.option import flag_of, options_of
from sac_dist.settings.presets import PRESETS
from sac_dist.storage.hub import is_remote

MODES = (
    *("train", "offline", "test", "resume", "record_demos", "convert", "inspect", "export", "export_book"),
    *("push_to_hub", "doctor", "check_robot", "optimize", "multiply_demos", "edit_demos"),
)
TITLES = {
    "env": "environment",
    "agent": "SAC",
    "train": "training",
    "data": "demonstrations and offline phases",
    "cluster": "cluster (--engine ray)",
}
DESCRIPTION = (
    "Train, show and convert policies and demonstrations; a YAML file (--config) holds the same names."
)


class Parser(argparse.ArgumentParser):
    """argparse, with an error that is one line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see --help)")

    def print_help(self, file: object = None) -> None:
        show(self.format_help().rstrip())


def spelled(name: str) -> str:
    """The flag of a name."""
    return "--" + name.replace("_", "-")


def task_options() -> dict[str, Any]:
    """The table of envs/options.py, read without the package around it: loading gymnasium takes longer than
    ``--help``.
    """
    if "envs.options" not in sys.modules:
        package = importlib.util.find_spec("envs")
        assert package is not None and package.submodule_search_locations
        path = Path(package.submodule_search_locations[0]) / "options.py"
        found = importlib.util.spec_from_file_location("envs.options", path)
        assert found is not None and found.loader is not None
        module = importlib.util.module_from_spec(found)
        sys.modules["envs.options"] = module
        found.loader.exec_module(module)
    options: dict[str, Any] = sys.modules["envs.options"].OPTIONS
    return options


def build_parser(own: Sequence[str] = ()) -> Parser:
    """``own``: algorithms beside those that have an entry."""
    parser = Parser(
        prog="sac-dist", description=DESCRIPTION, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    add_modes(parser)
    for name, section in SECTIONS.items():
        group = parser.add_argument_group(TITLES[name])
        hints = typing.get_type_hints(section)
        for option in options_of(section):
            if option.name not in ("episodes", "offline", "video"):  # these are above
                add_flag(group, option, hints[option.name])
    for section in dict.fromkeys(map(settings_class, (*own, *ALGORITHMS))):
        if options_of(section):
            add_algorithm(parser, section)
    group = parser.add_argument_group("options of the tasks of this package")
    for name, (kind, help, _) in task_options().items():
        if isinstance(kind, tuple):
            group.add_argument(spelled(name), choices=kind, help=help)
        else:
            add_plain(group, spelled(name), kind, help)
    return parser


def add_algorithm(parser: Parser, section: type) -> None:
    """The flags of an algorithm's own settings."""
    names = [name for name, entry in ALGORITHMS.items() if entry.settings is section]
    group = parser.add_argument_group(f"the algorithm {', '.join(names) or section.__name__}")
    hints = typing.get_type_hints(section)
    try:
        for option in options_of(section):
            add_flag(group, option, hints[option.name])
    except argparse.ArgumentError as error:
        raise ConfigError(f"{section.__module__}.{section.__name__}: {error}") from None


def add_modes(parser: Parser) -> None:
    modes = parser.add_argument_group("what to do (one of these)")
    modes.add_argument("--train", action="store_true", help="train a policy")
    modes.add_argument(
        "--offline",
        nargs="+",
        type=file_name,
        metavar="DATA",
        help="train from data alone: files, run folders, minari:ID or lerobot:FOLDER",
    )
    modes.add_argument("--resume", type=file_path, metavar="RUN", help="go on with the run in this folder")
    modes.add_argument(
        "--test",
        action="store_true",
        help="show a policy: in a window, or where there is no display in an mp4",
    )
    modes.add_argument(
        "--record-demos", type=int, metavar="N", help="record N episodes of --policy into --out"
    )
    modes.add_argument(
        "--multiply-demos",
        type=file_name,
        metavar="FILE",
        help="move the successful episodes in FILE to new places of the object until there are --to N that "
        "succeed, into --out",
    )
    modes.add_argument(
        "--edit-demos",
        type=file_name,
        metavar="FILE",
        help="choose (--keep, --drop) and cut (--trim) the episodes in FILE, or give them the task's sparse "
        "reward (--reward sparse), into --out",
    )
    modes.add_argument(
        "--convert",
        nargs=2,
        type=file_name,
        metavar=("IN", "OUT"),
        help="change demonstrations to the format of OUT's name",
    )
    modes.add_argument(
        "--inspect",
        nargs="+",
        type=file_name,
        metavar="FILE",
        help="print what demonstrations hold, and draw it into FILE.png",
    )
    modes.add_argument(
        "--export",
        type=file_path,
        metavar="FILE",
        help="write the policy as one file that runs without the trainer: .npz, .onnx or .pt2",
    )
    modes.add_argument(
        "--export-book", type=file_path, metavar="PREFIX", help="write the policy in the book's format"
    )
    modes.add_argument(
        "--push-to-hub",
        metavar="REPO",
        help="share the policy with a model card, its curve and a film as owner/name on the Hugging Face "
        "Hub, measured over --episodes (default 100) before",
    )
    modes.add_argument(
        "--doctor",
        action="store_true",
        help="what this machine has, what --env auto takes, how to get what is missing",
    )
    modes.add_argument(
        "--check-robot",
        type=file_name,
        metavar="ROBOT",
        help="print a robot's card, guessed from its MJCF file where it has none, draw it, try it; --out "
        "keeps the card. FILE.xml, FILE.yaml, a name of the MuJoCo Menagerie, ARM+GRIPPER@SITE, or sawyer",
    )
    modes.add_argument(
        "--optimize",
        type=int,
        metavar="TRIALS",
        help="search for settings with so many short runs of --steps, and write them into tuned/ "
        "(docs/tuning.md)",
    )
    parser.add_argument(
        "--ranges",
        type=file_path,
        metavar="FILE",
        help="optimize: YAML file of what is searched over, instead of the usual",
    )
    parser.add_argument(
        "--config",
        type=file_path,
        metavar="FILE",
        help="YAML file with settings by the flags' names; flags win over it",
    )
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        help="book: networks (4 layers of 512) and step sizes of the book; offline: what --offline "
        "takes by itself; rlpd, wsrl: going online with data, or from it (docs/offline.md); pixels: "
        "policies that see (docs/cameras.md); general, plain: what a "
        "task that nobody tuned takes by itself (docs/tuning.md); the others: "
        "published learners with their papers' numbers",
    )
    parser.add_argument(
        "--tuned",
        action=argparse.BooleanOptionalAction,
        help="train: take what is tuned for the environment, in tuned/ or in this package, else the preset "
        "general or plain (default); without: the defaults below",
    )
    parser.add_argument(
        "--episodes",
        type=int,
        metavar="N",
        help="train: stop after so many episodes; test: episodes to show (default 30)",
    )
    parser.add_argument(
        "--no-success-target",
        dest="success_target",
        action="store_const",
        const=None,
        help="resume: train on, whatever the success",
    )
    test = parser.add_argument_group("showing a policy")
    test.add_argument(
        "--model",
        nargs="+",
        type=file_or_remote,
        metavar="PATH",
        help="run folder, file, the book's prefix, or hf://owner/name[/FILE] on the Hugging Face Hub; "
        "default: newest run, else models/; several for --sweep",
    )
    test.add_argument(
        "--sweep",
        metavar="NAME=VALUE,VALUE",
        help="measure at each value of what --randomize knows, such as friction=0.25,0.5,1,2,4, with all "
        "else off that training randomised; draws sweep-NAME.png or --out FILE.png, and a .csv beside it",
    )
    test.add_argument(
        "--video",
        type=file_path,
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
    record = parser.add_argument_group("making demonstrations")
    record.add_argument(
        "--policy",
        type=file_name,
        metavar="POLICY",
        help="expert (default), random, human (steers: --hand), a script of yours as package.module:Name, or "
        "a policy as --model takes it",
    )
    record.add_argument(
        "--hand",
        choices=("page", "window", "spacemouse"),
        help="--policy human steers in a browser's page (default), in a window, or there by a SpaceMouse",
    )
    record.add_argument(
        "--out", type=file_path, metavar="FILE", help="file to write, new; its suffix names the format"
    )
    record.add_argument("--to", type=int, metavar="N", help="multiply: how many episodes there shall be")
    record.add_argument(
        "--keep", metavar="LIST", help="edit: success, or numbers of episodes from 0 such as 0,3,7-9"
    )
    record.add_argument("--drop", metavar="LIST", help="edit: numbers of episodes")
    record.add_argument(
        "--trim", metavar="A:B", help="edit: the steps of each episode that stay, as Python counts them"
    )
    record.add_argument(
        "--only-success",
        action=argparse.BooleanOptionalAction,
        help="keep successes only (default, but for random)",
    )


def add_flag(group: Any, option: Field[Any], hint: Any) -> None:
    """The flag of one field: its type, choices, help and default are those of the field."""
    flag = spelled(flag_of(option))
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    kind = kinds[0] if kinds and typing.get_origin(hint) not in (Literal, tuple, Mapping) else hint
    origin = typing.get_origin(kind)
    default = "" if option.default in (None, MISSING, ()) else f" (default: {option.default})"
    help = option.metadata["help"].replace("%", "%%")
    if kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, help=help)
    elif origin is Literal:
        group.add_argument(flag, choices=typing.get_args(kind), help=help + default)
    elif origin is tuple:
        group.add_argument(flag, nargs="+", type=file_name, metavar="FILE", help=help)
    elif origin is Mapping:
        group.add_argument(flag, type=json_object, metavar="JSON", help=help)
    else:
        add_plain(group, flag, kind, help + default)


def add_plain(group: Any, flag: str, kind: type, help: str) -> None:
    if kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, help=help)
    else:
        group.add_argument(flag, type=kind, metavar=kind.__name__.upper(), help=help)


def file_name(text: str) -> str:
    try:
        check_path(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(error) from None
    return text


def file_path(text: str) -> Path:
    return Path(file_name(text))


def file_or_remote(text: str) -> str | Path:
    return text if is_remote(text) else file_path(text)


def json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is no JSON object, such as {{"size": 3}}')
    return value
