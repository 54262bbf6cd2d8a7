"""The update fused ahead of time by torch.compile and kept on disk, so that workers load it in a second
instead of compiling it.

Compiling takes about ten seconds, once per machine, network sizes, batch size, number of threads, and version
of this code and of torch.
"""

from __future__ import annotations

import functools
import hashlib
import platform
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sac_dist.algorithms import adam, base, losses
from sac_dist.algorithms.agent import SACAgent
from sac_dist.algorithms.base import Algorithm, Update
from sac_dist.data import batch as types
from sac_dist.data.batch import Batch
from sac_dist.data.pictures import Seen
from sac_dist.networks import blocks, distribution, network, operations
from sac_dist.system.files import cache_folder, replacing
from sac_dist.system.processor import processor

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
    actions = np.zeros((batch_size, agent.action_size), np.float32)
    settings = agent.algorithm.settings
    return Batch.of_rows(
        rows,
        agent.schema,
        discount,
        returns if settings.needs_returns else None,
        actions if settings.needs_next_actions else None,
        Seen.empty(batch_size, agent.schema),
    )


def compiled_paths(agent: SACAgent, batch_size: int) -> list[Path]:
    """One for each of the agent's variants."""
    return [compiled_path(agent, batch_size, algorithm) for algorithm in agent.variants]


def compiled_path(agent: SACAgent, batch_size: int, algorithm: Algorithm | None = None) -> Path:
    """Where the update compiled for the algorithm in use (or ``algorithm``, a variant of it), and agents and
    batches of these sizes, is kept for this machine's processor and torch's present number of threads.
    """
    algorithm, config = algorithm or agent.algorithm, agent.config
    fixed_alpha = None if config.alpha is None else 1.0
    # step sizes, where the temperature starts, and what is done to a batch before are no part of the code
    config = replace(config, actor_lr=1, critic_lr=1, alpha_lr=1, alpha=fixed_alpha, initial_alpha=1)
    config = replace(config, normalize_observations=False, n_step=1, policy_every=1)
    config = replace(
        config, lr_decay=None, lr_end=1, normalize_returns=False, largest_return=1, noise_repeat=1
    )
    parts = [
        torch.__version__,
        platform.python_version(),
        processor(),
        torch.backends.cpu.get_cpu_capability(),
        str(torch.get_num_threads()),
        repr(replace(algorithm, config=config)),
        repr((type(algorithm).__module__, agent.schema, list(agent.tensors.groups), batch_size)),
        *(path.read_text() for path in sources(agent)),
    ]
    return cache_folder() / f"update-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:24]}.bin"


def sources(agent: SACAgent) -> list[Path]:
    """The files whose code an update is compiled from: those of the algorithm, the networks, their blocks."""
    names = {of.__module__ for kind in classes((agent.algorithm, agent.groups)) for of in kind.__mro__}
    modules = {sys.modules[name] for name in names}
    modules |= {adam, base, losses, blocks, distribution, network, operations, types}
    files = (getattr(module, "__file__", None) for module in modules)
    return sorted(Path(file) for file in files if file is not None)


def classes(value: Any) -> set[type]:
    """Those of ``value``, a dataclass or a tuple, and of all that it holds."""
    if isinstance(value, tuple):
        return set().union(*map(classes, value))
    if not is_dataclass(value):
        return set()
    return {type(value)}.union(*(classes(getattr(value, part.name)) for part in fields(value)))


def compile_update(agent: SACAgent, batch_size: int) -> None:
    """Compile the algorithm in use for batches from the replay buffer and keep it, each variant at its
    ``compiled_path``; one that lies there, as a run may end between two, is left. Changes nothing in the
    agent but the state of its generator.

    Ask :func:`compile_obstacle` first; raises whatever torch raises where that was too hopeful.
    """
    for algorithm in agent.variants:
        path = compiled_path(agent, batch_size, algorithm)
        if not path.exists():
            _compile(agent, algorithm, batch_size, path)


def _compile(agent: SACAgent, algorithm: Algorithm, batch_size: int, path: Path) -> None:
    # Dynamo wants a function, not a callable object
    def function(tensors, batch, noise, lrs):  # type: ignore[no-untyped-def]
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
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with replacing(path) as temporary:
        compiled.save_compiled_function(str(temporary))


@functools.cache
def load_update(path: Path) -> Update:
    """The update that :func:`compile_update` kept at ``path``, once in a process. Its file holds code: it is
    only ever read from the user's own cache folder.
    """

    def load_with(options: dict[str, Any]) -> Update:
        with torch._inductor.config.patch(options), open(path, "rb") as file:
            update: Update = torch.compiler.load_compiled_function(file)
        return update

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
