"""The whole of a policy as one program: normalisation, network, tanh, and the environment's own range."""

from __future__ import annotations

from typing import Any

import numpy as np

from sac_dist.algorithms.agent import SACAgent
from sac_dist.algorithms.normalization import HIGHEST, LOWEST
from sac_dist.algorithms.sac import AVERAGE, ENCODER_AVERAGE
from sac_dist.data.schema import PRIVILEGED, side_by_side
from sac_dist.exporting.trace import Trace, TracedOperations, Value
from sac_dist.networks.build import is_asymmetric
from sac_dist.runner.card import Action
from sac_dist.runner.program import Program


def program_of(agent: SACAgent, action: Action) -> Program:
    """From the observation's vector and noise to ``action``.

    It is the policy's average over the last updates, which deterministic actions are of, and its samples:
    noise of zeros gives the tanh of the mean.
    """
    trace = Trace()
    ops: Any = TracedOperations(trace)
    seen, numbers = parts_seen(agent, trace, ops)
    if agent.normalization is not None and numbers is not None:
        mean, scale = np.split(agent.normalization.numbers.copy(), 2)
        numbers = ops.maximum(ops.minimum((numbers - mean) * scale, HIGHEST), LOWEST)
    x = ops.concatenate([*seen, *([] if numbers is None else [numbers])])
    actor: Any = agent.policy.actor(agent.tensors.copies[AVERAGE], ops)
    return trace.program(in_range(trace, actor(x, trace.noise), action))


def parts_seen(agent: SACAgent, trace: Trace, ops: Any) -> tuple[list[Any], Any]:
    """What the encoder makes of each picture, and the numbers of an observation, None for none. A file's
    observation is without what is privileged, in whose place stand zeros that the policy does not look at.
    """
    schema, encoder = agent.schema, agent.networks.encoder
    fields = schema.fields
    if encoder is None and not is_asymmetric(schema):
        return [], trace.observation
    places = side_by_side(field for field in fields if field.name != PRIVILEGED)
    given = {name: trace.observation[place] for name, place in places.items()}
    numbers = [
        given.get(field.name, np.zeros(field.size, np.float32)) for field in fields if not field.is_picture
    ]
    looks = [] if encoder is None else encoder.looks(agent.tensors.copies[ENCODER_AVERAGE], ops)
    seen = [look(given[name]).reshape(-1) for name, look in looks]
    return seen, ops.concatenate(numbers) if numbers else None


def in_range(trace: Trace, within_one: Value, action: Action) -> Value:
    """From [-1, 1] to the action's range, shape and dtype, as acting/environment.py scales it."""
    value: Any = within_one
    dtype = action.dtype
    plain = bool((action.low == -1).all() and (action.high == 1).all())
    if not plain:
        exact = np.dtype(np.float64 if dtype == np.float64 else np.float32)
        low, high = action.low.ravel().astype(exact), action.high.ravel().astype(exact)
        if exact == np.float64:
            value = trace.step("cast", value, settings=(exact.name,))
        half = (action.high.astype(np.float64) - action.low).ravel() / 2
        value = low + (value + np.ones((), exact)) * half.astype(exact)
        value = trace.step("minimum", trace.step("maximum", value, low), high)
    if (dtype != np.float32 and plain) or dtype == np.float16:
        value = trace.step("cast", value, settings=(dtype.name,))
    if len(action.shape) != 1:
        value = trace.step("reshape", value, settings=action.shape)
    return value
