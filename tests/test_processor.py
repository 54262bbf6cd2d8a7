"""Compiled updates belong to the processor that they were built for."""

from __future__ import annotations

from pathlib import Path

import pytest
from agents import SCHEMA, SMALL

from sac_dist import SACAgent
from sac_dist.execution.compiled import compiled_path
from sac_dist.system import processor as module
from sac_dist.system.processor import processor

X86 = "processor\t: 0\nmodel name\t: {model}\ncpu MHz\t: {mhz}\nflags\t\t: {flags}\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nFeatures\t: {flags}\nCPU implementer\t: 0x41\nCPU variant\t: 0x3\nCPU part\t: {model}\n\n"


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """What processor() and the path of a compiled update come to where /proc/cpuinfo says this."""
    agent = SACAgent(SCHEMA, SMALL)
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "cpuinfo")

    def tell(text: str) -> tuple[str, Path]:
        module.CPUINFO.write_text(text)
        return processor(), compiled_path(agent, 8)

    return tell


@pytest.mark.parametrize("form", [X86, ARM], ids=["x86", "ARM"])
def test_another_model_or_other_instructions_have_another_compiled_update(told, form: str) -> None:  # type: ignore[no-untyped-def]
    cases = [
        told(form.format(model=model, flags=flags, mhz=2100))
        for model in ("0xd0c", "0xd4f")
        for flags in ("fma avx2", "fma avx2 avx512f")
    ]
    assert len(set(cases)) == len({path for _, path in cases}) == 4
    # the order of the flags, and how fast it runs just now, make no difference
    assert told(form.format(model="0xd0c", flags="avx2 fma", mhz=3500)) == cases[0]


def test_a_system_that_does_not_tell_is_no_obstacle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "none")
    assert processor()
