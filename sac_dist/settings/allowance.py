"""What this process may use of its machine: processors, and the limits of its control groups."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def cgroup_folders(controller: str) -> Iterator[Path]:
    """The folders of this process's control group and of those around it, each of which may set a limit:
    version 2's, then version 1's of ``controller``, the innermost first.
    """
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    groups = {
        names: path for _, names, path in (line.split(":", 2) for line in lines if line.count(":") >= 2)
    }
    version_1 = next((path for names, path in groups.items() if controller in names.split(",")), "/")
    for root, group in ((CGROUP, groups.get("", "/")), (CGROUP / controller, version_1)):
        folder = root / group.strip("/")
        while folder != root:  # inside a container the group may be named as outside, where no folder is
            yield folder
            folder = folder.parent
        yield root


def read_number(path: Path) -> int | None:
    """The number in a control group's file; None: there is no such file, or no limit."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def usable_processors() -> int:
    """How many this process may keep busy: those of its affinity mask, or the quota of its control groups."""
    usable = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    for folder in cgroup_folders("cpu"):
        quota = _cpu_quota(folder)
        if quota is not None:
            usable = min(usable, max(1, math.floor(quota)))
    return usable


def _cpu_quota(folder: Path) -> float | None:
    """Processors that the group may use; None: all."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        quota = str(read_number(folder / "cpu.cfs_quota_us"))  # of version 1; -1: none
        period = str(read_number(folder / "cpu.cfs_period_us"))
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None
