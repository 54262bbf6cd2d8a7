"""What an algorithm is. A new one is a subclass in its own file; docs/algorithms.md walks through one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from sac_dist.algorithms.adam import Scale, Trained, adam_scales
from sac_dist.data.batch import Batch
from sac_dist.networks.build import Networks
from sac_dist.networks.critics import QEnsemble
from sac_dist.networks.encoder import Encoder
from sac_dist.networks.network import Network
from sac_dist.networks.policy import GaussianPolicy
from sac_dist.settings import AgentConfig, ConfigError
from sac_dist.settings.algorithms import AlgorithmSettings

ALIGNMENT = 16  # floats in a cache line

Metrics = dict[str, Tensor]  # 0-d
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """Parameters that are optimised together: a network's vector, or one number (network None)."""

    name: str
    lr: float  # Adam's step size
    network: Network | None = None
    initial: float = 0.0  # of a number
    copy: str | None = None  # name of a copy that the updates move after it, such as a target
    with_policy: bool = False  # trained with the policy's share of its step size, see agent.scale_steps

    @property
    def shape(self) -> Shape:
        """Of the parameters and of each moment."""
        return () if self.network is None else (self.network.size,)


class Tensors(NamedTuple):
    """Everything an update changes, as views of one memory.

    ``steps`` counts the Adam steps of each group that is trained, in the groups' order, the one that is being
    made included; it stays at 2²⁴, where both bias corrections have long been 1. The caller counts: compiled
    code would store a count at its end, over what other processes counted.
    """

    steps: Tensor
    copies: dict[str, Tensor]  # "targets" of the critics, "average" of the policy, …
    groups: dict[str, Trained]

    def steps_of(self, group: str) -> Tensor:
        return self.steps[list(self.groups).index(group)]


Update = Callable[[Tensors, Batch, Tensor, Tensor], Metrics]  # of tensors, batch, noise, step sizes


@dataclass(frozen=True)
class Algorithm:
    """One way to train: what it optimises, and its update as a function of the tensors that it changes, so
    that it can run recorded, compiled or on a GPU, in any process. Holds only what is fixed.
    """

    Settings: ClassVar[type[AlgorithmSettings]] = AlgorithmSettings  # the class of ``settings``
    compiles: ClassVar[bool] = True  # False: its updates are so small and few that compiling costs more

    networks: Networks
    config: AgentConfig
    settings: Any
    trains_policy: bool = True  # False: the updates between those of ``policy_every``

    @property
    def policy(self) -> GaussianPolicy:
        return self.networks.policy

    @property
    def q(self) -> QEnsemble:
        return self.networks.q

    @property
    def encoder(self) -> Encoder | None:
        return self.networks.encoder

    @property
    def noise_slabs(self) -> int:
        """All that an update takes: ``draws``, and one that says how far pictures are moved."""
        return self.draws + (self.encoder is not None and self.encoder.shift > 0)

    @property
    def groups(self) -> tuple[Group, ...]:
        """Every group of parameters that the update reads or trains."""
        raise NotImplementedError

    @property
    def trains(self) -> frozenset[str]:
        """Names of the groups that an update makes an Adam step of."""
        raise NotImplementedError

    @property
    def policy_every(self) -> int:
        """Which updates train the policy; the agent runs the others with ``trains_policy`` False."""
        return self.config.policy_every

    @property
    def draws(self) -> int:
        """Slabs (B, action_size) of standard normal noise that an update takes."""
        raise NotImplementedError

    @property
    def is_plain_sac(self) -> bool:
        """Whether the update is SAC's own, for which there are quicker ways than recording it."""
        return False

    def scales(self, tensors: Tensors, lrs: Tensor) -> dict[str, Scale]:
        """How far the step of each group goes, by the step sizes ``lrs`` (groups,)."""
        beta1, decay = self.config.adam_beta1, self.config.weight_decay
        rows = adam_scales(tensors.steps, lrs, beta1).unbind()
        found = {name: Scale(row, beta1) for name, row in zip(tensors.groups, rows, strict=True)}
        if decay:
            kept = dict(zip(found, (1 - decay * lrs).unbind(), strict=True))
            networks = [name for name, trained in tensors.groups.items() if trained.parameters.dim()]
            found |= {name: found[name]._replace(kept=kept[name]) for name in networks}
        return found

    def __call__(self, tensors: Tensors, batch: Batch, noise: Tensor, lrs: Tensor) -> Metrics:
        """Train once on ``batch``, with standard normal ``noise`` (noise_slabs, B, action_size) and step
        sizes ``lrs`` (groups,).
        """
        raise NotImplementedError


def united(algorithms: Sequence[Algorithm]) -> tuple[Group, ...]:
    """All groups of ``algorithms``, each once: what an agent holds that is to use each of them."""
    found: dict[str, Group] = {}
    for algorithm in algorithms:
        for group in algorithm.groups:
            if found.setdefault(group.name, group).shape != group.shape:
                raise ConfigError(
                    f"{type(algorithm).__name__} wants another network as its group {group.name}"
                )
    return tuple(found.values())


def memory_shapes(groups: Sequence[Group]) -> dict[str, Shape]:
    """The vectors and numbers in an agent's memory, in order."""
    shapes: dict[str, Shape] = {group.copy: group.shape for group in groups if group.copy is not None}
    shapes["steps"] = (len(groups),)
    for group in groups:
        for suffix in ("", ".exp_avg", ".exp_avg_sq"):
            shapes[group.name + suffix] = group.shape
    return shapes


def memory_size(groups: Sequence[Group]) -> int:
    """Floats of an agent's memory."""
    return sum(map(aligned, memory_shapes(groups).values()))


def aligned(shape: Shape) -> int:
    """Floats to set aside for ``shape`` so that what follows starts on a cache line of its own."""
    return math.ceil(math.prod(shape) / ALIGNMENT) * ALIGNMENT


def tensors_in(memory: Tensor, groups: Sequence[Group]) -> Tensors:
    """Everything that updates change, as views into ``memory`` (memory_size,)."""
    shapes = memory_shapes(groups)
    pieces = memory.split([aligned(shape) for shape in shapes.values()])
    views = {
        name: piece[: math.prod(shape)].view(shape)
        for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
    }
    copies = {group.copy: views[group.copy] for group in groups if group.copy is not None}
    trained = {
        g.name: Trained(*(views[g.name + part] for part in ("", ".exp_avg", ".exp_avg_sq"))) for g in groups
    }
    return Tensors(views["steps"], copies, trained)


def named_tensors(tensors: Tensors, groups: Sequence[Group]) -> dict[str, Tensor]:
    """Every tensor under its name in a checkpoint, as a view."""
    named: dict[str, Tensor] = {}
    for index, group in enumerate(groups):
        vectors = zip(("", ".exp_avg", ".exp_avg_sq"), tensors.groups[group.name], strict=True)
        kept = {f"{group.name}{suffix}": vector for suffix, vector in vectors}
        if group.copy is not None:
            kept[group.copy] = tensors.copies[group.copy]
        for name, vector in kept.items():
            if group.network is None:
                named[name] = vector
            else:
                named |= {f"{name}.{part}": view for part, view in group.network.unpack(vector).items()}
        named[f"{group.name}.step"] = tensors.steps[index]
    return named
