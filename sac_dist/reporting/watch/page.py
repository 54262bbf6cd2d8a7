"""The page: a stage in 3D, the run's curves, and a few controls."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.backends.base import BackendError
from sac_dist.acting.hand import Hand
from sac_dist.acting.reels import Reels
from sac_dist.reporting.watch.curves import Curves
from sac_dist.reporting.watch.door import Door
from sac_dist.reporting.watch.films import Again, Evaluations, Player, Projector, Source
from sac_dist.reporting.watch.stage import Stage
from sac_dist.reporting.watch.steering import Steerers
from sac_dist.settings import EnvConfig

TICK, TRAINING_TICK = 0.05, 0.1  # s between frames; and beside a training, from which the page takes its time
IDLE_TICK = 0.25  # s between looks for visitors
TEXT_INTERVAL, CURVE_INTERVAL, PHOTO_INTERVAL = 0.5, 2.0, 1.0  # s
NEWEST = "newest evaluation"


@dataclass(frozen=True)
class Subject:
    """What there is to watch."""

    env: EnvConfig
    reels: Reels | None  # None: the players share no memory with the page
    players: Sequence[str]  # names of the first reels
    folder: Path | None = None  # of the run, whose metrics.csv has the curves
    # clock, updates and episodes now
    progress: Callable[[], tuple[int, int, int]] | None = None
    policies: Sequence[str] = ()  # to choose from, by name
    hand: Hand | None = None  # of who steers from the page


def serve(subject: Subject, host: str, port: int, token: str | None, opened: Callable[[], None]) -> None:
    """Show ``subject`` for ever; ``opened`` is called once the port answers. Raises OSError if it is
    taken.
    """
    hand = subject.hand
    steerers = None if hand is None else Steerers(hand, trains=subject.folder is not None)
    door = Door(token, steerers)
    server = door.open(host, port)
    opened()
    page = Page(server, subject, steerers)
    while True:
        started = time.monotonic()
        page.collect()
        page.attend()
        if door.inside:
            page.tick()
        else:
            page.rest()
        used = time.monotonic() - started
        time.sleep(max((page.interval if door.inside else IDLE_TICK) - used, 0.005))


class Page:
    def __init__(self, server: Any, subject: Subject, steerers: Steerers | None = None) -> None:
        self.server, self.subject, self.steerers = server, subject, steerers
        self._live = False  # the picture is of this moment
        self.evaluations = None if subject.reels is None else Evaluations(subject.reels)
        self.stage: Stage | None = None  # made for the first visitor
        self.projector: Projector | None = None
        self._shown = ""  # the source's name
        self._frame: bytes | None = None
        self._last = time.monotonic()
        self._due = {"text": 0.0, "curves": 0.0, "photo": 0.0}
        self._rate: tuple[float, int] | None = None
        self._add_controls()

    def _add_controls(self) -> None:
        gui, subject = self.server.gui, self.subject
        self.server.gui.configure_theme(show_logo=False, show_share_button=False, control_width="medium")
        self._text = gui.add_markdown("")
        self._source = gui.add_dropdown("Show", self._sources(), hint="who is seen in 3D")
        self._policy = gui.add_dropdown("Policy", tuple(subject.policies)) if subject.policies else None
        self._pause = gui.add_checkbox("Pause", False, hint="the picture, not the training")
        self._speed = gui.add_slider("Speed", 0.1, 2.0, 0.1, 1.0, hint="1: that of the real robot")
        self._camera = gui.add_dropdown("Camera", ("off",), visible=False)
        self._picture = gui.add_image(np.zeros((2, 2, 3), np.uint8), visible=False)
        self._curves = Curves(gui, subject.folder) if subject.folder is not None else None

    def _sources(self) -> tuple[str, ...]:
        """The trainer's workers, or where none plays the evaluations; then the films that are kept."""
        films = [] if self.evaluations is None else [film.title for film in reversed(self.evaluations.films)]
        players = list(self.subject.players) if self.subject.reels is not None else []
        evaluations = [NEWEST] if self.subject.folder is not None and self.subject.reels is not None else []
        return tuple(dict.fromkeys([*players, *evaluations, *films])) or ("nobody",)

    @property
    def interval(self) -> float:
        """s between frames."""
        return TRAINING_TICK if self.subject.folder is not None and not self._live else TICK

    def collect(self) -> None:
        """Keep what the evaluator has filmed."""
        if self.evaluations is not None and self.evaluations.collect():
            chosen = self._source.value
            self._source.options = self._sources()
            if chosen in self._source.options:
                self._source.value = chosen

    def attend(self) -> None:
        """Tell the hand whom the person who steers looks at."""
        hand, steerers, chosen = self.subject.hand, self.steerers, self._source.value
        if hand is None or steerers is None:
            return
        self._live = steerers.present and chosen in self.subject.players
        hand.attend(list(self.subject.players).index(chosen) if self._live else None)
        hand.pace(max(_number(self._speed.value), 0.1))
        steerers.direction = looking(self.server.get_clients())

    def rest(self) -> None:
        """Nobody looks."""
        if self.projector is not None and self.subject.reels is not None:
            self.subject.reels.forget()
            self.projector, self._shown = None, ""

    def tick(self) -> None:
        now = time.monotonic()
        elapsed, self._last = min(now - self._last, 10 * TICK), now
        if self.stage is None:
            self.stage = Stage(self.server, self.subject.env)
            self._camera.options = ("off", *self.stage.cameras)
            self._camera.visible = bool(self.stage.cameras)
        self._choose()
        if self.projector is not None:
            speed = 0.0 if self._pause.value is True else _number(self._speed.value)
            frame = (
                self.projector.newest()
                if self._live
                else self.projector.frame(elapsed * speed * self.stage.fps)
            )
            if frame is not None and frame is not self._frame:
                self._draw(frame)
        self._take_photo(now)
        if self._is_due("text", now, TEXT_INTERVAL):
            self._write(now)
        if self._curves is not None and self._is_due("curves", now, CURVE_INTERVAL):
            self._curves.update()

    def _choose(self) -> None:
        """Follow what the visitor has chosen."""
        reels, chosen = self.subject.reels, self._source.value
        if reels is None:
            return
        if self.projector is None or chosen != self._shown:
            reels.forget()  # before the new source asks
            source = self._source_of(chosen, reels)
            if source is not None:
                self.projector, self._shown = Projector(source), chosen
        policy = None if self._policy is None else self._policy.value
        if self.projector is not None and isinstance(self.projector.source, Player) and policy is not None:
            names, source = list(self.subject.policies), self.projector.source
            source.choice = names.index(policy) if policy in names else 0
            source.name = names[source.choice]

    def _source_of(self, name: Any, reels: Reels) -> Source | None:
        """None for a name that nobody offered."""
        if name in self.subject.players:
            begun = self.subject.hand is not None
            return Player(reels, list(self.subject.players).index(name), name, begun)
        if self.evaluations is None or name == NEWEST:
            return self.evaluations
        return next((Again(film) for film in self.evaluations.films if film.title == name), None)

    def _draw(self, frame: bytes) -> None:
        assert self.stage is not None
        self._frame = frame
        with self.server.atomic():
            picture = self.stage.show(frame)
        if picture is not None:
            self._picture.image, self._picture.visible = picture, True

    def _take_photo(self, now: float) -> None:
        assert self.stage is not None
        camera = self._camera.value
        if camera not in self.stage.cameras or self._frame is None:
            if self.stage.cameras and self._picture.visible:
                self._picture.visible = False
            return
        if self._is_due("photo", now, PHOTO_INTERVAL):
            try:
                self._picture.image = self.stage.photo(self._frame, camera)
                self._picture.visible = True
            except BackendError as error:
                self.stage.cameras = ()
                self.stage.obstacle = str(error)

    def _is_due(self, what: str, now: float, interval: float) -> bool:
        if now < self._due[what]:
            return False
        self._due[what] = now + interval
        return True

    def _write(self, now: float) -> None:
        lines = []
        if self.subject.progress is not None:
            clock, updates, episodes = self.subject.progress()
            before, self._rate = self._rate, (now, clock)
            rate = "" if before is None else f" · {(clock - before[1]) / (now - before[0]):,.0f} steps/s"
            lines.append(f"**{clock:,} steps**{rate} · {episodes:,} episodes · {updates:,} updates")
        if self._curves is not None and self._curves.line:
            lines.append(self._curves.line)
        film = None if self.projector is None else self.projector.current
        if film is not None and self.projector is not None:
            step = f"step {int(self.projector.position)} of {len(film.frames) - 1}"
            lines.append(f"{film.name} · {step}{' · ' if film.ended else ''}{film.verdict}")
        elif self.subject.reels is None:
            lines.append("workers of a cluster cannot be seen in 3D")
        if self.stage is not None and self.stage.obstacle is not None:
            lines.append(f"*{self.stage.obstacle}*")
        text = "  \n".join(lines)
        if text != self._text.content:
            self._text.content = text


def looking(clients: Mapping[int, Any]) -> float:
    """The direction in which the first of a server's visitors looks, in rad about the vertical; 0 along the
    base's x axis, and where nobody looks.
    """
    if not clients:
        return 0.0
    try:
        camera = clients[min(clients)].camera
        forward, left, _ = np.subtract(camera.look_at, camera.position)
    except (AssertionError, AttributeError):  # it has not said yet
        return 0.0
    return math.atan2(left, forward)


def _number(value: Any) -> float:
    """A visitor may send anything."""
    return float(value) if isinstance(value, (int, float)) and 0.0 <= value <= 10.0 else 1.0
