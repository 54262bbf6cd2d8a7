"""How often the scripted expert, which recorded demons_data/, succeeds: 200 tries of each task with either
control, none left out.

python benchmarks/expert.py
"""

from sac_dist import EnvConfig
from sac_dist.acting.evaluation import wilson_interval
from sac_dist.acting.recording import record

TRIES = 200
SEED = 1000  # not the one of demons_data/


def main() -> None:
    for env in ("SawyerGrasp-v0", "SawyerLift-v0"):
        for control in ("joint_velocity", "end_position"):
            demos = record(EnvConfig(env, {"control": control}), "expert", TRIES, SEED, only_success=False)
            assert demos.success is not None
            low, high = wilson_interval(successes := int(demos.success.sum()), TRIES)
            print(
                f"{env}, {control} ({demos.action.shape[1]} actions): success {successes}/{TRIES} (95 % "
                f"interval {low:.1%} to {high:.1%}), "
                f"return {demos.returns.mean():.2f} ± {demos.returns.std():.2f}, "
                f"{demos.lengths.mean():.1f} steps ({demos.lengths.min()} to {demos.lengths.max()})",
                flush=True,
            )


if __name__ == "__main__":
    main()
