"""Training, measuring and filming from Python."""

from pathlib import Path

from sac_dist import Config, EnvConfig, TrainConfig, find_policy, play, train

if __name__ == "__main__":  # train starts processes, which import this file
    run = train(Config(EnvConfig("SawyerGrasp-v0"), train=TrainConfig(success_target=0.95, steps=30_000)))
    path, policy = find_policy(run.folder.path, "auto")
    print(play(policy, EnvConfig(), episodes=100))
    play(policy, EnvConfig(), episodes=3, video=Path("grasp.mp4"))
    agent = policy.build_agent()  # agent.act(observation, deterministic=True) → action in [-1, 1]
