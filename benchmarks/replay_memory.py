"""Memory of the replay buffer beside the raw bytes of its transitions, as allocated and as in use once it is
full.
"""

from pathlib import Path

import numpy as np

from sac_dist import ReplayBuffer
from sac_dist.data.schema import Schema


def shared_in_use() -> int:
    """Bytes of anonymous shared memory (memfd) that are in use by this process, in memory or swapped out."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            inside = "memfd:" in line
        elif inside and line.startswith(("Rss:", "Swap:")):
            total += int(line.split()[1]) * 1024
    return total


def main() -> None:
    for capacity, shards in ((10_000, 2), (100_000, 2), (1_000_000, 6)):
        before = shared_in_use()
        buffer = ReplayBuffer(capacity, Schema.vector(31, 7), shards)
        raw = capacity * buffer.state()["row_bytes"]
        for shard in range(shards):
            size = capacity // shards + 1
            rows = np.zeros((size, 31))
            buffer.for_shard(shard).extend(
                rows, rows[:, :7], np.zeros(size), rows, np.zeros(size), np.zeros(size)
            )
        in_use = shared_in_use() - before
        print(
            f"{capacity:>9,} transitions: raw {raw:,} B, allocated {buffer.nbytes / raw:.5f} ×, in use "
            f"when full {in_use / raw:.5f} ×"
        )
        del buffer


if __name__ == "__main__":
    main()
