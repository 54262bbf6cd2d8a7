"""Finds workers and evaluators that hang, or that take ever more memory, and kills them: the supervisor
restarts what died.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sac_dist.engine.control import Control
from sac_dist.engine.parts import Part

LONGEST_GAP = (
    1.0  # s between two looks that count as silence: beyond that the supervisor itself was stopped or busy
)
WEIGHING_INTERVAL = 1.0  # s


class Guard:
    """Watches ``children``, whose signs of life are the rows of ``control`` in this order.

    Args:
        timeout: seconds without a sign of life after which a child is killed; they begin with its start.
        memory: MiB of private memory above which it is killed; None: no limit.
        note: shows a line to the user.
    """

    def __init__(
        self,
        children: Sequence[Part],
        control: Control,
        timeout: float,
        memory: int | None,
        note: Callable[[str], None],
    ) -> None:
        self._children, self._control, self._timeout, self._memory, self._note = (
            children,
            control,
            timeout,
            memory,
            note,
        )
        self._seen: list[tuple[int, bytes]] = [(-1, b"")] * len(
            children
        )  # start and newest sign of life of each child
        self._silence = [0.0] * len(children)  # s
        self._looked = self._weighed = time.monotonic()

    def look(self) -> None:
        """Kill what has to be; call it often."""
        now = time.monotonic()
        gap, self._looked = min(now - self._looked, LONGEST_GAP), now
        weigh = self._memory is not None and now > self._weighed + WEIGHING_INTERVAL
        self._weighed = now if weigh else self._weighed
        for row, child in enumerate(self._children):
            activity = child.generation, self._control.activity(row)
            self._silence[row] = self._silence[row] + gap if activity == self._seen[row] else 0.0
            self._seen[row] = activity
            if child.generation < 0 or not child.running or not child.process.is_alive():
                continue
            if self._silence[row] > self._timeout:
                self._kill(child, f"has not finished a step for {self._timeout:g} s")
            elif weigh and self._memory is not None:
                held = private_memory(child.process.pid) or 0
                if held > self._memory:
                    self._kill(child, f"holds {held:,} MiB of memory, the limit is {self._memory:,}")

    def _kill(self, child: Part, reason: str) -> None:
        self._note(f"{child.name} {reason}: killed")
        child.kill()
        child.last_words = reason


def private_memory(process: int | str | None) -> int | None:
    """MiB that belong to this process alone, in memory or swapped out; None where the system does not tell
    (no /proc).
    """
    try:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
        return sum(int(fields[name].split()[0]) for name in ("RssAnon", "VmSwap")) // 1024
    except (OSError, KeyError):  # KeyError: it has just ended
        return None
