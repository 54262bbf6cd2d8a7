"""``--push-to-hub REPO``: a policy for others."""

from __future__ import annotations

from typing import Any

from sac_dist.cli.given import refuse_rest, take_environment, take_model
from sac_dist.cli.terminal import show
from sac_dist.settings import ConfigError


def run_push(settings: dict[str, Any], repository: str) -> int:
    overrides, model = take_environment(settings), take_model(settings)
    episodes = settings.pop("episodes", None)
    refuse_rest(settings, "push-to-hub")
    from sac_dist.reporting.sharing import EPISODES, share

    episodes = EPISODES if episodes is None else episodes
    if episodes < 1:
        raise ConfigError(f"--episodes is {episodes}: it must be above 0")
    address = share(model, repository, overrides, episodes, note=show)
    show(f"shared as {address}")
    show(f"see it: python -m sac_dist --test --model hf://{repository}")
    return 0
