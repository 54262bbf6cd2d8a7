"""A run's checkpoints: the members stand still, everything is copied, they go on, and the copy is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from sac_dist.algorithms.agent import SACAgent
from sac_dist.engine.children import Children
from sac_dist.engine.control import EPISODES, OFFLINE_UPDATES, STEPS, UPDATES, Control
from sac_dist.engine.divergence import all_finite
from sac_dist.engine.member import Boundary
from sac_dist.engine.parts import Engine, Part, StateOfStart
from sac_dist.settings import Config
from sac_dist.storage import checkpoint
from sac_dist.storage.checkpoint import Checkpoint
from sac_dist.storage.run_folder import RunFolder
from sac_dist.storage.segments import ReplayFiles

# s in which each of several members, and the lone one after a signal, reaches the end of its step; the state
# of one that does not is missing in the checkpoint
BOUNDARY_TIMEOUT = 5.0


class NotFiniteState(Exception):
    """The networks hold NaN or infinite values: they are not written."""


class Checkpointing:
    """Collects the members' states and writes ``folder.last``.

    ``more``: what the supervisor adds to the run's state, plain JSON, asked when the copy is taken.
    """

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        agent: SACAgent,
        control: Control,
        note: Callable[[str], None],
        more: Callable[[], dict[str, Any]],
    ) -> None:
        self.config, self.folder, self.agent, self.control = config, folder, agent, control
        self._note, self._more = note, more
        self.replay_files = ReplayFiles(folder.replay, agent.schema)
        members = config.train.members
        self.states: list[dict[str, Any]] = [
            {} for _ in range(members)
        ]  # at the newest boundary; empty: unknown
        self.next_generation = [0] * members
        self._arrived: set[int] = set()
        self._exactness_told: str | None = None

    def restore(self, saved: Checkpoint, engine: Engine) -> None:
        """Counters, members and replay of the run that ``saved`` is the last checkpoint of."""
        assert saved.run is not None
        run, before, now = saved.run, saved.config.train, self.config.train
        self.control.restore(run["counters"])
        same_roles = (before.workers, before.central) == (now.workers, now.central)
        if same_roles and len(run["workers"]) == now.members:  # each goes on as what it was
            self.states = run["workers"]
            told = run.get("exact")
            if told is not None and told.startswith("not exact") and now.members == 1:
                self._note(f"this checkpoint is {told}: the run goes on with a new episode")
        self.next_generation = [max(run["next_generation"])] * now.members
        self.replay_files.load(run["replay"], engine.replay)

    def state_of_start(self, rank: int) -> StateOfStart:
        def begin(start: int) -> tuple[int, dict[str, Any] | None]:
            state = self.states[rank] if start == 0 else {}
            generation = state.get("generation", self.next_generation[rank])
            self.next_generation[rank] = generation + 1
            return generation, state or None

        return begin

    def take(self, rank: int, message: Boundary) -> None:
        """Member ``rank`` stands still, or has done its work."""
        self.states[rank] = message.state
        self._arrived.add(rank)

    def pause(self, children: Children) -> None:
        """Until the members stand still; they go on with :meth:`write`."""
        self.control.pause()
        self._await_boundary(children)

    def stop(self, children: Children) -> None:
        """Until the members have ended."""
        self.control.stop()
        self._await_boundary(children)

    def _await_boundary(self, children: Children) -> None:
        """Until every living member has sent its state, see ``BOUNDARY_TIMEOUT``; one that does not in time
        starts anew if the run is resumed. The lone one is waited for, until the guard finds that it hangs:
        its state makes the checkpoint exact.
        """
        members, alone, signals = children.members, self.config.train.members == 1, children.signals
        self.states = [
            state if member.ended else {} for member, state in zip(members, self.states, strict=True)
        ]
        self._arrived = {rank for rank, member in enumerate(members) if member.ended}
        deadline: float | None = None
        while any(member.alive and rank not in self._arrived for rank, member in enumerate(members)):
            if deadline is None and (not alone or signals.received is not None):
                deadline = time.monotonic() + BOUNDARY_TIMEOUT
            if deadline is not None and time.monotonic() > deadline:
                break
            children.receive(0.01)
            if alone:
                children.look_after()

    def exactness(self, members: list[Part]) -> str:
        """How exactly a resumed run goes on from here: "step" (within an episode), "episode end", or "not
        exact" and why.
        """
        if len(members) > 1:
            return "not exact: several processes trained at once"
        if self.states[0]:
            return str(self.states[0].get("exact", "step"))
        if members[0].alive:
            return f"not exact: {members[0].name} was in a step of more than {BOUNDARY_TIMEOUT:g} s"
        return f"not exact: {members[0].name} had died"

    def write(self, engine: Engine, members: list[Part]) -> int:
        """Copy the state, let the members go on, then write it; returns the clock of that moment. Raises
        NotFiniteState, OSError.
        """
        state = engine.gather()
        segment = self.replay_files.copy_new(engine.replay)
        columns = STEPS, UPDATES, EPISODES, OFFLINE_UPDATES
        run: dict[str, Any] = {
            "counters": [self.control.total(column) for column in columns],
            "workers": list(self.states),
            "next_generation": list(self.next_generation),
            "exact": self.exactness(members),
            **self._more(),
        }
        self.control.resume()
        if not all_finite(state):
            raise NotFiniteState
        run["replay"] = self.replay_files.write(segment)
        info = {"steps": run["counters"][0], "offline_updates": run["counters"][3]}
        self._write(state, info, run)
        self.replay_files.prune()
        self._tell(run["exact"], len(members))
        return sum(info.values())

    def _write(self, state: dict[str, torch.Tensor], info: dict[str, Any], run: dict[str, Any]) -> None:
        checkpoint.write(self.folder.last, Checkpoint(state, self.agent.schema, self.config, info, run))

    def _tell(self, exact: str, members: int) -> None:
        """The promise of one worker is that it repeats: say where a checkpoint keeps it not, or not by
        itself.
        """
        if members == 1 and exact not in ("step", "episode end", self._exactness_told):
            exactly = "" if exact.startswith("not exact") else "exact to the "
            self._note(f"checkpoint at {self.control.clock():,}: {exactly}{exact}")
            self._exactness_told = exact
