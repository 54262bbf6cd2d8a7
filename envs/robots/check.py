"""``--check-robot``: the card of a robot, what is missing, a picture, and what a trial of it shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from envs.backends.base import BackendError
from envs.robots.card import RobotCard, card_text
from envs.robots.library import robot_and_notes


@dataclass(frozen=True)
class Report:
    card: RobotCard
    notes: tuple[str, ...]  # about the guess
    troubles: tuple[str, ...]  # what does not work; empty: the robot is ready
    picture: Path | None
    no_picture: str | None  # why there is none

    def text(self) -> str:
        lines = [card_text(self.card).rstrip(), "", *(f"note: {note}" for note in self.notes)]
        lines.append(f"picture: {self.picture}" if self.picture else f"no picture: {self.no_picture}")
        lines += [f"trouble: {trouble}" for trouble in self.troubles]
        if not self.troubles:
            lines.append("trial: every joint follows, the region is reached" + self._hand())
        return "\n".join(lines)

    def _hand(self) -> str:
        return "" if self.card.gripper is None else ", the gripper holds a box and lifts it"


def check_robot(name: str, folder: Path) -> Report:
    """The picture goes into the folder. Raises BackendError, in one line, where there is not even a card."""
    from envs.robots.drawing import draw
    from envs.robots.trial import Trial

    card, notes = robot_and_notes(name)
    try:
        troubles = Trial(card).troubles()
    except BackendError as error:
        troubles = [str(error)]
    picture = folder / f"robot-{card.name}.png"
    obstacle = draw(card, picture)
    return Report(
        card, tuple(notes), tuple(troubles), picture.resolve() if obstacle is None else None, obstacle
    )
