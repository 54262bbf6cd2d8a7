"""The policies in models/ over 1,000 episodes that neither training nor the choice of the best checkpoint has
seen.

python benchmarks/shipped_policies.py
"""

from sac_dist import evaluate, find_policy, make_env
from sac_dist.system.files import models_dir

EPISODES = 1000
FIRST = 10_000  # training evaluates the episodes from 0 on


def main() -> None:
    for path in sorted(models_dir().glob("*.safetensors")):
        _, policy = find_policy(path, "auto")
        agent = policy.build_agent()
        env = make_env(policy.config.env)
        print(
            f"{path.stem}: "
            f"{evaluate(env, lambda observation, agent=agent: agent.act(observation, True), EPISODES, FIRST)}",
            flush=True,
        )
        env.close()


if __name__ == "__main__":
    main()
