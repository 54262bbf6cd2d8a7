"""Exported policies on a robot's own computer: numpy, for .onnx files onnxruntime, and nothing else.

    from sac_dist.runner import Policy

    policy = Policy.load("policy.npz")
    action = policy({"state": numbers})

``python -m sac_dist.runner FILE`` plays one in its environment; docs/deploy.md has the rest.
"""

from sac_dist.runner.card import Card, Field
from sac_dist.runner.loop import Limits, Loop, Stopped
from sac_dist.runner.policy import ObservationError, Policy
from sac_dist.settings.option import ConfigError

__all__ = ["Card", "ConfigError", "Field", "Limits", "Loop", "ObservationError", "Policy", "Stopped"]
