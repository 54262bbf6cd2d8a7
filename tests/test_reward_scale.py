"""Rewards scaled by the spread of the discounted return."""

from __future__ import annotations

from dataclasses import replace
from multiprocessing.reduction import ForkingPickler

import gymnasium
import numpy as np
import pytest
import torch
from agents import ACT, OBS, SCHEMA, SMALL, make_batch, train

from sac_dist.algorithms.agent import SACAgent
from sac_dist.algorithms.reward_scale import RewardScale
from sac_dist.data.moments import NewObservations
from sac_dist.data.returns import RunningReturns
from sac_dist.data.ring import ReplayBuffer
from sac_dist.engine.returns_watch import ReturnsWatch
from sac_dist.settings import ConfigError

SCALED = replace(SMALL, normalize_returns=True)


def push(replay: ReplayBuffer, rewards: list[float], begin: bool = True) -> None:
    if begin:
        replay.begin_episode()
    for reward in rewards:
        replay.push(np.zeros(OBS), np.zeros(ACT), reward, np.zeros(OBS), False, False)


def test_returns_go_on_over_segments_and_begin_anew_with_episodes():
    replay = ReplayBuffer(1000, SCHEMA)
    returns = RunningReturns(1, replace(SMALL, discount=0.5), SCHEMA)
    new = NewObservations(replay, also=returns.add)
    push(replay, [1.0, 1.0])
    assert new.moments() is not None
    first = returns.take()
    assert first.moments.mean.item() == pytest.approx((1 + 1.5) / 2) and first.highest == 1.5
    push(replay, [-4.0], begin=False)  # 0.5 · 1.5 − 4
    push(replay, [2.0, 0.0])
    assert new.moments() is not None
    second = returns.take()
    assert (second.lowest, second.highest) == (-3.25, 2.0) and second.moments.number == 3
    assert returns.running == [1.0]
    both = first.merged(second)
    expected = np.array([1, 1.5, -3.25, 2, 1])
    assert both.moments.variance.item() == pytest.approx(expected.var()) and both.largest == 3.25


def test_the_scale_is_gymnasiums_and_no_return_exceeds_the_limit():
    rewards = np.random.default_rng(0).normal(3, 2, 400)
    replay, returns = ReplayBuffer(1000, SCHEMA), RunningReturns(1, replace(SMALL, discount=0.9), SCHEMA)
    new = NewObservations(replay, also=returns.add)
    push(replay, rewards.tolist())
    new.moments()
    found = returns.take()

    class Env(gymnasium.Env):
        observation_space = action_space = gymnasium.spaces.Box(-1, 1, (1,))
        index = -1

        def reset(self, **_):
            return np.zeros(1, np.float32), {}

        def step(self, _):
            self.index += 1
            return np.zeros(1, np.float32), float(rewards[self.index]), False, False, {}

    wrapper = gymnasium.wrappers.NormalizeReward(Env(), gamma=0.9)
    wrapper.reset()
    theirs = [wrapper.step(None)[1] for _ in rewards]
    scale = RewardScale(largest=1e9)
    scale.add(found)
    assert scale.factor * rewards[-1] == pytest.approx(theirs[-1], rel=1e-4)
    bounded = RewardScale(largest=0.5)
    bounded.add(found)
    assert bounded.factor * found.largest == pytest.approx(0.5)


def test_rewards_stay_while_there_is_none_and_updates_learn_from_the_scaled_ones():
    agent, plain = SACAgent(SCHEMA, SCALED), SACAgent(SCHEMA, SMALL)
    assert agent.reward_scale is not None and agent.reward_scale.factor == 1
    replay, returns = ReplayBuffer(100, SCHEMA), RunningReturns(1, replace(SMALL, discount=0.95), SCHEMA)
    new = NewObservations(replay, also=returns.add)
    push(replay, [0.0] * 10)
    new.moments()
    agent.reward_scale.add(returns.take())
    assert agent.reward_scale.factor == 1 and agent.reward_scale.known
    push(replay, [100.0] * 20)
    new.moments()
    agent.reward_scale.add(returns.take())
    factor = agent.reward_scale.factor
    assert 0 < factor < 0.01
    batch = make_batch()
    agent.update(batch)
    plain.update(batch._replace(reward=batch.reward * factor))
    assert torch.equal(agent.critic_parameters, plain.critic_parameters)


def test_the_scale_is_shared_saved_and_checked():
    agent = SACAgent(SCHEMA, SCALED)
    agent.share_memory()
    scale = ForkingPickler.loads(ForkingPickler.dumps(agent.reward_scale))  # as another process gets it
    replay, returns = ReplayBuffer(100, SCHEMA), RunningReturns(1, replace(SMALL, discount=0.95), SCHEMA)
    push(replay, [1.0, -2.0, 3.0])
    returns.add(replay.snapshot())
    scale.add(returns.take())
    assert agent.reward_scale.factor == scale.factor != 1
    state = train(agent, 1).state_dict()
    again = SACAgent(SCHEMA, SCALED, seed=3)
    again.load_state_dict(state)
    assert again.reward_scale.factor == agent.reward_scale.factor
    for bad in ({}, {"returns": state["returns"][:3]}, {"returns": -state["returns"] - 1}):
        with pytest.raises(ConfigError, match="returns"):
            again.load_state_dict({name: t for name, t in state.items() if name != "returns"} | bad)
    with pytest.raises(ConfigError, match="scales rewards by itself"):
        replace(SCALED, reward_scale=2.0)


def test_returns_beyond_the_support_are_told_of_once():
    said: list[str] = []
    for config, times in ((SMALL, 0), (replace(SMALL, distribution="c51"), 1), (SCALED, 0)):
        agent, replay = SACAgent(SCHEMA, config), ReplayBuffer(100, SCHEMA)
        watch = ReturnsWatch(agent, replay, None, said.append)
        new = NewObservations(replay, also=watch.add)
        for reward in (1.0, -30.0, 40.0):
            push(replay, [reward])
            new.moments()
            watch.update()
        assert len(said) == times and ReturnsWatch.is_needed(agent) == (config is not SMALL)
        said, kept = [], said
        if times:
            assert "returns from -30 to 1 leave the values ±5" in kept[0] and "--normalize-returns" in kept[0]
