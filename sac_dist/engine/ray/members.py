"""Worker and learner as they are locally, but for what the network asks of them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import ray
import torch
from ray.exceptions import RayError

from sac_dist.data.batch import Batch
from sac_dist.engine.control import UPDATES
from sac_dist.engine.learner import Learner
from sac_dist.engine.member import Observations, Task
from sac_dist.engine.ray.replay import ChunkSender, NoBatch, StoreHindsight, StoreSampler
from sac_dist.engine.worker import Worker

if TYPE_CHECKING:
    from sac_dist.engine.ray.actors import MemberHost

# s between looks at the counters while there is nothing to do: they change with an exchange only, and many
# workers may wait
IDLE = 0.01
LONGEST_WAIT = (
    5.0  # s for which a worker that is ahead waits before each step, so that an empty replay fills again
)
FETCHING = 1.0  # s for a version of the policy to arrive, before an episode goes on with the old one


class RemoteWorker(Worker):
    """A worker whose transitions travel in chunks and whose weights come in versions, which it takes between
    episodes.
    """

    def __init__(self, host: MemberHost, task: Task, lead: int) -> None:
        self.host, self.version = host, -1
        self.lead = lead
        self.sender = cast(ChunkSender, task.replay)
        super().__init__(cast(Any, host.mailbox), task)

    def settle(self) -> None:
        self.sender.settle()

    def online(self) -> None:
        self.take_weights()
        super().online()
        self.sender.flush()

    def take_weights(self) -> None:
        if self.host.weights is not None and self.host.weights[0] != self.version:
            version, (reference,) = self.host.weights
            try:
                parameters = ray.get(reference, timeout=FETCHING)
            except RayError:  # late, or its learner has died: the next version is another chance
                return
            self.agent.act_by(torch.from_numpy(parameters.copy()))
            self.version = version

    def park_if_asked(self) -> None:
        if self.control.paused():
            self.sender.settle()
        super().park_if_asked()

    def await_learner(self) -> None:
        deadline = time.monotonic() + LONGEST_WAIT
        lead = self.lead * self.config.workers * self.config.update_ratio
        while self.owed() - 1 > lead and not self.control.paused() and not self.control.stopped():
            if time.monotonic() > deadline:
                self.sender.flush()  # what is staged may be all there is for the learner
                return
            self.wait()

    def wait(self, seconds: float = IDLE) -> None:
        self.sender.confirm()
        super().wait(max(seconds, IDLE))


class RemoteLearner(Learner):
    """A learner that publishes its policy."""

    hindsight = StoreHindsight

    def __init__(self, host: MemberHost, task: Task, weight_interval: int) -> None:
        self.host, self.weight_interval = host, weight_interval
        self.updating = threading.RLock()  # for a snapshot between two updates
        super().__init__(cast(Any, host.mailbox), task)
        self.publish()

    def new_observations(self, taken: list[int] | None) -> Observations | None:
        """The stores', which hand over each one's moments once: what a store or this learner takes with it
        when it dies is left out.
        """
        return None if self.agent.normalization is None else cast(StoreSampler, self.replay)

    def online(self) -> None:
        try:
            super().online()
        except NoBatch:
            self.wait()

    def offline(self) -> None:
        try:
            with self.updating:
                super().offline()
        except NoBatch:
            self.wait()

    def update(self, batch: Batch) -> None:
        with self.updating:
            super().update(batch)
        if self.control.row(self.rank)[UPDATES] % self.weight_interval == 0:
            self.publish()

    def publish(self) -> None:
        version = int(self.control.row(self.rank)[UPDATES])
        self.host.weights = version, [ray.put(self.agent.acting_numbers.numpy())]

    def wait(self, seconds: float = IDLE) -> None:
        super().wait(max(seconds, IDLE))

    def snapshot(self) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[Any]]]:
        """Its row of the counters and the agent's state after that many updates."""
        with self.updating:
            return self.control.row(self.rank), as_arrays(self.agent.state_dict())


def as_arrays(state: dict[str, torch.Tensor]) -> dict[str, npt.NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in state.items()}


def as_tensors(state: dict[str, npt.NDArray[Any]]) -> dict[str, torch.Tensor]:
    """Copies, which can be written to."""
    return {name: torch.from_numpy(array.copy()) for name, array in state.items()}
