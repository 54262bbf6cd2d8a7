"""Which processor this is."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """Its model and what instructions it has, as far as the system tells.

    Code that is built for one processor may be illegal on another, and machines share home folders.
    """
    try:
        first = CPUINFO.read_text(errors="replace").split("\n\n")[0]
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    pairs = (line.partition(":") for line in first.splitlines())
    told = {name.strip(): value.strip() for name, _, value in pairs}
    # x86 says "model name" and "flags", ARM "CPU part" and "Features"
    arm = ("CPU implementer", "CPU part", "CPU variant")
    model = told.get("model name") or " ".join(told[name] for name in arm if name in told)
    flags = " ".join(sorted(told.get("flags", told.get("Features", "")).split()))
    return f"{platform.machine()} {model} {hashlib.sha256(flags.encode()).hexdigest()[:12]}"
