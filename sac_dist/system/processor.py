"""Which processor this is."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """Its model and what instructions it has, as far as the system tells: code that is built for one processor
    may be illegal on another, and machines share home folders.
    """
    try:
        first = CPUINFO.read_text(errors="replace").split("\n\n")[0]
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = dict((part.strip() for part in line.split(":", 1)) for line in first.splitlines() if ":" in line)
    # x86 says "model name" and "flags", ARM "CPU part" and "Features"
    model = told.get("model name") or " ".join(
        f"{told[name]}" for name in ("CPU implementer", "CPU part", "CPU variant") if name in told
    )
    flags = " ".join(sorted(told.get("flags", told.get("Features", "")).split()))
    return f"{platform.machine()} {model} {hashlib.sha256(flags.encode()).hexdigest()[:12]}"
