"""docs/reference/flags.md, made from the parser.

python -m sac_dist.cli.reference > docs/reference/flags.md
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from sac_dist.cli.flags import build_parser

HEAD = """# Flags

`python -m sac_dist.cli.reference` makes this page from the command line's own parser. A settings file
(`--config FILE.yaml`) has the same names, with underscores. A switch `--name` is turned off by `--no-name`.
"""
OF_THIS_MACHINE = re.compile(r"(?<=processes, each with its own environment \(default: )\d+")


def page() -> str:
    parser = build_parser()
    titles = {"options": "other flags"}
    parts = [HEAD]
    _, options, modes, *others = parser._action_groups
    for group in (modes, options, *others):
        rows = list(filter(None, map(row, group._group_actions)))
        if rows:
            title = titles.get(group.title or "", group.title or "")
            head = f"## {title[0].upper()}{title[1:]}\n"
            parts.append("\n".join([head, "| flag | |", "|---|---|", *rows]) + "\n")
    return OF_THIS_MACHINE.sub("the processors", "\n".join(parts))


def row(action: argparse.Action) -> str | None:
    """A line of a table; None for what has another line, or none in --help."""
    if action.help is None or action.help == argparse.SUPPRESS or action.dest == "help":
        return None
    flag, value = action.option_strings[0], " ".join(values(action))
    text = action.help % {"default": action.default}
    if action.choices is not None:
        text = f"{', '.join(f'`{choice}`' for choice in action.choices)}: {text}"
    text = text.replace("|", "\\|")
    return f"| `{flag}{' ' + value if value else ''}` | {text} |"


def values(action: argparse.Action) -> Iterator[str]:
    if isinstance(action.metavar, tuple):
        yield from action.metavar
    elif action.metavar is not None:
        yield f"{action.metavar} …" if action.nargs == "+" else action.metavar


if __name__ == "__main__":
    print(page(), end="")
