"""Whether an environment reports its limit of time as an end, as robosuite's GymWrapper does."""

from __future__ import annotations

from sac_dist.acting.episode import Episode

ALIKE = 20  # episodes in a row that end alike before a user is told


class EndWatch:
    """Looks at a run's first episodes.

    The value of what comes after a terminated step is 0, of what comes after a truncated one it is learned
    (Pardo et al. 2018, "Time Limits in Reinforcement Learning").
    """

    def __init__(self) -> None:
        self.length = 0  # of the episodes so far
        self.alike: int | None = 0  # None: it is settled

    def take(self, episode: Episode) -> str | None:
        """What to tell the user, once: episodes that all terminate at the same step, none a success."""
        if self.alike is None:
            return None
        self.length = self.length or episode.length
        if not episode.terminated or episode.success or episode.length == 1 or episode.length != self.length:
            self.alike = None
            return None
        self.alike += 1
        if self.alike < ALIKE:
            return None
        self.alike = None
        return (
            f"its first {ALIKE} episodes all ended as terminated after {self.length} steps, and what comes "
            "after such an end is worth nothing: if that is a limit of time, let step return truncated, or "
            f"give --horizon {self.length - 1}"
        )
