"""train() where there is no script: in a notebook, and line by line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_given_from_python import PROGRAM

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
NOTEBOOK = Path(__file__).resolve().parent.parent / "examples" / "colab.ipynb"


def outputs(notebook, folder: Path) -> list[list[dict]]:
    """What each cell of code shows. Raises CellExecutionError."""
    client = nbclient.NotebookClient(
        notebook, timeout=100, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def text(shown: list[dict]) -> str:
    return "".join(part.get("text", "") for part in shown)


def test_the_notebook_trains_draws_and_films(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "kept without outputs"
    training = next(cell for cell in notebook.cells if "STEPS = 30_000" in cell.source)
    training.source = training.source.replace("STEPS = 30_000", "STEPS = 1_500")
    _, train, curve, film, own, use = outputs(notebook, tmp_path)
    assert "ended by steps after 1,50" in text(train) and "success" in text(train)
    assert any("image/png" in part.get("data", {}) for part in curve)
    assert "video" in str(film) or "no picture can be drawn" in text(film)
    assert "success" in text(own), "the class of a cell reached the processes"
    assert "/100" in text(use) and any("array" in str(part.get("data", {})) for part in use)


def test_typed_line_by_line_a_class_trains(tmp_path):
    typed = PROGRAM.replace("def main", "\ndef main") + "\nmain()\n"
    done = subprocess.run(
        [sys.executable, "-i"], input=typed, cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert "ended by steps after 20 steps" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_cell_that_is_interrupted_ends_its_run_in_order(tmp_path):
    cell = """
import os, signal
from sac_dist import Callback, Config, EnvConfig, TrainConfig, train

class Interrupt(Callback):
    def on_steps(self, clock):
        os.kill(os.getpid(), signal.SIGINT)  # as the notebook's button does

settings = TrainConfig(workers=1, steps=10_000_000, eval_interval=0, compile="off", run_dir="run")
run = train(Config(EnvConfig("Pendulum-v1"), train=settings), callbacks=[Interrupt()])
print("ended by", run.outcome.reason, run.folder.last.is_file())
"""
    (shown,) = outputs(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)]), tmp_path)
    assert "ended by SIGINT True" in text(shown), text(shown)
