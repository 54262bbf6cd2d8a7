"""The central learner's process: it makes all updates of a run whose workers only act."""

from __future__ import annotations

from sac_dist.engine.control import DONE
from sac_dist.engine.member import Member


class Learner(Member):
    """Updates the networks as often as the workers' steps call for; they wait where it falls behind."""

    def online(self) -> None:
        if self.owed() < 1:
            self.wait()
        else:
            self.update_online()
            self.report()

    def finished(self) -> bool:
        """When no worker has a step to come and no step's update is missing, or at the supervisor's word."""
        if not super().finished():
            return False
        steps_to_come = (
            self.control.total(DONE) < self.config.workers
        )  # the last ones may be on their way when the budget is reached
        return self.control.stopped() or self.due() is None or (not steps_to_come and self.owed() < 1)
