"""Which processor this is."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sac_dist.settings.allowance import usable_processors

CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """Its model and what instructions it has, as far as the system tells.

    Code that is built for one processor may be illegal on another, and machines share home folders.
    """
    told = _told()
    flags = " ".join(sorted(told.get("flags", told.get("Features", "")).split()))
    return f"{platform.machine()} {_model(told)} {hashlib.sha256(flags.encode()).hexdigest()[:12]}"


def machine() -> str:
    """What a result was measured on, in a line: processor, cores, and the versions that matter."""
    versions = ", ".join(f"{name} {_version(name)}" for name in ("torch", "gymnasium", "mujoco"))
    return f"{_model(_told())}, {usable_processors()} cores; Python {platform.python_version()}, {versions}"


def _told() -> dict[str, str]:
    """What the system says of its first processor; nothing where there is no such file."""
    try:
        first = CPUINFO.read_text(errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _model(told: dict[str, str]) -> str:
    # x86 says "model name" and "flags", ARM "CPU part" and "Features"
    arm = ("CPU implementer", "CPU part", "CPU variant")
    return (
        told.get("model name") or " ".join(told[name] for name in arm if name in told) or platform.processor()
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
