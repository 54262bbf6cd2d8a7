"""The update fused ahead of time by torch.compile and kept on disk, so that workers load it in a second
instead of compiling it.

Compiling takes about ten seconds, once per machine, network sizes, batch size and version of this code and of
torch.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sysconfig
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sac_dist.algorithms import losses, offline
from sac_dist.algorithms import sac as update
from sac_dist.algorithms.agent import SACAgent, Step
from sac_dist.algorithms.offline import CQLUpdate
from sac_dist.data import batch as types
from sac_dist.data import schema as layout
from sac_dist.data.batch import Batch
from sac_dist.networks import mlp as networks
from sac_dist.system.files import cache_folder, replacing

# Settings of Inductor. C++ calls the kernels: a tenth less time for an update of the default sizes. A
# precompiled header would lie in the temporary folder, whose name is part of what a compiled library is found
# by, and that is another in each run.
CPP: dict[str, Any] = {"cpp_wrapper": True, "cpp_cache_precompile_headers": False}
# The processor's word is taken for its vector instructions. By default the compiler is asked too, which takes
# six seconds to compile and one to load, and helps where it is too old for the processor: then we do without.
QUICK_CPP: dict[str, Any] = CPP | {"cpp.vec_isa_ok": True}


def example_batch(agent: SACAgent, batch_size: int) -> Batch:
    """A batch of zeros with the shapes and strides of those that the algorithm in use gets."""
    rows = np.zeros((batch_size, agent.schema.row_width), np.float32)
    discount, returns = np.zeros((2, batch_size), np.float32)
    return Batch.of_rows(rows, agent.schema, discount, returns if agent.needs_returns else None)


def compiled_path(agent: SACAgent, batch_size: int) -> Path:
    """Where the update compiled for the algorithm in use, and agents and batches of these sizes, is kept on
    this machine.
    """
    parts = [
        torch.__version__,
        platform.python_version(),
        platform.machine(),
        torch.backends.cpu.get_cpu_capability(),
    ]
    fixed_alpha = None if agent.config.alpha is None else 1.0
    config = replace(
        agent.config, actor_lr=1, critic_lr=1, alpha_lr=1, alpha=fixed_alpha, initial_alpha=1, discount=0
    )  # not part of the code
    if not isinstance(agent.algorithm, CQLUpdate):
        config = replace(config, cql_weight=1, cql_samples=1, cql_temperature=1, cal_ql=False)
    parts += [repr((type(agent.algorithm), agent.observation_size, agent.action_size, batch_size, config))]
    parts += [
        Path(str(module.__file__)).read_text()
        for module in (losses, networks, offline, types, layout, update)
    ]
    return cache_folder() / f"update-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:24]}.bin"


def compile_update(agent: SACAgent, batch_size: int) -> None:
    """Compile the algorithm in use for batches from the replay buffer and keep it at ``compiled_path``.
    Changes nothing in the agent but the state of its generator.

    Ask :func:`compile_obstacle` first; raises whatever torch raises where that was too hopeful.
    """
    algorithm = agent.algorithm

    def function(tensors, batch, noise, lrs):  # type: ignore[no-untyped-def]  # Dynamo wants a function, not a callable object
        return algorithm(tensors, batch, noise, lrs)

    arguments = (agent.tensors, example_batch(agent, batch_size), agent.noise(batch_size), agent.lrs)

    def compile_with(options: dict[str, Any]) -> Any:
        compile_ahead: Any = torch.compile(function, fullgraph=True, dynamic=False, options=options)
        return compile_ahead.aot_compile((arguments, {}))

    with torch._dynamo.config.patch(trace_autograd_ops=True):  # it is off by default in torch 2.13
        try:
            compiled = compile_with(QUICK_CPP)
        except torch._inductor.exc.InductorError:
            forget_processor()
            compiled = compile_with(CPP)
    path = compiled_path(agent, batch_size)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with replacing(path) as temporary:
        compiled.save_compiled_function(str(temporary))


def load_update(agent: SACAgent, batch_size: int) -> Step:
    """The update that :func:`compile_update` kept. Its file holds code: it is only ever read from the user's
    own cache folder.
    """

    def load_with(options: dict[str, Any]) -> Step:
        with torch._inductor.config.patch(options), open(compiled_path(agent, batch_size), "rb") as file:
            step: Step = torch.compiler.load_compiled_function(file)
        return step

    try:
        return load_with(QUICK_CPP)
    except Exception:  # where the compiler is too old for it
        forget_processor()
        return load_with(CPP)


def forget_processor() -> None:
    """Have Inductor find out again which vector instructions there are: it remembers those it took the
    processor's word for.
    """
    torch._inductor.cpu_vec_isa.valid_vec_isa_list.cache_clear()


def compile_obstacle() -> str | None:
    """Why ``compile_update`` cannot work on this machine, in one line, or None. Builds a small library, which
    takes a second or two.
    """
    if not getattr(
        torch._dynamo.config, "enable_aot_compile", False
    ):  # off in 2.11, which refuses requires_grad_, too
        return f"torch {torch.__version__} cannot trace gradients, 2.13 can"
    from torch._inductor.cpp_builder import get_cpp_compiler  # two seconds to import

    try:
        compiler = get_cpp_compiler()
    except Exception as error:  # whatever inductor raises where it finds none
        return f"no C++ compiler: {(str(error) or type(error).__name__).splitlines()[0]}"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.cpp"
        source.write_text("#include <Python.h>\n#include <omp.h>\n#include <vector>\n")
        command = [
            compiler,
            "-shared",
            "-fPIC",
            "-fopenmp",
            f"-I{sysconfig.get_path('include')}",
            str(source),
            "-o",
            f"{folder}/probe.so",
        ]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{compiler} does not run: {error}"
    errors = [line for line in result.stderr.splitlines() if "error" in line] or ["no reason given"]
    return f"{compiler} cannot build a Python extension: {errors[0]}" if result.returncode else None
