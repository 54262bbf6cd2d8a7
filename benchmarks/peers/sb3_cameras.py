"""Stable-Baselines3's SAC with MultiInputPolicy as a side of cameras.py: its NatureCNN sees the camera. What
camera_task.py does not name is SB3's default: an update of 256 transitions to each step, step sizes of 3e-4,
two layers of 256.
"""

import torch
from peers import camera_task
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback


class Measure(BaseCallback):
    def __init__(self, measured: camera_task.Measured) -> None:
        super().__init__()
        self.measured = measured

    def _on_step(self) -> bool:
        return self.measured.goes_on(self.num_timesteps)


def picture_alone(model: SAC) -> float:
    """MiB of the camera's picture with optimize_memory_usage, which SB3 refuses for dicts."""
    space = model.observation_space["wrist"]
    options = {"optimize_memory_usage": True, "handle_timeout_termination": False}
    buffer = ReplayBuffer(camera_task.BUFFER, space, model.action_space, **options)
    return camera_task.mib(buffer.observations, buffer.actions, buffer.rewards, buffer.dones, buffer.timeouts)


def main() -> None:
    given = camera_task.arguments(__doc__)
    torch.set_num_threads(camera_task.THREADS)
    model = SAC(
        "MultiInputPolicy",
        camera_task.make(),
        learning_starts=camera_task.WARM_UP,
        gamma=camera_task.DISCOUNT,
        buffer_size=camera_task.BUFFER,
        seed=given.seed,
        device="cpu",
    )
    buffer = model.replay_buffer
    default = camera_task.mib(
        *buffer.observations.values(),
        *buffer.next_observations.values(),
        *(buffer.actions, buffer.rewards, buffer.dones, buffer.timeouts),
    )
    replay = {"default": default, "picture alone, optimize_memory_usage": picture_alone(model)}
    measured = camera_task.Measured(given, lambda seen: model.predict(seen, deterministic=True)[0], replay)
    model.learn(10**9, Measure(measured))


if __name__ == "__main__":
    main()
