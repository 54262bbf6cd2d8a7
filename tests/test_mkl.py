"""MKL with the AVX-512 of a processor that Intel did not make. What loads torch does so in a process of its
own: the order matters.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sac_dist.system import mkl

AMD = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu sse2 avx2 avx512f avx512dq avx512bw avx512vl\n\nprocessor\t: 1\n"
# What MKL found out about the processor; 0 are instructions that any has, and Intel's AVX-512 is 7.
ASK = "import ctypes, pathlib; import torch; torch.ones(8, 8) @ torch.ones(8, 8); print(ctypes.CDLL(str(LIBRARY)).mkl_serv_cpu_detect())"
ASK = ASK.replace("LIBRARY", "pathlib.Path(torch.__file__).parent / 'lib' / 'libtorch_cpu.so'")
MULTIPLY = """
import sac_dist, torch
generator = torch.Generator().manual_seed(0)
for rows, inner, columns in ((1, 31, 64), (128, 38, 64), (128, 64, 14), (64, 128, 64), (256, 256, 256), (513, 257, 129)):
    a, b = torch.randn(rows, inner, generator=generator), torch.randn(inner, columns, generator=generator)
    for left, right in ((a, b), (a.T.contiguous().T, b), (a, b.T.contiguous().T), (a.expand(2, -1, -1), b.expand(2, -1, -1))):
        torch.testing.assert_close((left @ right).double(), left.double() @ right.double(), rtol=1e-5, atol=1e-4)
"""


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True
    ).stdout.strip()


def reads(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(mkl, "first_processor", lambda: text.split("\n\n")[0].splitlines())


@pytest.mark.parametrize(
    ("text", "held_back"),
    [
        (AMD, True),
        (AMD.replace("AuthenticAMD", "GenuineIntel"), False),
        (AMD.replace("avx512f ", ""), False),  # Zen 3 and older
        ("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\n", False),
        ("", False),
    ],
)
def test_which_processors_are_held_back(text: str, held_back: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    reads(monkeypatch, text)
    assert mkl.held_back() is held_back


def test_the_first_processor_of_this_machine() -> None:
    lines = list(mkl.first_processor())
    if Path("/proc/cpuinfo").is_file():
        assert lines and all(line.strip() for line in lines)
    assert sum(line.startswith("processor") for line in lines) <= 1


def test_without_the_compiled_file_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    reads(monkeypatch, AMD)
    monkeypatch.setattr(mkl, "find_spec", lambda name: None)
    monkeypatch.setattr(mkl.ctypes, "CDLL", lambda *_, **__: pytest.fail("loaded a library"))
    mkl.use_avx512()


@pytest.mark.skipif(
    not mkl.held_back() or mkl.library() is None,
    reason="MKL holds nothing back here, or mkl.c is not compiled",
)
@pytest.mark.slow
def test_mkl_uses_avx512_where_sac_dist_comes_before_torch() -> None:
    try:
        without = python(ASK)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this torch does not export MKL's functions: {error.stderr.splitlines()[-1]}")
    assert (without, python(f"import sac_dist; {ASK}")) == ("0", "7")


def test_products_are_right() -> None:
    python(MULTIPLY)
