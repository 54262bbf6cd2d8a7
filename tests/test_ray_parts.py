"""The parts of the Ray engine that need no cluster: chunks, sampling ahead, what a store keeps."""

import numpy as np
import pytest

from sac_dist.data.moments import Moments
from sac_dist.data.schema import Schema
from sac_dist.engine.ray.cluster import connected
from sac_dist.settings import ClusterConfig, Config, ConfigError, TrainConfig

pytest.importorskip("ray", reason="Ray is not installed: pip install 'sac_dist[ray]'")
from sac_dist.engine.ray.replay import ChunkSender, NoBatch, Store, StoreLost, Stores, StoreSampler, Writer

SCHEMA = Schema.vector(2, 1)


class LocalStores(Stores):
    """The stores in this process: a call is made at once, and its result is kept until it is asked for.
    ``lost``: dead ones.
    """

    def __init__(self, *capacities: int, shards: int = 1, observes: bool = False) -> None:
        super().__init__([Store(capacity, SCHEMA, shards, observes) for capacity in capacities])
        self.lost: set[int] = set()
        self.calls: list[tuple[int, str]] = []

    def call(self, store, method, *arguments):
        self.calls.append((store, method))
        return StoreLost if store in self.lost else (getattr(self.handles[store], method)(*arguments),)

    def ready(self, call, timeout=0):
        return True

    def result(self, call):
        if call is StoreLost:
            raise StoreLost
        return call[0]


def transition(number: int) -> tuple:
    return [number, -number], [0.5], number, [number + 1, 0], False, False


def sender(
    stores: Stores, chunk: int, pause=lambda: None, stopped=lambda: False, writer: Writer = (0, 1)
) -> ChunkSender:
    return ChunkSender(stores, writer, SCHEMA, chunk, pause, stopped)


def rewards(store: Store) -> list[float]:
    store.snapshot(None)
    return store.piece(0, 1000)[:, 3].tolist()


def lengths(store: Store) -> list[list[int]]:
    """Of each shard the lengths of its episodes."""
    segment = store.snapshot(None)
    return [
        np.diff([*begun, stop]).tolist() for begun, stop in zip(segment.episodes, segment.stop, strict=True)
    ]


def test_transitions_travel_in_chunks_in_their_order_and_are_counted_when_they_have_arrived():
    stores = LocalStores(100)
    replay = sender(stores, chunk=4)
    for number in range(10):
        replay.push(*transition(number))
    replay.confirm()  # a worker that waits does so again and again: it sends no part of a chunk
    assert stores.calls == [(0, "extend")] * 2 and replay.settled == 8
    replay.settle()
    assert replay.settled == 10 and rewards(stores.handles[0]) == list(range(10))
    assert stores.handles[0].stored_by((0, 1)) == 10 and stores.handles[0].stored_by((0, 0)) == 0


def test_a_transition_that_is_not_finite_is_refused_where_it_arises():
    replay = sender(LocalStores(100), chunk=4)
    with pytest.raises(ValueError, match="reward must be finite"):
        replay.push([0, 0], [0], np.nan, [0, 0], False)


def test_chunks_of_a_store_that_died_go_to_its_successor_once():
    stores = LocalStores(100)
    stores.lost = {0}
    replacement = Store(100, SCHEMA, 1)

    def pause():
        stores.handles, stores.lost = [replacement], set()

    replay = sender(stores, chunk=2, pause=pause)
    for number in range(5):
        replay.push(*transition(number))
    replay.settle()
    assert rewards(replacement) == list(range(5)) and replay.settled == 5


def test_a_stopped_worker_does_not_wait_for_a_store_for_ever():
    stores = LocalStores(100)
    stores.lost = {0}
    replay = sender(stores, chunk=2, stopped=lambda: True)
    for number in range(5):
        replay.push(*transition(number))
    replay.settle()
    assert replay.settled == 0


def test_each_worker_has_a_shard_of_its_own_where_its_episodes_stay_whole():
    stores = LocalStores(200, 100, shards=2)  # ranks 0 and 2; rank 1
    workers = [sender(stores, chunk=3, writer=(rank, 0)) for rank in range(3)]
    for number in range(12):  # their chunks arrive in turn
        for rank, replay in enumerate(workers):
            if number % (rank + 4) == 0:
                replay.begin_episode()
            replay.push(*transition(number))
    for replay in workers:
        replay.settle()
    assert lengths(stores.handles[0]) == [[4, 4, 4], [6, 6]]
    assert lengths(stores.handles[1])[0] == [5, 5, 2]


def test_what_does_not_follow_the_last_chunk_begins_an_episode():
    """A worker that was started anew, and chunks between which others were lost with a store."""
    stores = LocalStores(100)
    first = sender(stores, chunk=2)
    for number in range(4):
        first.push(*transition(number))
    again = sender(stores, chunk=2, writer=(0, 2))
    for number in range(4):
        again.push(*transition(number))
    store = stores.handles[0]
    assert lengths(store) == [[4, 4]]
    store._expected = [((0, 2), 6)]  # as if one more chunk had been here
    again.push(*transition(4))
    again.settle()
    assert lengths(store) == [[4, 4, 1]]


