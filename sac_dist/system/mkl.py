"""Has MKL, torch's library for products of matrices, use the AVX-512 of AMD's processors: these products take
half the time.

MKL uses what instructions the processor says it has, but only where its function ``mkl_serv_intel_cpu_true``
finds that Intel made it.
torch exports that function, and a library loaded for the whole process before torch is asked in its place:
    mkl.c answers yes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec


def first_processor() -> Iterable[str]:
    """The lines of /proc/cpuinfo about the first processor; none where there is no such file."""
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if not line.strip():
                    return
                yield line
    except OSError:
        return


def held_back() -> bool:
    """Whether this is a processor whose AVX-512 MKL would leave alone."""
    facts = dict(line.split(":", 1) for line in first_processor() if ":" in line)
    named = {name.strip(): value.split() for name, value in facts.items()}
    return named.get("vendor_id") == ["AuthenticAMD"] and {
        "avx512f",
        "avx512bw",
        "avx512dq",
        "avx512vl",
    } <= set(named.get("flags", []))


def library() -> str | None:
    """The file that mkl.c was compiled to when sac_dist was installed; None where there was no compiler."""
    spec = find_spec("sac_dist.system._mkl")
    return None if spec is None else spec.origin


def use_avx512() -> None:
    """Before torch is imported; later it changes nothing."""
    path = library() if held_back() else None
    if path is not None:
        with suppress(OSError):  # a file that does not load costs speed and nothing else
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
