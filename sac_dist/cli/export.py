"""``--export FILE``: a policy that runs elsewhere; ``--export-book PREFIX``: one in the book's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sac_dist.cli.given import refuse_rest, take_environment, take_model
from sac_dist.cli.terminal import show


def run_export(settings: dict[str, Any], path: Path) -> int:
    overrides, model = take_environment(settings), take_model(settings)
    refuse_rest(settings, "export")
    from sac_dist.acting.playback import find_policy
    from sac_dist.exporting.check import OBSERVATIONS
    from sac_dist.exporting.export import export

    source, policy = find_policy(model, overrides.name, show)
    written = export(policy, path, str(source), overrides)
    inputs = ", ".join(f"{field.name} {list(field.shape)} {field.dtype}" for field in written.card.fields)
    action, found = written.card.action, written.differences
    show(f"{source} written as {path}, {written.bytes / 1024:.0f} KiB")
    show(f"{inputs} → action {list(action.shape)} {action.dtype}")
    show(
        f"over {OBSERVATIONS:,} random observations its actions are the trainer's within "
        f"{found.largest:.1e}, which passes: the trainer's own rounding there is {found.rounding:.1e}"
    )
    return 0


def run_export_book(settings: dict[str, Any], prefix: Path) -> int:
    model = take_model(settings)
    refuse_rest(settings, "export-book")
    from sac_dist.acting.playback import find_policy
    from sac_dist.book.policy_files import save_book_policy

    path, policy = find_policy(model, "auto", show)
    save_book_policy(policy.build_agent(), prefix)
    show(f"{path} written as {prefix}_q1, {prefix}_q2, {prefix}_policy")
    return 0
