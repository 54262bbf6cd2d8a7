"""SawyerGrasp-v0 in MuJoCo as ``peers.grasp:NotedGrasp-v0``: a process's first step leaves a file in the
folder FIRST_STEPS, made then.
"""

import os
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from envs.tasks.grasp import GraspEnv


class NotedGrasp(GraspEnv):
    def __init__(self, backend: str = "mujoco", **options: Any) -> None:
        super().__init__(backend=backend, **options)
        self.noted = False

    def step(self, action: np.ndarray) -> Any:
        if not self.noted:
            (Path(os.environ["FIRST_STEPS"]) / str(os.getpid())).touch()
            self.noted = True
        return super().step(action)


gymnasium.register("NotedGrasp-v0", entry_point=NotedGrasp)
