"""The compiled update from one process to the next: what was built is found again, and a compiler that is too
old is no obstacle.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sac_dist.execution.compiled import compile_obstacle

pytestmark = pytest.mark.timeout(180)
COMPILER = """#!/bin/sh
for argument in "$@"; do
    case "$argument" in {refused}) echo "error: unrecognized command-line option $argument" >&2; exit 1;; esac
done
case "$*" in *.cpp*) echo "$*" >> {log};; esac
exec g++ "$@"
"""
PROGRAM = """
import sys, torch
from sac_dist import AgentConfig, SACAgent, Schema
from sac_dist.execution.compiled import compile_update, compiled_path, example_batch, load_update
torch.set_num_threads(1)
agent = SACAgent(Schema.vector(3, 1), AgentConfig(hidden_width=16, hidden_depth=1))
if sys.argv[1] == "compile":
    compile_update(agent, 8)
else:
    agent.use("sac", load_update(compiled_path(agent, 8)))
    assert agent.update(example_batch(agent, 8))["critic_loss"].isfinite()
"""


@pytest.mark.slow
@pytest.mark.parametrize("refused", ["-mnothing", "-mamx*"], ids=["compiler", "old compiler"])
def test_what_was_compiled_loads_in_another_temporary_folder_without_a_compiler_at_work(
    tmp_path: Path, refused: str
) -> None:
    if (obstacle := compile_obstacle()) is not None:
        pytest.skip(obstacle)
    log, compiler = tmp_path / "log", tmp_path / "g++"
    log.touch()
    compiler.write_text(COMPILER.format(refused=refused, log=log))
    compiler.chmod(0o755)

    def run(role: str) -> list[str]:
        """What the compiler was asked to build meanwhile."""
        (tmp_path / role).mkdir()
        before = len(log.read_text().splitlines())
        folders = {
            "TMPDIR": tmp_path / role,
            "XDG_CACHE_HOME": tmp_path / "cache",
            "TORCHINDUCTOR_CACHE_DIR": tmp_path / "cache" / "torch",
        }
        variables = (
            os.environ | {name: str(folder) for name, folder in folders.items()} | {"CXX": str(compiler)}
        )
        result = subprocess.run(
            [sys.executable, "-c", PROGRAM, role], env=variables, capture_output=True, text=True, timeout=150
        )
        assert result.returncode == 0, result.stderr
        return log.read_text().splitlines()[before:]

    assert run("compile")
    assert not run("load")
