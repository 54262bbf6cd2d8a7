"""The peer's side of offline_cql.py and offline_learners.py: d3rlpy's learner on one data set. Run by a Python
that has d3rlpy 2.8, not by sac_dist's.

    PEER/bin/pip install "d3rlpy==2.8.*" torch==2.13.0
    PEER/bin/python benchmarks/d3rlpy_offline.py DATA.npz --updates 1000 --out policy.npz

Of all: what both have is set the same. IQL and AWAC have a Gaussian with one σ for all states around the tanh
here, in sac_dist the tanh of a Gaussian; TD3+BC and ReBRAC move the targets with the policy, at every second
update, in sac_dist at each.

The same as sac_dist's CQL: the transitions (all of them, see ``replay_buffer``), batch size, sizes of the
networks and their clamp of log σ, two critics with the minimum as target, Adam, step sizes, discount, τ,
tanh-Gaussian policy, the action samples (uniform, π(s), π(s')) with their importance weights and the
log-sum-exp over them, and the ratio of penalty to TD error:

    sac_dist minimises  L  = Σ_e ½ E(Q_e − y)² + w  Σ_e E[logsumexp_e − Q_e(s, a)]
    d3rlpy minimises    L' = Σ_e   E(Q_e − y)² + w' Σ_e exp(log_alpha) (E[logsumexp_e − Q_e(s, a)] −
    threshold)

(mean_q_function.py: mse_loss without ½, and cql_impl.py.) With initial_alpha=1 and alpha_learning_rate=0
d3rlpy makes no optimizer for
log_alpha: exp(log_alpha) stays 1 and the threshold has no gradient. With w' = 2 w it is L' = 2 L + constant,
    and Adam's steps do not
depend on the factor 2 but through its ε of 1e-8. ``conservative_weight`` is therefore twice --cql-weight.

What differs and cannot be set: d3rlpy's target entropy is −|A| (the driver sets ours to that), it changes the
    temperature just before the
policy's loss is computed and not after, initialises the last layers as torch.nn.Linear does (ours within
±3e-3), and draws π(s') for the penalty at an observation of zeros where the episode terminated, which it does
not keep. With --no-entropy-backup its target also is at the policy's mean action, ours at a sampled one; with
--layer-norm its critics normalise after the ReLU, ours before it.

The updates are d3rlpy's two public calls that ``fit`` repeats, sample_transition_batch and update, without
fit's logs, running means and saved models. ``compile_graph`` is for CUDA alone (LearnableBase.compiled); the
output says whether it came into effect.
"""

import argparse
import json
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import d3rlpy
import numpy as np
import structlog
import torch
from d3rlpy.algos.qlearning.base import QLearningAlgoBase
from d3rlpy.dataset import Episode, InfiniteBuffer, ReplayBuffer
from d3rlpy.models.encoders import VectorEncoderFactory
from offline_common import Settings, load, step_times


def replay_buffer(arrays: dict[str, np.ndarray]) -> ReplayBuffer:
    """d3rlpy's replay buffer of all N transitions.

    MDPDataset would lose the last transition of each truncated episode: d3rlpy keeps no next observations, so
        those that were cut
    get one step more that holds it. An Episode's last step is itself no transition unless the episode
    terminated.
    """
    ends = np.flatnonzero(arrays["terminated"] | arrays["truncated"]) + 1
    episodes = []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        observation, action, reward = (
            arrays[name][start:end] for name in ("observation", "action", "reward")
        )
        terminated = bool(arrays["terminated"][end - 1])
        if not terminated:
            observation = np.concatenate([observation, arrays["next_observation"][end - 1 : end]])
            action, reward = np.concatenate([action, action[-1:]]), np.append(reward, np.float32(0))
        episodes.append(Episode(observation, action, reward[:, None], terminated))
    buffer = ReplayBuffer(InfiniteBuffer(), episodes=episodes)
    assert buffer.transition_count == len(arrays["reward"])
    return buffer


