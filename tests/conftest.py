import os
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # toy_envs, here and in child processes
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
# Fixed for the whole session: the forkserver passes on the environment it was started in.
os.environ["TOY_FLAG"] = str(Path(tempfile.mkdtemp(prefix="toy-")) / "flag")


def pytest_addoption(parser):
    parser.addoption(
        "--require-coppeliasim",
        action="store_true",
        help="without CoppeliaSim its tests fail instead of being skipped",
    )
    parser.addoption(
        "--book-scene",
        metavar="FILE.ttt",
        help="the book's scene for joint velocities, for the tests that need it",
    )
    parser.addoption(
        "--all",
        action="store_true",
        help="also the slow tests: kills, hangs, resumes, compilers, parts of a cluster that end",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: only with --all")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--all"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes long: give --all"))


@pytest.fixture(autouse=True)
def one_thread():
    """As in a run's processes. On a busy machine torch's threads wait for each other at every small
    operation.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def nothing_that_was_started_goes_on():
    """A run of ``test_engine.start`` after a test that failed would slow all the others."""
    yield
    started = getattr(sys.modules.get("test_engine"), "STARTED", [])
    while started:
        process = started.pop()
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(params=["mujoco", "coppelia"])
def make(request):
    """``gymnasium.make`` on each simulator, unwrapped."""
    from backends import maker

    return maker(request.param, request.config)
