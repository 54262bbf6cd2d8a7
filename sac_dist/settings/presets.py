"""Sets of values under one name: ``--preset``.

The fields' own defaults are the Sawyer tasks' tuned values; what other environments take where nothing is
said is in by_environment.py.
"""

from __future__ import annotations

from typing import Any

from sac_dist.settings.data import DataConfig

# "Hands-on Reinforcement Learning": the networks and step sizes of its SAC.
BOOK: dict[str, Any] = {
    **{"hidden_width": 512, "hidden_depth": 4, "critic_depth": 3, "layer_norm": False},
    **{"actor_lr": 3e-4, "critic_lr": 3e-4, "alpha_lr": 3e-4},
}
# For learning from data alone, where nothing corrects an overestimate: small steps, critics that trust unseen
# actions less, and no push below what the data has been seen to return. What --offline takes by itself;
# measured by benchmarks/demonstrations.py.
OFFLINE: dict[str, Any] = {
    "hidden_width": 128,
    "actor_lr": 5e-5,
    "critic_lr": 3e-4,
    "alpha_lr": 1e-4,
    "tau": 0.005,
    "layer_norm": True,
    "entropy_backup": False,
}
# What the algorithm of the offline phase takes besides, or instead.
OFFLINE_OF: dict[str, dict[str, Any]] = {
    "cql": {"cql_weight": 0.3, "cql_samples": 5, "cal_ql": True},
    "iql": {"actor_lr": 1e-3, "critic_lr": 1e-3},
    "awac": {"actor_lr": 1e-3, "critic_lr": 1e-3},
    "td3bc": {"actor_lr": 1e-3, "critic_lr": 1e-3, "td3bc_alpha": 0.5},
    "rebrac": {
        **{"actor_lr": 1e-3, "critic_lr": 1e-3, "hidden_depth": 3, "batch_size": 256},
        **{"rebrac_actor_bc": 0.3, "rebrac_critic_bc": 0.05},
    },
}
# For goals with a sparse reward; docs/goals.md has what they are worth. γ, τ and step sizes are rl-zoo's for
# Fetch; observations are normalised as in Andrychowicz et al. 2017.
GOALS: dict[str, Any] = {
    **{"her": "future", "normalize_observations": True, "discount": 0.95, "tau": 0.05, "update_ratio": 1.0},
    **{"actor_lr": 1e-3, "critic_lr": 1e-3, "alpha_lr": 1e-3, "warmup_steps": 300},
}
# SAC as the field has it, with observations and rewards scaled by what is seen: for tasks that nobody tuned
# anything for, where ``general`` cannot be (by_environment.py).
PLAIN: dict[str, Any] = {
    **{"hidden_width": 256, "hidden_depth": 2, "layer_norm": True, "batch_size": 256, "update_ratio": 1.0},
    **{"actor_lr": 3e-4, "critic_lr": 3e-4, "alpha_lr": 3e-4, "discount": 0.99, "tau": 0.005},
    **{"normalize_observations": True, "normalize_returns": True, "warmup_steps": 1000},
}
# For policies that see pictures, on CPUs; docs/cameras.md has what they are worth. Step sizes as in SERL
# (arXiv:2401.16013, 3e-4) and above: an encoder does not bear the defaults' 1.5e-3 as well. A policy that was
# cloned is trained on at once: left alone for the default's 10,000 steps it came later to the same success.
PIXELS: dict[str, Any] = {
    **{"hidden_width": 128, "actor_lr": 5e-4, "critic_lr": 5e-4, "alpha_lr": 5e-4},
    **{"update_ratio": 1.0, "buffer_size": 100_000, "actor_warmup_steps": 0},
}
# Published learners, each with its paper's numbers for observations that are vectors. The target entropy
# (half of most papers') and what is evaluated (the policy's average) are this package's.
USUAL: dict[str, Any] = {
    **{
        "hidden_width": 256,
        "layer_norm": False,
        "batch_size": 256,
        "update_ratio": 1.0,
        "warmup_steps": 5000,
    },
    **{"actor_lr": 3e-4, "critic_lr": 3e-4, "alpha_lr": 3e-4, "discount": 0.99, "tau": 0.005},
    **{"initial_alpha": 1.0},
}
# Chen et al., arXiv:2101.05982, table 3.
REDQ = USUAL | {"critics": 10, "target_critics": 2, "update_ratio": 20.0}
# Hiraoka et al., arXiv:2110.02034, table 5.
DROQ = USUAL | {"dropout": 0.01, "layer_norm": True, "update_ratio": 20.0}
# Kuznetsov et al., arXiv:2005.04269, table 3.
TQC = USUAL | {"distribution": "tqc", "critics": 5, "critic_width": 512, "critic_depth": 3}
# Bhatt et al., arXiv:1902.05605, table 2.
CROSSQ = USUAL | {
    **{"network": "crossq", "target_network": False, "critic_width": 2048, "policy_every": 3},
    **{"actor_lr": 1e-3, "critic_lr": 1e-3, "alpha_lr": 1e-3, "adam_beta1": 0.5, "learner": "central"},
}
# For tasks that nobody tuned anything for: CrossQ with narrower critics, which know the distribution (C51) of
# returns that are scaled by what is seen. benchmarks/general.py holds others against it over many tasks.
GENERAL = {n: value for n, value in CROSSQ.items() if n not in ("critic_width", "tau", "layer_norm")} | {
    **{"distribution": "c51", "normalize_returns": True, "initial_alpha": 0.01, "warmup_steps": 1000},
}
# Lee et al., SimBa, arXiv:2410.09754, table 4.
SIMBA = USUAL | {
    **{"network": "simba", "hidden_width": 128, "hidden_depth": 1, "critic_width": 512, "critic_depth": 2},
    **{"normalize_observations": True, "weight_decay": 0.01, "initial_alpha": 0.01, "update_ratio": 2.0},
    **{"actor_lr": 1e-4, "critic_lr": 1e-4, "alpha_lr": 1e-4},
}
# Palenicek et al., arXiv:2509.25174.
XQC = USUAL | {
    **{"network": "xqc", "hidden_depth": 4, "critic_width": 512, "distribution": "c51", "policy_every": 3},
    **{"normalize_returns": True, "lr_decay": "linear", "lr_end": 0.1, "update_ratio": 2.0},
    **{"initial_alpha": 0.01, "learner": "central"},
}
# github.com/Holiday-Robot/FlashSAC, its settings for simulators on the CPU.
FLASHSAC = USUAL | {
    **{
        "network": "flashsac",
        "hidden_width": 128,
        "critic_width": 256,
        "distribution": "c51",
        "policy_every": 2,
    },
    **{"normalize_returns": True, "lr_decay": "cosine", "lr_end": 0.5, "batch_size": 512, "noise_repeat": 16},
    **{"tau": 0.01, "initial_alpha": 0.01, "learner": "central"},
}
# Ball et al., RLPD, arXiv:2302.02948, table 3: data in half of each batch.
RLPD = REDQ | {"demo_mode": "mix", "demo_ratio": 0.5, "layer_norm": True, "policy_every": 20}
# WSRL, arXiv:2412.07762: after an offline phase the policy acts for 5,000 steps without an update, and goes
# on from what it saw there, without the data. Its step sizes rise from 0 (actor_warmup_steps), unlike in the
# paper: with full ones from the start the grasp fell from 96 to 72 %, so from 100 to 84 % (one seed).
WSRL: dict[str, Any] = OFFLINE | {
    **{"offline_steps": 20_000, "demo_mode": "mix", "demo_ratio": 0.0, "warmup_steps": 5000},
    **{"critics": 10, "target_critics": 2, "update_ratio": 4.0},
}
PRESETS = {
    **{
        "book": BOOK,
        "general": GENERAL,
        "plain": PLAIN,
        "offline": OFFLINE,
        "goals": GOALS,
        "pixels": PIXELS,
        "redq": REDQ,
        "droq": DROQ,
        "tqc": TQC,
        "simba": SIMBA,
    },
    **{"crossq": CROSSQ, "xqc": XQC, "flashsac": FLASHSAC, "rlpd": RLPD, "wsrl": WSRL},
}
OF_OFFLINE_PHASES = "offline", "wsrl"  # presets that OFFLINE_OF goes over
OF_DATA = "rlpd", "wsrl"  # those that mean nothing without demonstrations


def expanded(settings: dict[str, Any], algo: str = DataConfig.algo) -> dict[str, Any]:
    """``settings`` with the values of its ``preset``, for the offline algorithm ``algo``, beneath its own."""
    name = settings.get("preset")
    if name is None:
        return settings
    return values_of(name, algo) | {name: value for name, value in settings.items() if name != "preset"}


def values_of(preset: str, algo: str) -> dict[str, Any]:
    """What ``preset`` sets, where the offline phases are of ``algo``."""
    return offline(algo, PRESETS[preset]) if preset in OF_OFFLINE_PHASES else PRESETS[preset]


def offline(algo: str, beneath: dict[str, Any] = OFFLINE) -> dict[str, Any]:
    """What an offline phase of ``algo`` takes by itself."""
    return beneath | OFFLINE_OF.get(algo, {})


def listed(values: dict[str, Any]) -> str:
    """Settings in one line."""
    return ", ".join(f"{name} {value}" for name, value in values.items())
