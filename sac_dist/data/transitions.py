"""The one form of transitions outside torch and the ring: rows of whole episodes, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.data.schema import Rows, Schema, side_by_side
from sac_dist.settings import ConfigError

Starts = npt.NDArray[np.int64]
Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Transitions:
    """N transitions of E whole episodes in the order in which they happened; the last of each episode is
    terminated or truncated.

    Those that a reader returns (see ``formats.files.read``) have been checked: finite numbers, actions in
    [-1, 1], and within an episode each next observation is the following transition's observation.
    """

    schema: Schema
    rows: Rows  # (N, row_width)
    starts: Starts  # (E,) the row at which each episode begins
    success: npt.NDArray[np.bool_] | None = None  # (E,) None: the file does not say
    # (N + E, frame_size) uint8: each row's pictures, and after an episode's last row those of its next
    # observation; None: observations are numbers alone. (…, vector_size) of them are in the rows.
    frames: Frames | None = None
    # plain JSON: "env" (EnvConfig's fields), "policy", "seed", … where known
    source: dict[str, Any] = field(default_factory=dict)
    # (N,) a person acted in place of the policy; None: the file does not say
    is_intervention: npt.NDArray[np.bool_] | None = None

    @classmethod
    def of_arrays(
        cls,
        parts: Mapping[str, npt.ArrayLike],
        success: npt.NDArray[np.bool_] | None = None,
        source: dict[str, Any] | None = None,
        schema: Schema | None = None,
        frames: Frames | None = None,
    ) -> Transitions:
        """Copies of arrays (N, …) by their names in ``Schema.columns``; every terminated or truncated row
        ends an episode. ``schema``: None is that of plain vectors.
        """
        if schema is None:
            sizes = (np.shape(parts[name])[1] for name in ("observation", "action"))
            schema = Schema.vector(*sizes)
        rows = schema.rows(parts)
        ended = schema.ended(rows[:-1])
        return cls(schema, rows, np.append(0, np.flatnonzero(ended) + 1), success, frames, source or {})

    def pictures(self, begin: int, stop: int) -> dict[str, Frames]:
        """``frames`` begin … stop - 1 by camera, each (…, height, width, channels)."""
        if self.frames is None:
            return {}
        places = side_by_side(replace(field, stack=1) for field in self.schema.pictures)
        return {
            field.name: self.frames[begin:stop, places[field.name]].reshape(-1, *field.shape)
            for field in self.schema.pictures
        }

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def observation(self) -> npt.NDArray[np.float32]:
        """(N, vector_size)"""
        return self._part("observation")

    @property
    def action(self) -> npt.NDArray[np.float32]:
        """(N, action_size), in [-1, 1]"""
        return self._part("action")

    @property
    def reward(self) -> npt.NDArray[np.float32]:
        """(N,)"""
        return self._part("reward")

    @property
    def next_observation(self) -> npt.NDArray[np.float32]:
        """(N, vector_size), the true last one at an episode's end"""
        return self._part("next_observation")

    @cached_property
    def terminated(self) -> npt.NDArray[np.bool_]:
        """(N,) the episode ended in a state of no further value."""
        return self._part("terminated") != 0

    @cached_property
    def truncated(self) -> npt.NDArray[np.bool_]:
        """(N,) the episode was cut (a time limit, a stopped run) but its value goes on."""
        return self._part("truncated") != 0

    def _part(self, name: str) -> npt.NDArray[np.float32]:
        return self.rows[:, self.schema.columns[name]]

    @property
    def ends(self) -> Starts:
        """(E,) one past each episode's last transition."""
        return np.append(self.starts[1:], len(self.rows))

    @property
    def lengths(self) -> Starts:
        """(E,) transitions in each episode."""
        return self.ends - self.starts

    @property
    def returns(self) -> npt.NDArray[np.float64]:
        """(E,) undiscounted sums of the rewards."""
        return np.add.reduceat(self.reward.astype(np.float64), self.starts)

    def pick(self, episodes: Sequence[int]) -> Transitions:
        """These episodes, at least one, in this order."""
        parts = [np.arange(self.starts[each], self.ends[each]) for each in episodes]
        rows, frames = np.concatenate(parts), None
        if self.frames is not None:
            shown = zip(episodes, parts, strict=True)
            frames = np.concatenate(
                [self.frames[part[0] + each : part[-1] + each + 2] for each, part in shown]
            )
        return Transitions(
            self.schema,
            self.rows[rows],
            np.cumsum([0, *map(len, parts[:-1])]),
            None if self.success is None else self.success[list(episodes)],
            frames,
            self.source,
            None if self.is_intervention is None else self.is_intervention[rows],
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Transitions]) -> Transitions:
        """All episodes of ``parts`` (at least one), one part after the other; ``schema`` and ``source`` are
        the first one's.

        Raises ConfigError if the sizes of observations or actions differ.
        """
        schema = parts[0].schema
        for part in parts[1:]:
            for name in ("observation", "action"):
                mine, other = schema.shapes[name][0], part.schema.shapes[name][0]
                if mine != other:
                    raise ConfigError(
                        f"the demonstrations do not fit together: {name}s of {mine} and of {other} numbers"
                    )
            if part.schema.pictures != schema.pictures:
                raise ConfigError("the demonstrations do not fit together: their pictures differ")
        before = np.cumsum([0, *map(len, parts)])
        starts = np.concatenate([part.starts + rows for part, rows in zip(parts, before[:-1], strict=True)])
        successes = [part.success for part in parts if part.success is not None]
        success = np.concatenate(successes) if len(successes) == len(parts) else None
        rows = np.concatenate([part.rows for part in parts])
        frames = [part.frames for part in parts if part.frames is not None]
        marks = [part.is_intervention for part in parts if part.is_intervention is not None]
        return cls(
            schema,
            rows,
            starts,
            success,
            np.concatenate(frames) if frames else None,
            parts[0].source,
            np.concatenate(marks) if len(marks) == len(parts) else None,
        )


def begins_of(schema: Schema, rows: Rows) -> Starts:
    """Which of these rows (N, row_width), one after the other, begin an episode, where nothing but the rows
    says so: the first one, and each that follows a marked end or does not go on where the one before stopped.
    """
    if not len(rows):
        return np.empty(0, np.int64)
    parts = schema.views(rows)
    apart = (parts["next_observation"][:-1] != parts["observation"][1:]).any(axis=1)
    return np.append(0, np.flatnonzero(schema.ended(rows[:-1]) | apart) + 1)
