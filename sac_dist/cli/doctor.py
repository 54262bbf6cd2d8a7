"""``--doctor``: what this machine has for sac_dist, what ``--env auto`` therefore takes, and the next step to
whatever is missing.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from envs.backends.choice import coppelia_obstacle, has_display, mujoco_obstacle, resolve
from envs.backends.coppelia.probe import probe, strange
from sac_dist.cli.given import refuse_rest
from sac_dist.cli.terminal import show
from sac_dist.settings import ConfigError
from sac_dist.settings.allowance import usable_processors
from sac_dist.system import mkl
from sac_dist.system.files import cache_folder, cache_obstacle

GL = ("egl", "osmesa", "glfw")  # MuJoCo's ways to OpenGL: without a screen the first two
DRAW = (
    'import mujoco; m = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom '
    "size='1'/></worldbody></mujoco>\");"
    "mujoco.Renderer(m, 32, 32).render()"
)
SEE = "from envs.backends.mujoco.lean import measured; print(f'{measured():.0f} {measured(84):.0f}')"
# The beginning of what choice.coppelia_obstacle says, and what to do about it.
COPPELIA_STEPS = {
    "PyRep is not installed": "get github.com/stepjam/PyRep and pip install its folder (not 'pip install pyrep': that is another program)",
    "the installed pyrep": "pip uninstall pyrep; then get github.com/stepjam/PyRep and pip install its folder",
    "COPPELIASIM_ROOT is not set": "install CoppeliaSim 4.1, then export COPPELIASIM_ROOT=its folder",
    "COPPELIASIM_ROOT=": "let COPPELIASIM_ROOT name the folder of CoppeliaSim 4.1 that libcoppeliaSim.so lies in",
    "PyRep takes no letters": "move CoppeliaSim to a folder whose path is ASCII, and let COPPELIASIM_ROOT name that",
    "COPPELIASIM_ROOT is not on": 'export LD_LIBRARY_PATH="$COPPELIASIM_ROOT:$LD_LIBRARY_PATH" before Python starts',
}


class Finding(NamedTuple):
    part: str
    found: str
    step: str = ""  # what to do next; empty: nothing is missing


def findings() -> Iterator[Finding]:
    """Everything in the order it is looked at; draws in processes of their own, as a broken OpenGL ends a
    process.
    """
    yield Finding(
        "Python",
        f"{platform.python_version()} on {platform.platform(terse=True)}, {os.cpu_count()} cores, "
        f"{usable_processors()} of them for this process",
    )
    yield cache()
    import torch

    from sac_dist.execution.compiled import compile_obstacle

    on_gpu = ", with --learner central --device cuda on the GPU" if torch.cuda.is_available() else ""
    yield Finding("torch", f"{torch.__version__}; training runs on the CPU{on_gpu}")
    if mkl.held_back() and mkl.library() is None:
        yield Finding(
            "matrix products",
            "without this processor's AVX-512, in twice the time",
            "install gcc, then sac-dist again",
        )
    obstacle = compile_obstacle()
    if obstacle is None:
        yield Finding("compiled updates", "work")
    else:
        step = "pip install -U torch" if obstacle.startswith("torch") else "install g++ and Python's headers"
        yield Finding(
            "compiled updates", f"no: {obstacle}; training works without, in about twice the time", step
        )
    missing = mujoco_obstacle()
    if missing is None:
        yield Finding("MuJoCo", importlib.metadata.version("mujoco"))
        yield pictures()
    else:
        yield Finding("MuJoCo", missing, "pip install mujoco")
    yield Finding(
        "window", "a display is there" if has_display() else "no display: --test writes a video instead"
    )
    missing = coppelia_obstacle()
    root = os.environ.get("COPPELIASIM_ROOT")
    yield Finding("COPPELIASIM_ROOT", root or "not set")
    if missing is None:
        yield simulator()
        yield models()
    else:
        steps = [step for beginning, step in COPPELIA_STEPS.items() if missing.startswith(beginning)]
        yield Finding("CoppeliaSim", f"no: {missing}", steps[0] if steps else "")
    choice = resolve("auto")
    yield Finding("--env auto", f"{choice.id}, {choice.reason}")


def cache() -> Finding:
    try:
        obstacle = cache_obstacle()
    except ConfigError as error:
        return Finding("cache", f"no: {error}", "export XDG_CACHE_HOME=a folder that can be written")
    if obstacle is None:
        return Finding("cache", str(cache_folder()))
    return Finding("cache", obstacle, "export XDG_CACHE_HOME=a folder that lasts")


def pictures() -> Finding:
    """The first of MuJoCo's OpenGL bindings that draws here."""
    wanted = os.environ.get("MUJOCO_GL")
    for binding in [wanted] if wanted else GL:
        environment = os.environ | {"MUJOCO_GL": binding}
        try:
            drawn = (
                subprocess.run(
                    [sys.executable, "-c", DRAW], env=environment, capture_output=True, timeout=60
                ).returncode
                == 0
            )
        except subprocess.TimeoutExpired:
            drawn = False
        if drawn:
            return Finding(
                "pictures",
                f"MUJOCO_GL={binding} draws{frames(environment)}",
                "" if wanted or has_display() else f"export MUJOCO_GL={binding}",
            )
    tried = wanted or ", ".join(GL)
    return Finding(
        "pictures",
        f"no: none of {tried} draws",
        "install libegl1 and libgl1-mesa-dri, then export MUJOCO_GL=egl (or libosmesa6, osmesa)",
    )


def frames(environment: dict[str, str]) -> str:
    """How many a policy's camera draws, in words."""
    try:
        words = subprocess.run(
            [sys.executable, "-c", SEE], env=environment, capture_output=True, timeout=60, text=True
        ).stdout.split()
    except subprocess.TimeoutExpired:
        words = []
    if len(words) != 2:
        return ""
    return f"; a policy's camera {words[0]} a second at 64x64, {words[1]} at 84x84"


def simulator() -> Finding:
    """CoppeliaSim's version, after it has simulated something."""
    obstacle, version = probe()
    if obstacle is not None:
        return Finding("CoppeliaSim", f"no: {obstacle}", "see docs/coppeliasim.md, known errors")
    found = f"{version}, PyRep {importlib.metadata.version('pyrep')}: an object falls"
    return Finding("CoppeliaSim", found, strange(version))


def models() -> Finding:
    """Whether the models are there that a scene is built from."""
    from envs.backends.base import BackendError
    from envs.backends.coppelia.models import model_files

    try:
        return Finding("models", ", ".join(map(str, model_files())))
    except BackendError as error:
        return Finding(
            "models",
            f"no: {error}",
            "get github.com/stepjam/PyRep and export PYREP_MODELS=its folder robot_ttms",
        )


def report() -> str:
    """Every finding on a line, and below it the next step where there is one."""
    lines = []
    for finding in findings():
        lines.append(f"{finding.part + ':':18} {finding.found}")
        if finding.step:
            lines.append(f"{'':18} next: {finding.step}")
    return "\n".join(lines)


def run_doctor(settings: dict[str, Any], _: Any) -> int:
    refuse_rest(settings, "doctor")
    show(report())
    return 0
