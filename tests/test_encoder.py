"""The encoder of pictures: what it computes, what trains it, and that acting sees what updates see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from sac_dist.algorithms.agent import SACAgent
from sac_dist.algorithms.sac import CRITICS, ENCODER, ENCODER_AVERAGE, POLICY
from sac_dist.data.batch import Batch
from sac_dist.data.moments import Moments
from sac_dist.data.pictures import Seen
from sac_dist.data.schema import Field, Schema
from sac_dist.execution.choose import choose
from sac_dist.execution.compiled import compile_obstacle, compile_update, compiled_path, load_update
from sac_dist.networks.encoder import Encoder
from sac_dist.settings import AgentConfig, ConfigError
from sac_dist.settings.algorithms import ALGORITHMS, load

SCHEMA = Schema(
    (Field("left", (18, 20, 3), "uint8", 2), Field("numbers", (3,)), Field("right", (16, 16, 1), "uint8", 2)),
    2,
)
SMALL: dict[str, Any] = {
    "encoder_channels": 4,
    "encoder_strided": 1,
    "encoder_latent": 5,
    "hidden_width": 16,
    "hidden_depth": 1,
    "shift": 2,
}


def agent_of(**settings: Any) -> SACAgent:
    return SACAgent(SCHEMA, AgentConfig(**SMALL | settings), seed=1)


def batch_of(size: int = 6, seed: int = 0, **more: Any) -> Batch:
    rng = np.random.default_rng(seed)
    rows = rng.uniform(-1, 1, (size, SCHEMA.row_width)).astype(np.float32)
    rows[:, SCHEMA.columns["terminated"]] = 0
    seen = Seen.empty(size, SCHEMA)
    assert seen is not None
    for part in (seen.now, seen.following):
        part[:] = rng.integers(0, 256, part.shape)
    return Batch.of_rows(rows, SCHEMA, np.full(size, 0.9, np.float32), seen=seen, **more)


def parameters(agent: SACAgent, group: str) -> Tensor:
    return agent.tensors.groups[group].parameters.clone()


def test_an_update_moves_pictures_by_whole_pixels_and_repeats_their_borders() -> None:
    encoder = Encoder.of(SCHEMA, AgentConfig(**SMALL))
    assert encoder is not None
    batch = batch_of(300)
    noise = torch.randn(300)
    moved = encoder.shifted(batch.seen, noise)
    assert (moved == encoder.shifted(batch.seen, noise)).all()
    found = []
    for row in range(300):
        offsets = []
        for begin, (height, width, channels) in ((0, (18, 20, 3)), (18 * 20 * 3, (16, 16, 1))):
            end = begin + height * width * channels
            before, after = (
                frames[row, :, begin:end].view(2, height, width, channels).permute(0, 3, 1, 2).float()
                for frames in (batch.seen, moved)
            )
            wide = pad(before, (2, 2, 2, 2), mode="replicate")
            fits = [
                (y, x)
                for y in range(5)
                for x in range(5)
                if (wide[..., y : y + height, x : x + width] == after).all()
            ]
            assert len(fits) == 1, "no crop of the padded picture"
            offsets += fits
        found.append(offsets)
    counts = np.unique(np.array(found).reshape(-1), return_counts=True)[1]
    assert len(counts) == 5 and counts.min() > 0.7 * 1200 / 5
    assert len({tuple(map(tuple, offsets)) for offsets in np.array(found)}) > 150, "cameras move together"


def test_acting_sees_what_an_update_sees() -> None:
    agent = agent_of(normalize_observations=True, shift=0)
    assert agent.normalization is not None and agent.networks.encoder is not None
    agent.normalization.add(Moments(10.0, np.array([0.5, -1, 0]), np.array([40.0, 10, 3])))
    for _ in range(3):
        agent.update(batch_of())
    batch = batch_of(1, seed=7)
    assert batch.seen is not None
    observation = SCHEMA.observations_of(batch.observation.numpy(), batch.seen.numpy())[0]
    encoder, average = agent.networks.encoder, agent.tensors.copies[ENCODER_AVERAGE]
    features = encoder(encoder.unpack(average), batch.seen)
    assert features.shape == (1, 10) and features.abs().max() <= 1
    numbers = agent.normalization.batch(batch).observation
    policy = agent.policy
    mean, _ = policy(policy.unpack(agent.tensors.copies["average"]), torch.cat([features, numbers], dim=-1))
    acted = agent.act(observation, deterministic=True)
    np.testing.assert_allclose(acted, mean[0].tanh().detach().numpy(), atol=1e-6)
    changed = observation.copy()
    changed[SCHEMA.spans["left"]] = 255 - changed[SCHEMA.spans["left"]]
    assert (agent.act(changed, deterministic=True) != acted).any()


def test_the_critics_train_the_encoder_and_the_policy_does_not() -> None:
    whole, critics_alone = agent_of(), agent_of(actor_lr=1e-20)
    before = parameters(whole, ENCODER)
    for agent in (whole, critics_alone):
        agent.update(batch_of())
    assert (parameters(whole, POLICY) != parameters(critics_alone, POLICY)).any()
    assert (parameters(whole, ENCODER) == parameters(critics_alone, ENCODER)).all()
    moved = parameters(whole, ENCODER) != before
    assert moved.float().mean() > 0.9
    left_alone = agent_of()
    left_alone.scale_steps(policy=0.0)
    left_alone.update(batch_of())
    assert (parameters(left_alone, ENCODER) == before).all(), "a policy that is not trained sees otherwise"
    assert (parameters(left_alone, CRITICS) == parameters(critics_alone, CRITICS)).all()


def test_gradients_are_those_of_the_loss_through_both_networks() -> None:
    agent = agent_of(shift=0)
    algorithm, tensors, batch = agent.algorithm, agent.tensors, batch_of()
    noise = agent.noise(6)
    encoder, vector = agent.networks.encoder, tensors.groups[ENCODER].parameters
    assert encoder is not None and batch.seen is not None and batch.next_seen is not None

    def loss(numbers: Tensor) -> Tensor:
        features = encoder(encoder.unpack(numbers), batch.seen)
        following = encoder(encoder.unpack(vector), batch.next_seen).detach()
        seen = batch._replace(
            observation=torch.cat([features, batch.observation], dim=-1),
            next_observation=torch.cat([following, batch.next_observation], dim=-1),
        )
        alpha = tensors.groups["log_alpha"].parameters.exp()
        return algorithm.critic_objective(  # type: ignore[attr-defined]
            tensors.groups[CRITICS].parameters, tensors, seen, noise, alpha
        )[0]

    leaf = vector.detach().clone().requires_grad_()
    expected = torch.autograd.grad(loss(leaf), [leaf])[0]
    tensors.steps.add_(agent.counts)
    agent.run_update(tensors, batch, noise, agent.lrs)
    torch.testing.assert_close(tensors.groups[ENCODER].exp_avg, 0.1 * expected, rtol=1e-4, atol=1e-8)


def test_cloning_trains_the_encoder_and_not_the_critics() -> None:
    agent = agent_of()
    agent.use("bc")
    before = parameters(agent, ENCODER), parameters(agent, CRITICS)
    first = agent.update(batch_of())["data_log_prob"]
    for _ in range(60):
        last = agent.update(batch_of())["data_log_prob"]
    assert last > first
    assert (parameters(agent, ENCODER) != before[0]).any() and (parameters(agent, CRITICS) == before[1]).all()
    agent.take_average()
    assert (parameters(agent, ENCODER) == agent.tensors.copies[ENCODER_AVERAGE]).all()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_trains_with_pictures(name: str) -> None:
    settings = load(name).Settings()
    agent = SACAgent(SCHEMA, AgentConfig(**SMALL), algorithms={name: settings})
    agent.use(name)
    more = {"return_to_go": np.zeros(6, np.float32)} if settings.needs_returns else {}
    more |= {"next_action": np.zeros((6, 2), np.float32)} if settings.needs_next_actions else {}
    before = parameters(agent, ENCODER)
    for _ in range(2):
        metrics = agent.update(batch_of(**more))
    assert all(value.isfinite() for value in metrics.values())
    assert (parameters(agent, ENCODER) != before).any()


@pytest.mark.parametrize(
    "settings",
    [{"network": "crossq"}, {"distribution": "tqc"}, {"dropout": 0.1, "critics": 4, "target_critics": 2}],
)
def test_other_networks_see_too(settings: dict[str, Any]) -> None:
    agents = [agent_of(**settings) for _ in range(2)]
    for agent in agents:
        for seed in range(2):
            agent.update(batch_of(seed=seed))
    assert torch.equal(agents[0].memory, agents[1].memory)
    again = agent_of(**settings)
    again.load_state_dict(agents[0].state_dict())
    assert torch.equal(parameters(again, ENCODER), parameters(agents[0], ENCODER))


def test_pictures_alone_leave_nothing_to_normalise() -> None:
    schema = Schema((Field("eye", (16, 16, 1), "uint8"),), 2)
    agent = SACAgent(schema, AgentConfig(**SMALL, normalize_observations=True))
    assert agent.act(np.zeros(256, np.float32)).shape == (2,)


def test_an_update_of_pictures_is_recorded_and_one_of_numbers_is_not() -> None:
    assert choose(agent_of(), 6).how == "recorded by autograd"


def test_what_is_privileged_reaches_the_critics_alone() -> None:
    numbers = Field("before", (4,)), Field("privileged", (3,)), Field("state", (2,))
    fields = (numbers[0], Field("eye", (16, 16, 1), "uint8"), *numbers[1:])
    schema = Schema(fields, 2)
    agent = SACAgent(schema, AgentConfig(**SMALL), seed=1)
    assert agent.policy.plain_shapes["linear1.weight"][0] == 5 + 4 + 2
    assert agent.q.plain_shapes["linear1.weight"][0] == 4 + 3 + 2 + 2
    rng = np.random.default_rng(0)
    observation = rng.uniform(0, 255, schema.observation_size).astype(np.float32)
    told = observation.copy()
    told[schema.spans["privileged"]] += 100
    assert (agent.act(observation, deterministic=True) == agent.act(told, deterministic=True)).all()
    told[schema.spans["state"]] += 100
    assert (agent.act(observation, deterministic=True) != agent.act(told, deterministic=True)).any()
    with pytest.raises(ConfigError, match="the policy sees nothing"):
        SACAgent(Schema((Field("privileged", (3,)),), 2), AgentConfig(**SMALL))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_policy_of_privileged_critics_trains_the_encoder(name: str) -> None:
    fields = (Field("eye", (16, 16, 1), "uint8"), Field("privileged", (3,)), Field("state", (2,)))
    schema = Schema(fields, 2)
    settings = load(name).Settings()
    rng = np.random.default_rng(0)
    seen = Seen.empty(6, schema)
    assert seen is not None
    seen.now[:] = rng.integers(0, 256, seen.now.shape)
    rows = rng.uniform(-1, 1, (6, schema.row_width)).astype(np.float32)
    returns, actions = np.zeros(6, np.float32), np.zeros((6, 2), np.float32)
    batch = Batch.of_rows(rows, schema, returns + 0.9, returns, actions, seen)
    moved = []
    for share in (1.0, 0.0):
        agent = SACAgent(schema, AgentConfig(**SMALL), 1, {name: settings})
        agent.use(name)
        agent.scale_steps(share)
        before = parameters(agent, ENCODER), parameters(agent, CRITICS)
        assert all(value.isfinite() for value in agent.update(batch).values())
        moved.append((parameters(agent, ENCODER) != before[0]).float().mean())
        assert (parameters(agent, CRITICS) != before[1]).any() == (name != "bc")
    assert moved[0] > 0.5 and moved[1] == 0, "a loss of the critics trains it"


def test_an_update_on_another_device_sees_pictures() -> None:
    here, there = agent_of(), agent_of()
    for agent in (here, there):
        agent.share_memory()
    choose(there, 6, "cpu:0").install(there)
    for seed in range(5):
        expected, found = here.update(batch_of(seed=seed)), there.update(batch_of(seed=seed))
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert torch.equal(parameters(here, ENCODER), parameters(there, ENCODER))


def test_a_picture_that_is_too_small_is_refused_in_a_line() -> None:
    schema = Schema((Field("eye", (9, 9, 3), "uint8"),), 1)
    with pytest.raises(
        ConfigError, match="eye of 9x9 is too small for 4 layers, 3 of which halve it: give a smaller"
    ):
        SACAgent(schema, AgentConfig())
    assert Encoder.of(schema, AgentConfig(encoder_depth=2)).eyes[0][1].sides == [(4, 4), (1, 1)]  # type: ignore[union-attr]
    SACAgent(schema, AgentConfig(encoder_depth=2))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_compiled_update_is_the_recorded_one() -> None:
    if (obstacle := compile_obstacle()) is not None:
        pytest.skip(obstacle)
    recorded, compiled = agent_of(), agent_of()
    compile_update(compiled, 6)
    compiled.set_rng_state(recorded.rng_state())
    compiled.use("sac", load_update(compiled_path(compiled, 6)))
    for seed in range(3):
        one, other = (agent.update(batch_of(seed=seed)) for agent in (recorded, compiled))
        for name, value in one.items():
            torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-4)
    moved = parameters(compiled, ENCODER) - parameters(agent_of(), ENCODER)
    assert moved.abs().max() > 1e-4
