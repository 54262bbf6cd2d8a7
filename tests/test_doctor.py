"""What --doctor says of this machine, and of ones that lack something."""

import os
import subprocess
import sys

import pytest
import torch
import torch._dynamo.config

from sac_dist.cli import doctor

pytestmark = pytest.mark.timeout(120)


def lines(**variables: str) -> dict[str, str]:
    """What the command prints: findings and, under "next " and the part, steps."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("COPPELIASIM_ROOT", "LD_LIBRARY_PATH")
    } | variables
    result = subprocess.run(
        [sys.executable, "-m", "sac_dist", "--doctor"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert result.returncode == 0 and not result.stderr, result.stderr
    found, part = {}, ""
    for line in result.stdout.splitlines():
        if line.startswith(" "):
            found["next " + part] = line.strip().removeprefix("next: ")
        else:
            part, _, text = line.partition(":")
            found[part] = text.strip()
    return found


@pytest.mark.slow
def test_this_machine():
    found = lines()
    assert found["MuJoCo"][0].isdigit() and found["torch"][0].isdigit()
    assert found["COPPELIASIM_ROOT"] == "not set" and found["CoppeliaSim"].startswith("no: ")
    assert found["--env auto"].startswith("SawyerGrasp-v0, MuJoCo")


def test_a_torch_that_is_too_old_is_named_with_what_to_do():
    with torch._dynamo.config.patch(enable_aot_compile=False):  # as in 2.11
        (finding,) = [finding for finding in doctor.findings() if finding.part == "compiled updates"]
    assert (
        finding.found.startswith(f"no: torch {torch.__version__} cannot")
        and finding.step == "pip install -U torch"
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", ["--doctor", "--inspect demons.npz"])
def test_a_reader_that_has_seen_enough_is_no_mistake(command, tmp_path):
    sac_dist = f"{sys.executable} -m sac_dist"
    record = (
        f"{sac_dist} --record-demos 1 --env toy_envs:Point-v0 --policy random --out demons.npz >/dev/null"
    )
    script = f"set -e; {record}; {sac_dist} {command} | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert result.stdout == "0\n" and not result.stderr, result.stderr


@pytest.mark.slow
def test_a_missing_compiler_and_the_wrong_pyrep_are_named_with_what_to_do(tmp_path):
    (tmp_path / "pyrep").mkdir()
    (tmp_path / "pyrep/__init__.py").write_text("raise SystemExit('the file manager was imported')")
    found = lines(PYTHONPATH=str(tmp_path), CXX="/no/such/compiler", MUJOCO_GL="nonsense")
    assert "file manager" in found["CoppeliaSim"] and found["next CoppeliaSim"].startswith(
        "pip uninstall pyrep"
    )
    assert found["compiled updates"].startswith("no: ") and "g++" in found["next compiled updates"]
    assert found["pictures"].startswith("no: none of nonsense draws") and "libegl1" in found["next pictures"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("root", "library", "found", "step"),
    [
        (None, False, "COPPELIASIM_ROOT is not set", "install CoppeliaSim"),
        ("sim", False, "holds no libcoppeliaSim", "let COPPELIASIM_ROOT name"),
        ("sim", True, "COPPELIASIM_ROOT is not on LD_LIBRARY_PATH", "export LD_LIBRARY_PATH"),
    ],
)
def test_each_step_towards_coppeliasim_is_the_next_one(tmp_path, monkeypatch, root, library, found, step):
    for part in ("pyrep/robots", "pyrep/backend", "sim"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "pyrep/__init__.py").touch()
    if library:
        (tmp_path / "sim/libcoppeliaSim.so").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    if root is None:
        monkeypatch.delenv("COPPELIASIM_ROOT", raising=False)
    else:
        monkeypatch.setenv("COPPELIASIM_ROOT", str(tmp_path / root))
    (finding,) = [finding for finding in doctor.findings() if finding.part == "CoppeliaSim"]
    assert found in finding.found and finding.step.startswith(step)
