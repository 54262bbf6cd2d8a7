"""Sets of values under one name: ``--preset``, and what is taken for an environment where nothing is said.

The fields' own defaults are the Sawyer tasks' tuned values.
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
# RLPD, arXiv:2302.02948: data in half of each batch, many critics with layer normalisation, many updates.
RLPD: dict[str, Any] = {
    **{"demo_mode": "mix", "demo_ratio": 0.5, "critics": 10, "target_critics": 2, "layer_norm": True},
    **{"update_ratio": 20.0},
}
# WSRL, arXiv:2412.07762: after an offline phase the policy acts for 5,000 steps without an update, and goes
# on from what it saw there, without the data. Its step sizes rise from 0 (actor_warmup_steps), unlike in the
# paper: with full ones from the start the grasp fell from 96 to 72 %, so from 100 to 84 % (one seed).
WSRL: dict[str, Any] = OFFLINE | {
    **{"offline_steps": 20_000, "demo_mode": "mix", "demo_ratio": 0.0, "warmup_steps": 5000},
    **{"critics": 10, "target_critics": 2, "update_ratio": 4.0},
}
PRESETS = {"book": BOOK, "offline": OFFLINE, "rlpd": RLPD, "wsrl": WSRL}
OF_OFFLINE_PHASES = "offline", "wsrl"  # presets that OFFLINE_OF goes over
OF_DATA = "rlpd", "wsrl"  # those that mean nothing without demonstrations

# By environment, for --train: values that were measured to be better there than the defaults.
TUNED: dict[str, dict[str, Any]] = {
    # Where 64 units and an update to three steps do not get there: benchmarks/worlds.py.
    **dict.fromkeys(("Push-v0", "PickAndPlace-v0"), {"hidden_width": 128, "update_ratio": 0.66}),
    # Return after 50,000 steps of two workers, one seed: 2,946 in 236 s; with the defaults 1,232 in 45 s.
    "HalfCheetah-v5": {
        **{"hidden_width": 256, "layer_norm": False, "batch_size": 256, "update_ratio": 1.0},
        **{"actor_lr": 3e-4, "critic_lr": 3e-4, "alpha_lr": 3e-4, "discount": 0.99, "tau": 0.005},
    },
}


def expanded(settings: dict[str, Any], algo: str = DataConfig.algo) -> dict[str, Any]:
    """``settings`` with the values of its ``preset``, for the offline algorithm ``algo``, beneath its own."""
    name = settings.get("preset")
    if name is None:
        return settings
    rest = {name: value for name, value in settings.items() if name != "preset"}
    return (offline(algo, PRESETS[name]) if name in OF_OFFLINE_PHASES else PRESETS[name]) | rest


def offline(algo: str, beneath: dict[str, Any] = OFFLINE) -> dict[str, Any]:
    """What an offline phase of ``algo`` takes by itself."""
    return beneath | OFFLINE_OF.get(algo, {})


def tuned(settings: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """``settings`` over what was tuned for its ``env``, and a line that says what was taken."""
    values = TUNED.get(settings.get("env", "auto"), {})
    taken = {name: value for name, value in values.items() if name not in settings}
    if not taken:
        return settings, None
    what = ", ".join(f"{name} {value}" for name, value in taken.items())
    return taken | settings, f"settings tuned for {settings['env']}: {what}"
