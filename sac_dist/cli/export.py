"""``--export-book PREFIX``: a policy in the book's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sac_dist.cli.given import refuse_rest, take_model
from sac_dist.cli.terminal import show


def run_export(settings: dict[str, Any], prefix: Path) -> int:
    model = take_model(settings)
    refuse_rest(settings, "export-book")
    from sac_dist.acting.playback import find_policy
    from sac_dist.book.policy_files import save_book_policy

    path, policy = find_policy(model, "auto", show)
    save_book_policy(policy.build_agent(), prefix)
    show(f"{path} written as {prefix}_q1, {prefix}_q2, {prefix}_policy")
    return 0
