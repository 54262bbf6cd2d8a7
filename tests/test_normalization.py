"""``--normalize-observations``: statistics of observations that all processes share, and what is seen by them."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from agents import ACT, OBS, SCHEMA, SMALL, make_batch, same
from test_engine import config, policy_of

from sac_dist.acting.recording import record
from sac_dist.algorithms.agent import SACAgent
from sac_dist.book.policy_files import save_book_policy
from sac_dist.data.batch import Batch
from sac_dist.data.moments import LARGEST_PIECE, PIECE, Moments, NewObservations
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.schema import Schema
from sac_dist.data.segment import ReplaySegment
from sac_dist.engine.control import Control
from sac_dist.engine.learner import Learner
from sac_dist.engine.local import LocalEngine
from sac_dist.engine.member import Task
from sac_dist.engine.parts import EngineInputs
from sac_dist.engine.train import resume, train
from sac_dist.engine.worker import Worker
from sac_dist.execution.choose import choose
from sac_dist.formats import files
from sac_dist.settings import ConfigError, DataConfig, EnvConfig
from sac_dist.settings.algorithms import CQLSettings
from sac_dist.storage import checkpoint
from sac_dist.storage.checkpoint import Checkpoint
from sac_dist.storage.segments import ReplayFiles

NORMALIZED = replace(SMALL, normalize_observations=True)


def observations(count: int = 500, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    """(count, OBS) float32, of another size and place in each component."""
    drawn = np.random.default_rng(seed).normal(np.arange(OBS), 1 + np.arange(OBS), (count, OBS))
    return (scale * drawn).astype(np.float32)


def agent_that_saw(values: np.ndarray) -> SACAgent:
    agent = SACAgent(SCHEMA, NORMALIZED)
    assert agent.normalization is not None
    agent.normalization.add(Moments.of(values))
    return agent


def by_numpy(values: np.ndarray, of: np.ndarray) -> np.ndarray:
    """``of`` normalised by the mean and variance of ``values``, in float64."""
    wide = values.astype(np.float64)
    return ((of - wide.mean(axis=0)) / np.sqrt(wide.var(axis=0) + 1e-8)).clip(-10, 10)


def assert_moments_of(values: np.ndarray, moments: Moments) -> None:
    wide = values.astype(np.float64)
    assert moments.number == len(values)
    np.testing.assert_allclose(moments.mean, wide.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(moments.variance, wide.var(axis=0), rtol=1e-9)


# the statistics


@pytest.mark.parametrize("place", [0.0, 1e6])
def test_merged_moments_are_those_of_the_whole_also_far_from_zero(place):
    values = observations(3 * PIECE + 5) + np.float32(place)
    merged = Moments.none(OBS)
    for part in np.split(values, [0, 1, 2, 300, PIECE + 17, 2 * PIECE + 40]):
        merged = merged.merged(Moments.of(part))
    assert_moments_of(values, merged)


def test_a_component_of_one_value_has_squares_of_exactly_zero():
    values = np.full((1000, 2), [0.1, -1e6 / 3], np.float32)
    merged = Moments.none(2)
    for part in np.split(values, [3, 500]):
        merged = merged.merged(Moments.of(part))
    assert not merged.squares.any()


def push(ring: ReplayBuffer, values: np.ndarray) -> None:
    nothing = np.zeros(len(values))
    ring.extend(values, np.zeros((len(values), ACT)), nothing, values, nothing, nothing)


def test_each_transition_of_every_shard_counts_once_in_another_process_too():
    ring, values = ReplayBuffer(3000, SCHEMA, shards=2), observations(900)
    new, moments = NewObservations(ring), Moments.none(OBS)
    shards = [ring.for_shard(0), ring.for_shard(1)]
    for number, part in enumerate(np.split(values, [1, 20, 300, 301, 500])):
        push(shards[number % 2], part)
        found = new.moments()
        moments = moments if found is None else moments.merged(found)
        new = NewObservations(ring, new.taken.tolist())
    assert_moments_of(values, moments)
    assert new.moments() is None


def test_what_lay_in_the_buffer_before_does_not_count_again():
    ring = ReplayBuffer(100, SCHEMA)
    push(ring, observations(50))
    for taken in (None, [51], [25, 25]):  # those of another buffer
        assert NewObservations(ring, taken).moments() is None


def test_new_moments_wait_until_the_replay_has_grown_by_a_hundredth_or_a_thousand():
    ring = ReplayBuffer(400_000, SCHEMA)
    new = NewObservations(ring)
    for written, enough in ((1000, 10), (300_000, LARGEST_PIECE)):
        push(ring, np.zeros((written - int(ring.written[0]), OBS), np.float32))
        assert new.moments() is not None
        push(ring, np.zeros((enough - 1, OBS), np.float32))
        assert new.moments() is None
        push(ring, np.zeros((1, OBS), np.float32))
        assert new.moments().number == enough


def test_a_buffer_that_is_smaller_than_what_comes_at_once_leaves_out_what_was_overwritten():
    ring, values = ReplayBuffer(40, SCHEMA), observations(100)
    new = NewObservations(ring)
    push(ring, values)
    assert_moments_of(values[-40:], new.moments())


# what is seen by them


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e6])
def test_acting_normalises_one_observation(scale):
    values = observations(scale=scale)
    agent, plain = agent_that_saw(values), SACAgent(SCHEMA, SMALL)
    for vector in (agent.policy_parameters, plain.policy_parameters):
        vector.mul_(3)
    agent.take_average(), plain.take_average()
    for observation in (*values[:3], values[0] + np.float32(1e3 * scale)):  # which is cut to 10
        seen = by_numpy(values, observation)
        for deterministic in (True, False):
            np.testing.assert_allclose(
                agent.act(observation, deterministic), plain.act(seen, deterministic), rtol=2e-4, atol=1e-6
            )


def rows_batch(scale: float, size: int = 32) -> Batch:
    """As a replay gives it: views of rows."""
    batch, rows = make_batch(size), np.zeros((size, SCHEMA.row_width), np.float32)
    views = SCHEMA.views(rows)
    for number, name in enumerate(("observation", "next_observation")):
        views[name][:] = observations(size, scale, seed=number)
    views["action"][:], views["reward"][:] = batch.action, batch.reward
    return Batch.of_rows(rows, SCHEMA, batch.discount.numpy())


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_an_update_is_that_of_a_normalised_batch(explicit, scale):
    values, batch = observations(scale=scale), rows_batch(scale)
    raw = copy.deepcopy(batch)
    agent, plain = agent_that_saw(values), SACAgent(SCHEMA, SMALL)
    seen = batch._replace(
        **{
            name: torch.from_numpy(by_numpy(values, getattr(batch, name).numpy()).astype(np.float32))
            for name in ("observation", "next_observation")
        }
    )
    for one, given in ((agent, batch), (plain, seen)):
        if explicit:
            one.run_update = choose(one, 32).update
        for _ in range(3):
            one.update(given)
    for vector, expected in ((a.policy_parameters, a.critic_parameters) for a in (agent, plain)):
        assert vector.isfinite().all() and expected.isfinite().all()
    assert torch.allclose(agent.policy_parameters, plain.policy_parameters, rtol=1e-3, atol=1e-5)
    assert torch.allclose(agent.critic_parameters, plain.critic_parameters, rtol=1e-3, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(batch[:5], raw[:5], strict=True)), (
        "the replay's rows stay raw"
    )


def test_a_normalised_batch_has_the_strides_that_an_update_is_compiled_for():
    batch = rows_batch(1.0)
    seen = agent_that_saw(observations()).normalization.batch(batch)
    assert [part.stride() for part in seen[:5]] == [part.stride() for part in batch[:5]]


def test_without_an_observation_all_stay_as_they_are_within_the_bounds():
    normalization = SACAgent(SCHEMA, NORMALIZED).normalization
    batch = make_batch(observation=torch.tensor([[0.5, -3.0, 11.0, -1e6, 0.0]]))
    assert not normalization.known
    assert normalization.batch(batch).observation.tolist() == [[0.5, -3.0, 10.0, -10.0, 0.0]]


def test_the_first_other_value_of_a_constant_component_is_no_explosion():
    values = observations()
    values[:, 0] = 0.1
    agent = agent_that_saw(values)
    other = values[:1].copy()
    other[0, 0] += 0.001
    batch = make_batch(observation=torch.from_numpy(other))
    assert agent.normalization.batch(batch).observation[0, 0] == pytest.approx(0.001, rel=1e-3)
    agent.normalization.add(Moments.of(other))
    assert 1 < agent.normalization.batch(batch).observation[0, 0] <= 10, "as far as it is rare"


# where they lie


def test_without_the_flag_there_is_nothing_of_it():
    agent = SACAgent(SCHEMA, SMALL)
    assert agent.normalization is None
    assert not any(name.startswith("observations.") for name in agent.state_dict())
    assert torch.equal(agent.acting_numbers, agent.policy_parameters)


def test_state_carries_them_and_a_policy_file_too(tmp_path):
    agent, values = agent_that_saw(observations(scale=1e3)), observations(3, 1e3)
    checkpoint.save_policy(
        tmp_path / "p.safetensors", agent, replace(config(tmp_path), agent=NORMALIZED), {"steps": 1}
    )
    again = checkpoint.read(tmp_path / "p.safetensors").build_agent()
    assert_moments_of(observations(scale=1e3), again.normalization.moments)
    for observation in values:
        np.testing.assert_array_equal(again.act(observation, True), agent.act(observation, True))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ({"observations.mean": None}, "missing tensor observations.mean"),
        ({"observations.mean": torch.zeros(OBS)}, "observations.mean is no finite float64 tensor"),
        ({"observations.mean": torch.zeros(OBS + 1).double()}, "observations.mean is no finite"),
        ({"observations.squares": -torch.ones(OBS).double()}, "observations.squares holds negative"),
        ({"observations.number": torch.tensor(torch.nan).double()}, "observations.number is no finite"),
    ],
)
def test_damaged_statistics_are_refused_in_one_line_and_change_nothing(damage, complaint):
    agent, other = agent_that_saw(observations()), SACAgent(SCHEMA, NORMALIZED, seed=3)
    before = agent.state_dict()
    state = {name: tensor for name, tensor in (other.state_dict() | damage).items() if tensor is not None}
    with pytest.raises(ConfigError, match=complaint):
        agent.load_state_dict(state)
    assert same(agent.state_dict(), before)


def test_a_state_of_the_other_kind_is_refused():
    plain, agent = SACAgent(SCHEMA, SMALL), agent_that_saw(observations())
    with pytest.raises(ConfigError, match=r"missing tensor observations.number"):
        agent.load_state_dict(plain.state_dict())
    with pytest.raises(ConfigError, match=r"unknown tensors observations.mean"):
        plain.load_state_dict(agent.state_dict())


def test_a_copy_and_shared_memory_keep_them():
    agent = agent_that_saw(observations())
    copied = copy.deepcopy(agent)
    agent.share_memory()
    assert same(agent.state_dict(), copied.state_dict())
    agent.normalization.add(Moments.of(observations(seed=1)))
    observation = observations(1)[0]
    assert not np.array_equal(agent.act(observation, True), copied.act(observation, True))


def test_a_writer_that_was_killed_in_the_middle_leaves_what_was_before():
    agent = agent_that_saw(observations())
    normalization = agent.normalization

    class Killed(Exception):
        pass

    class Mean(np.ndarray):
        def __array_ufunc__(self, *_, **__):
            raise Killed

    with pytest.raises(Killed):  # the moments are written, what follows from them is not
        normalization.set(Moments(7.0, np.zeros(OBS), np.ones(OBS).view(Mean)))
    assert_moments_of(observations(), normalization.moments)


def test_a_process_that_only_explores_needs_the_policy_and_two_vectors():
    agent, explorer = agent_that_saw(observations(scale=1e6)), SACAgent(SCHEMA, NORMALIZED, seed=9)
    explorer.set_rng_state(agent.rng_state())
    explorer.act_by(agent.acting_numbers)
    observation = observations(1, 1e6)[0]
    np.testing.assert_array_equal(agent.act(observation), explorer.act(observation))


def test_the_books_files_have_no_place_for_them(tmp_path):
    with pytest.raises(ConfigError, match="train it without --normalize-observations"):
        save_book_policy(agent_that_saw(observations()), tmp_path / "book")


# runs


def normalized(tmp_path: Path, **settings):
    of_run = config(tmp_path, **settings)
    return replace(of_run, agent=replace(of_run.agent, normalize_observations=True))


def stored(run) -> tuple[Checkpoint, ReplaySegment]:
    saved = checkpoint.read(run.folder.last)
    return saved, ReplayFiles(run.folder.replay, saved.schema).read(saved.run["replay"])


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("learner", [None, "central"])
def test_two_workers_share_the_statistics_of_what_both_have_stored(tmp_path, learner):
    run = train(normalized(tmp_path, workers=2, steps=400, learner=learner))
    saved, segment = stored(run)
    taken = next(state["observed"] for state in saved.run["workers"] if "observed" in state)
    assert min(taken) > 0 and 390 < sum(taken) <= segment.stop.sum()
    of_both = [rows[:count, :2] for rows, count in zip(segment.parts(), taken, strict=True)]
    assert_moments_of(np.concatenate(of_both), saved.build_agent().normalization.moments)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_resumed_run_gives_the_bits_of_one_that_never_stopped(tmp_path):
    whole = train(normalized(tmp_path / "whole", steps=400))
    half = train(normalized(tmp_path / "half", steps=203))
    saved = checkpoint.read(half.folder.last).config
    without = replace(saved, agent=replace(saved.agent, normalize_observations=False))
    with pytest.raises(ConfigError, match="--normalize-observations cannot change when a run is resumed"):
        resume(half.folder.path, without)
    resumed = resume(half.folder.path, replace(saved, train=replace(saved.train, steps=400)))
    assert same(policy_of(whole), policy_of(resumed))
    assert policy_of(whole)["observations.number"] > 390


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("mode", ["prefill", "mix"])
def test_demonstrations_count_once_from_the_start(tmp_path, mode):
    files.write(record(EnvConfig("toy_envs:Point-v0"), "random", 12), tmp_path / "demos.npz")
    in_ring = mode == "prefill"
    data = DataConfig(
        demos=(str(tmp_path / "demos.npz"),),
        bc_steps=20,
        offline_steps=20,
        demo_mode=mode,
        demo_overwrite=in_ring,
    )
    run = train(replace(normalized(tmp_path, steps=60), data=data))
    saved, segment = stored(run)
    demos = files.read(tmp_path / "demos.npz").observation
    of_run = segment.rows[:, :2] if in_ring else np.concatenate([demos, segment.rows[:, :2]])
    new = sum(saved.run["workers"][0]["observed"]) - (len(demos) if in_ring else 0)
    assert new > 0
    assert_moments_of(of_run[: len(demos) + new], saved.build_agent().normalization.moments)


def test_who_does_not_keep_the_statistics_waits_until_there_are_some(tmp_path, monkeypatch):
    of_run = normalized(tmp_path, workers=2, steps=400)
    schema = Schema.vector(2, 2)
    agent, control, replay = SACAgent(schema, of_run.agent), Control(2), ReplayBuffer(500, schema, 2)
    keeper, other = (
        Worker(None, Task(rank, 0, of_run, agent, replay.for_shard(rank), None, control, None))
        for rank in range(2)
    )
    replay.for_shard(1).push(np.full(2, 1e6), np.zeros(2), 0.0, np.full(2, 1e6), False)
    waits = []

    def wait(_: Worker) -> None:
        waits.append(agent.normalization.known)
        if len(waits) == 3:
            keeper.update_online()

    monkeypatch.setattr(Worker, "wait", wait)
    other.update_online()
    assert waits == [False] * 3 and agent.normalization.moments.mean.tolist() == [1e6, 1e6]
    assert agent.tensors.steps.tolist() == [2.0] * 3


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_without_an_online_phase_they_are_the_datas(tmp_path):
    files.write(record(EnvConfig("toy_envs:Point-v0"), "random", 12), tmp_path / "demos.npz")
    data = DataConfig(offline=(str(tmp_path / "demos.npz"),), bc_steps=10, offline_steps=20)
    of_run = replace(normalized(tmp_path), data=data, algorithms={"cql": CQLSettings(cal_ql=True)})
    run = train(of_run)
    demos = files.read(tmp_path / "demos.npz").observation
    assert_moments_of(demos, checkpoint.read(run.folder.last).build_agent().normalization.moments)


def test_what_is_written_before_their_keeper_is_up_counts_and_what_the_run_began_with_does_not(tmp_path):
    of_run = normalized(tmp_path, workers=2, learner="central")
    schema = Schema.vector(OBS, ACT)
    agent = SACAgent(schema, of_run.agent)
    engine = LocalEngine(EngineInputs(of_run, agent, Control(3), None, lambda: None, print))
    push(engine.shards[0], observations(30))
    learner = engine.member(2, lambda start: (start, None))
    push(engine.shards[1], observations(20, seed=1))
    first, second = (Learner(None, *learner._make_task(start)) for start in (0, 1))
    assert_moments_of(observations(20, seed=1), first.observations.moments())
    assert second.observations.moments() is None, "one that died has seen to the others"
