"""Which environment a run is of, and what its constructor is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from sac_dist.settings.option import ConfigError, flag_of, option, options_of, positive

DEFAULT_HORIZON = 1000


@dataclass(frozen=True)
class EnvConfig:
    """An environment: an id that gymnasium knows, or from Python the class or function that makes one.

        EnvConfig("SawyerGrasp-v0", {"reward": "sparse"})
        EnvConfig(MyReach, {"size": 3}, horizon=200)

    ``kwargs`` are arguments of the environment's own constructor: the trainer's settings know no robot.
    """

    id: str | Callable[..., Any] = option(  # noqa: RUF009 (it is dataclasses.field)
        "auto",
        "a gymnasium id, such as SawyerLift-v0, or module:Id-v0; auto: SawyerGrasp-v0 where a simulator "
        "works, else Pendulum-v1",
        flag="env",
    )
    kwargs: Mapping[str, Any] = option(
        dict, "arguments of the environment's constructor, in JSON: '{\"size\": 3}'", flag="env_kwargs"
    )
    horizon: int | None = option(
        None,
        "environment steps until an episode is truncated; left out: the environment's own limit, or where it "
        f"has none {DEFAULT_HORIZON:,}",
    )
    success: Literal["any", "last"] | None = option(
        None, "which steps of an episode may make it a success: any (default) or the last"
    )
    frame_stack: int | None = option(
        None, "pictures of the last so many steps that are seen at once; left out, the newest alone"
    )
    # What the processes of a run cannot import by themselves, pickled (see acting/shipping.py); no file holds
    # it.
    shipped: bytes | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) and not callable(self.id):
            raise ConfigError(f"an environment is an id or what makes one, not {self.id!r}")
        if not isinstance(self.kwargs, Mapping) or not all(isinstance(name, str) for name in self.kwargs):
            raise ConfigError(f"an environment's arguments are a mapping from names, not {self.kwargs!r}")
        if self.success not in (None, "any", "last"):
            raise ConfigError(f"success is {self.success!r}: it is any or last")
        positive(self, "horizon", "frame_stack")

    @property
    def name(self) -> str:
        """Its id. What was given as a class or function is called ``<its name>``, which is no id."""
        if isinstance(self.id, str):
            return self.id
        return (
            f"<{getattr(self.id, '__qualname__', type(self.id).__name__).replace('<', '').replace('>', '')}>"
        )

    @property
    def is_named(self) -> bool:
        """Whether a file can hold it: an id, and arguments that are plain JSON."""
        return isinstance(self.id, str) and not self.id.startswith("<") and _is_plain(self.kwargs)

    def over(self, base: EnvConfig) -> EnvConfig:
        """``base`` with what is set here; the id "auto" and None count as not set."""
        given = {
            option.name: getattr(self, option.name)
            for option in fields(self)
            if getattr(self, option.name) is not None
        }
        if self.id == "auto":
            del given["id"]
        return replace(base, **given | {"kwargs": {**base.kwargs, **self.kwargs}})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON. Of arguments that JSON cannot hold nothing is kept, and the name is in ``<>``."""
        name = self.name if self.is_named or self.name.startswith("<") else f"<{self.name}>"
        kwargs = plain(self.kwargs) if _is_plain(self.kwargs) else {}
        values = {"env": name, "env_kwargs": kwargs, "horizon": self.horizon, "success": self.success}
        return values if self.frame_stack is None else values | {"frame_stack": self.frame_stack}

    def flat(self) -> dict[str, Any]:
        """What is set, without the level of ``env_kwargs``, as the source of demonstrations names it."""
        values = {name: value for name, value in self.to_dict().items() if value is not None}
        if values.keys() & values["env_kwargs"].keys():
            return values
        return values | values.pop("env_kwargs")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EnvConfig:
        """Undo :meth:`to_dict` and :meth:`flat`.

        Other names are arguments of the constructor: in files of version 0.1.0 they lie beside the id.
        """
        names = {flag_of(option): option.name for option in options_of(cls)}
        given = {names[name]: value for name, value in values.items() if name in names and value is not None}
        others = {name: value for name, value in values.items() if name not in names and value is not None}
        return cls(**given | {"kwargs": others | dict(given.get("kwargs", {}))})


def plain(value: Any) -> Any:
    """``value`` as JSON gives it back: tuples become lists. Raises TypeError for what JSON cannot hold."""
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: plain(part) for name, part in value.items()}
    if value is None or type(value) in (str, bool, int, float):
        return value
    raise TypeError(f"{value!r} is not plain JSON")


def _is_plain(value: Any) -> bool:
    try:
        plain(value)
    except TypeError:
        return False
    return True