def filled(*counts: int) -> LocalStores:
    """Store k holds that many transitions, whose reward is k."""
    stores = LocalStores(*(1000 for _ in counts))
    for store, count in enumerate(counts):
        replay = sender(stores, chunk=100, writer=(store, 1))
        for _ in range(count):
            replay.push(*transition(store))
        replay.settle()
    return stores


def sampler(stores: Stores, ahead: int = 64, pause=lambda: None) -> StoreSampler:
    return StoreSampler(stores, SCHEMA, ahead, pause)


def test_sampling_is_uniform_over_all_transitions_whatever_store_holds_them():
    source, rng = sampler(filled(600, 0, 200)), np.random.default_rng(0)
    out = np.empty((50, SCHEMA.row_width), np.float32)
    drawn = []
    for _ in range(200):
        source.sample_into(out, rng)
        drawn += out[:, 3].tolist()
    assert set(drawn) == {0.0, 2.0} and np.mean(np.array(drawn) == 2) == pytest.approx(0.25, abs=0.02)
    assert len(source) == 800


def test_a_store_that_was_empty_at_first_is_drawn_from_once_it_holds_something(monkeypatch):
    monkeypatch.setattr("sac_dist.engine.ray.replay.LENGTHS_AGE", 0.0)
    stores, rng = filled(50, 0), np.random.default_rng(0)
    source, out = sampler(stores, ahead=64), np.empty((64, SCHEMA.row_width), np.float32)
    source.sample_into(out, rng)
    worker = sender(stores, chunk=10, writer=(1, 1))
    for _ in range(50):
        worker.push(*transition(1))
    for _ in range(3):  # two blocks were drawn before
        source.sample_into(out, rng)
    assert set(out[:, 3]) == {0.0, 1.0}


def test_a_block_is_on_its_way_while_one_is_used():
    stores = filled(100)
    stores.calls.clear()
    source, rng = sampler(stores, ahead=64), np.random.default_rng(0)
    out = np.empty((32, SCHEMA.row_width), np.float32)
    requests = []
    for _ in range(4):
        source.sample_into(out, rng)
        requests.append(stores.calls.count((0, "sample")))
    assert requests == [2, 2, 3, 3]


@pytest.mark.parametrize(
    ("address", "message"),
    [("127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9: "), ("there", "it is host:port")],
)
def test_an_address_without_a_cluster_is_refused_at_once(address, message):
    settings = Config(train=TrainConfig(engine="ray"), cluster=ClusterConfig(address=address))
    with pytest.raises(ConfigError, match=message), connected(settings):
        pass


def test_an_empty_replay_gives_no_batch_and_a_lost_store_is_waited_for():
    out, rng = np.empty((4, 8), np.float32), np.random.default_rng(0)
    with pytest.raises(NoBatch):
        sampler(LocalStores(10)).sample_into(out, rng)
    stores = filled(50, 50)

    def pause():
        stores.lost = set()

    source = sampler(stores, pause=pause)
    assert len(source) == 100
    stores.lost = {1}
    source.sample_into(out, rng)
    assert set(out[:, 3]) <= {0.0, 1.0}


def test_the_stores_tell_the_learner_of_each_observation_once():
    stores = LocalStores(100, 100, observes=True)
    sampler = StoreSampler(stores, SCHEMA, ahead=64, pause=lambda: None)
    workers = [sender(stores, chunk=4, writer=(rank, 1)) for rank in range(2)]
    rows, rng, told = np.empty((64, SCHEMA.row_width), np.float32), np.random.default_rng(0), Moments.none(2)
    assert sampler.moments() is None
    pushed = np.arange(24)
    for first in (0, 12):
        for number in pushed[first : first + 12]:
            workers[int(number % 3 == 0)].push(*transition(number))
        for worker in workers:
            worker.settle()
        for _ in range(3):  # the next block is on its way already: what it brings is older
            sampler.sample_into(rows, rng)
            new = sampler.moments()
            told = told if new is None else told.merged(new)
    assert told.number == 24
    np.testing.assert_allclose(told.mean, [pushed.mean(), -pushed.mean()])
    np.testing.assert_allclose(told.variance, [pushed.var()] * 2)


def test_what_is_put_back_into_a_store_has_been_told_of_before():
    stores = LocalStores(100, observes=True)
    replay = sender(stores, chunk=4)
    for number in range(8):
        replay.push(*transition(number))
    replay.settle()
    kept = stores.handles[0].snapshot([0])
    rows = stores.handles[0].piece(0, 8)
    again = Store(100, SCHEMA, 1, True)
    again.take(rows)
    again.restore(kept)
    assert again.sample(4, 0).new.number == 0
