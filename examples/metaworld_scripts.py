"""Meta-World's own scripted policies, to record demonstrations by:

    python -m sac_dist --record-demos 20 --policy examples.metaworld_scripts:Script --out bin.npz \\
        --env metaworld:Meta-World/MT1 --horizon 200 --env-kwargs '{"env_name": "bin-picking-v3"}'
"""

import gymnasium
import metaworld
import numpy as np
from metaworld.policies import ENV_POLICY_MAP

NAMES = {kind: name for name, kind in metaworld.ALL_V3_ENVIRONMENTS.items()}


class Script:
    """What Meta-World's policy for the task does, within the actions' range."""

    def __init__(self, env: gymnasium.Env) -> None:
        self.policy = ENV_POLICY_MAP[NAMES[type(env.unwrapped)]]()

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        return np.clip(self.policy.get_action(observation.astype(np.float64)), -1, 1)
