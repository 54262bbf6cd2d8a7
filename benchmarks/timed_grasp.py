"""The grasp task, as ``timed_grasp:TimedGrasp-v0``, that keeps the time of each of its steps: a file per
process in TIMES.
"""

import os
import time
from array import array
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from envs.tasks.grasp import GraspEnv


class TimedGrasp(GraspEnv):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.times = array("d")  # s of the clock that all processes share

    def step(self, action: np.ndarray) -> Any:
        self.times.append(time.monotonic())
        return super().step(action)

    def close(self) -> None:
        if self.times:
            np.save(Path(os.environ["TIMES"]) / f"{os.getpid()}.npy", np.array(self.times))
        super().close()


gymnasium.register("TimedGrasp-v0", entry_point=TimedGrasp)


def times_of(folder: Path, workers: int) -> list[np.ndarray]:
    """The times of each worker's steps: the longest files. The evaluator's and the video's few steps have
    files too.
    """
    return sorted((np.load(path) for path in folder.glob("*.npy")), key=len)[-workers:]
