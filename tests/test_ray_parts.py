"""The parts of the Ray engine that need no cluster: chunks, sampling ahead, what a shard keeps."""

import numpy as np
import pytest

from sac_dist.engine.ray.cluster import connected
from sac_dist.settings import ClusterConfig, Config, ConfigError, TrainConfig

pytest.importorskip("ray", reason="Ray is not installed: pip install 'sac_dist[ray]'")
from sac_dist.engine.ray.replay import ChunkSender, NoBatch, Store, StoreLost, Stores, StoreSampler

SIZES = (2, 1)


class LocalShards(Stores):
    """The shards in this process: a call is made at once, and its result is kept until it is asked for.
    ``lost``: dead ones.
    """

    def __init__(self, *capacities: int) -> None:
        super().__init__([Store(capacity, *SIZES) for capacity in capacities])
        self.lost: set[int] = set()
        self.calls: list[tuple[int, str]] = []

    def call(self, shard, method, *arguments):
        self.calls.append((shard, method))
        return StoreLost if shard in self.lost else (getattr(self.handles[shard], method)(*arguments),)

    def ready(self, call, timeout=0):
        return True

    def result(self, call):
        if call is StoreLost:
            raise StoreLost
        return call[0]


def transition(number: int) -> tuple:
    return [number, -number], [0.5], number, [number + 1, 0], False, False


def sender(
    shards: Stores, chunk: int, pause=lambda: None, stopped=lambda: False, shard: int = 0
) -> ChunkSender:
    return ChunkSender(shards, shard, (3, 1), SIZES, chunk, pause, stopped)


def rewards(shard: Store) -> list[float]:
    first, stop = shard.snapshot(0)
    return shard.piece(0, stop - first)[:, 3].tolist()


def test_transitions_travel_in_chunks_in_their_order_and_are_counted_when_they_have_arrived():
    shards = LocalShards(100)
    replay = sender(shards, chunk=4)
    for number in range(10):
        replay.push(*transition(number))
    replay.confirm()  # a worker that waits does so again and again: it sends no part of a chunk
    assert shards.calls == [(0, "extend")] * 2 and replay.settled == 8
    replay.settle()
    assert replay.settled == 10 and rewards(shards.handles[0]) == list(range(10))
    assert shards.handles[0].stored_by((3, 1)) == 10 and shards.handles[0].stored_by((3, 0)) == 0


def test_a_transition_that_is_not_finite_is_refused_where_it_arises():
    replay = sender(LocalShards(100), chunk=4)
    with pytest.raises(ValueError, match="reward must be finite"):
        replay.push([0, 0], [0], np.nan, [0, 0], False)


def test_chunks_of_a_shard_that_died_go_to_its_successor_once():
    shards = LocalShards(100)
    shards.lost = {0}
    replacement = Store(100, *SIZES)

    def pause():
        shards.handles, shards.lost = [replacement], set()

    replay = sender(shards, chunk=2, pause=pause)
    for number in range(5):
        replay.push(*transition(number))
    replay.settle()
    assert rewards(replacement) == list(range(5)) and replay.settled == 5


def test_a_stopped_worker_does_not_wait_for_a_shard_for_ever():
    shards = LocalShards(100)
    shards.lost = {0}
    replay = sender(shards, chunk=2, stopped=lambda: True)
    for number in range(5):
        replay.push(*transition(number))
    replay.settle()
    assert replay.settled == 0


def filled(*counts: int) -> LocalShards:
    """Store k holds that many transitions, whose reward is k."""
    shards = LocalShards(*(1000 for _ in counts))
    for shard, count in enumerate(counts):
        replay = sender(shards, chunk=100, shard=shard)
        for _ in range(count):
            replay.push(*transition(shard))
        replay.settle()
    return shards


def sampler(shards: Stores, ahead: int = 64, pause=lambda: None) -> StoreSampler:
    return StoreSampler(shards, SIZES, ahead, pause)


def test_sampling_is_uniform_over_all_transitions_whatever_shard_holds_them():
    source, rng = sampler(filled(600, 0, 200)), np.random.default_rng(0)
    out = np.empty((50, source.row_width), np.float32)
    drawn = []
    for _ in range(200):
        source.sample_into(out, rng)
        drawn += out[:, 3].tolist()
    assert set(drawn) == {0.0, 2.0} and np.mean(np.array(drawn) == 2) == pytest.approx(0.25, abs=0.02)
    assert len(source) == 800


def test_a_block_is_on_its_way_while_one_is_used():
    shards = filled(100)
    shards.calls.clear()
    source, rng = sampler(shards, ahead=64), np.random.default_rng(0)
    out = np.empty((32, source.row_width), np.float32)
    requests = []
    for _ in range(4):
        source.sample_into(out, rng)
        requests.append(shards.calls.count((0, "sample")))
    assert requests == [2, 2, 3, 3]


@pytest.mark.parametrize(
    ("address", "message"),
    [("127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9: "), ("there", "it is host:port")],
)
def test_an_address_without_a_cluster_is_refused_at_once(address, message):
    settings = Config(train=TrainConfig(engine="ray"), cluster=ClusterConfig(address=address))
    with pytest.raises(ConfigError, match=message), connected(settings):
        pass


def test_an_empty_replay_gives_no_batch_and_a_lost_shard_is_waited_for():
    out, rng = np.empty((4, 8), np.float32), np.random.default_rng(0)
    with pytest.raises(NoBatch):
        sampler(LocalShards(10)).sample_into(out, rng)
    shards = filled(50, 50)

    def pause():
        shards.lost = set()

    source = sampler(shards, pause=pause)
    assert len(source) == 100
    shards.lost = {1}
    source.sample_into(out, rng)
    assert set(out[:, 3]) <= {0.0, 1.0}