def learner(settings: Settings, compile_graph: bool = False) -> QLearningAlgoBase:
    """d3rlpy's algorithm with ``settings``."""
    hidden_units = [settings.hidden_width] * settings.hidden_depth
    common = {
        "actor_encoder_factory": VectorEncoderFactory(hidden_units),
        "critic_encoder_factory": VectorEncoderFactory(hidden_units, use_layer_norm=settings.layer_norm),
        "batch_size": settings.batch_size,
        "actor_learning_rate": settings.actor_lr,
        "critic_learning_rate": settings.critic_lr,
        "gamma": settings.discount,
        "tau": settings.tau,
        "compile_graph": compile_graph,
    }
    config: Any = {
        "cql": lambda: d3rlpy.algos.CQLConfig(
            **common,
            temp_learning_rate=settings.alpha_lr,
            initial_temperature=settings.initial_alpha,
            n_action_samples=settings.cql_samples,
            conservative_weight=2 * settings.cql_weight,  # no ½ before d3rlpy's squared error
            initial_alpha=1.0,
            alpha_learning_rate=0.0,  # no Lagrange multiplier
            alpha_threshold=0.0,  # without one, a constant in the loss
            soft_q_backup=settings.entropy_backup,
        ),
        "iql": lambda: d3rlpy.algos.IQLConfig(
            **common,
            value_encoder_factory=VectorEncoderFactory(hidden_units),
            expectile=settings.iql_expectile,
            weight_temp=settings.iql_beta,
        ),
        "awac": lambda: d3rlpy.algos.AWACConfig(**common, lam=settings.awac_lambda),
        "td3bc": lambda: d3rlpy.algos.TD3PlusBCConfig(**common, alpha=settings.td3bc_alpha),
        "rebrac": lambda: d3rlpy.algos.ReBRACConfig(
            **common, actor_beta=settings.rebrac_actor_bc, critic_beta=settings.rebrac_critic_bc
        ),
    }[settings.algo]()
    return config.create(device="cpu")


def layers(algo: QLearningAlgoBase, observation: np.ndarray) -> dict[str, np.ndarray]:
    """The deterministic policy: weight0 (inputs, outputs), bias0, …, ReLU between the layers and tanh at the
    end.
    """
    state = algo.impl.policy.state_dict()
    names = [
        name.removesuffix(".weight")
        for name in state
        if name.endswith(".weight") and not name.startswith("_logstd")
    ]
    arrays, x = {}, observation
    for i, name in enumerate(names):
        weight, bias = state[f"{name}.weight"].numpy().T.copy(), state[f"{name}.bias"].numpy().copy()
        arrays |= {f"weight{i}": weight, f"bias{i}": bias}
        x = x @ weight + bias
        x = np.tanh(x) if i == len(names) - 1 else np.maximum(x, 0)
    np.testing.assert_allclose(x, algo.predict(observation), atol=1e-4)
    return arrays


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--warm-up", type=int, default=50, help="first updates, trained but not timed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile-graph", action="store_true", help="ask d3rlpy for its compiled graph")
    parser.add_argument(
        "--out",
        type=Path,
        help="npz for the policy's layers and, as JSON, the measurements; printed in any case",
    )
    Settings.add_to(parser)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))  # errors only
    torch.set_num_threads(arguments.threads)
    d3rlpy.seed(arguments.seed)
    arrays = load(arguments.data)
    buffer, algo = replay_buffer(arrays), learner(Settings.of(arguments), arguments.compile_graph)
    algo.build_with_dataset(buffer)
    sampling, updating = np.zeros(arguments.updates), np.zeros(arguments.updates)
    warm_up = min(arguments.warm_up, arguments.updates // 2)
    cpu = 0.0
    for i in range(arguments.updates):
        if i == warm_up:
            cpu = time.process_time()
        start = time.perf_counter()
        batch = buffer.sample_transition_batch(algo.batch_size)
        sampled = time.perf_counter()
        metrics = algo.update(batch)
        sampling[i], updating[i] = sampled - start, time.perf_counter() - sampled
    cpu = time.process_time() - cpu
    total = (sampling + updating)[warm_up:]
    meta = {
        "updates": arguments.updates,
        "seed": arguments.seed,
        "threads": torch.get_num_threads(),
        "compile_graph": {"asked": arguments.compile_graph, "in_effect": algo.compiled},
        "per_update": step_times(total) | {"cpu_ms": round(cpu / len(total) * 1e3, 3)},
        "of_that_sampling": step_times(sampling[warm_up:]),
        "seconds": round(float((sampling + updating).sum()), 2),
        "last_metrics": {name: float(value) for name, value in metrics.items()},
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("d3rlpy", "torch", "numpy", "gym", "gymnasium")},
    }
    if arguments.out is not None:
        np.savez(arguments.out, **layers(algo, arrays["observation"][:256]), meta=np.array(json.dumps(meta)))
    print(json.dumps(meta, indent=1))


if __name__ == "__main__":
    main()
