"""The call behind ``--export``: a policy as one file, held against the trainer's before it has its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sac_dist.acting.environment import as_vectors, close, make_own_env
from sac_dist.acting.observation import check_policy_fits
from sac_dist.exporting.card import parts_of
from sac_dist.exporting.check import Differences, differences
from sac_dist.exporting.npz_file import write_npz
from sac_dist.exporting.onnx_file import write_onnx
from sac_dist.exporting.program import program_of
from sac_dist.exporting.torch_file import read_pt2, write_pt2
from sac_dist.formats.format import check_new_file
from sac_dist.runner.card import Card
from sac_dist.runner.networks import in_numpy, read
from sac_dist.runner.policy import Policy, probes
from sac_dist.runner.program import Program
from sac_dist.settings import ConfigError, EnvConfig, check_path
from sac_dist.storage.checkpoint import Checkpoint
from sac_dist.system.files import replacing

WRITERS: dict[str, Callable[[Path, Card, Program], None]] = {
    ".npz": write_npz,
    ".onnx": write_onnx,
    ".pt2": write_pt2,
}


class Exported(NamedTuple):
    card: Card
    differences: Differences
    bytes: int


def export(policy: Checkpoint, path: Path, source: str = "", overrides: EnvConfig | None = None) -> Exported:
    """Write ``policy`` to ``path``, whose suffix names the format, for its own environment, changed where
    ``overrides`` says. ``source`` is where it comes from, for the file's description.

    Raises ConfigError, and writes nothing, if the policy does not fit the environment, the file would act
    otherwise than the trainer, or what is needed is not installed.
    """
    check_path(path)
    if path.suffix not in WRITERS:
        raise ConfigError(f"--export {path}: the name has to end in {', '.join(WRITERS)}")
    check_new_file(str(path))
    config = policy.config.env if overrides is None else overrides.over(policy.config.env)
    own = make_own_env(config)
    try:
        env = as_vectors(own, config.name, config.frame_stack)
        check_policy_fits(policy.schema, env, config.name)
        agent, card = policy.build_agent(), Card.of(parts_of(own, config, policy, source))
        program = program_of(agent, card.action)
        card = with_probes(card, program)
        try:
            with replacing(path) as temporary:
                WRITERS[path.suffix](temporary, card, program)
                written = written_policy(temporary, card)
                found = differences(written, program, agent, env, own)
                if not found.small:
                    raise ConfigError(
                        f"{path} is not written: its actions would differ from the trainer's by "
                        f"{found.largest:.2g} of half the action's range, and {found.allowed:.2g} is allowed"
                    )
                size = temporary.stat().st_size
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        close(own)
    return Exported(card, found, size)


def with_probes(card: Card, program: Program) -> Card:
    """The card with the actions that whoever reads the file holds its own against."""
    plain = Policy(card, in_numpy(card, program))
    return replace(card, parts=card.parts | {"probes": probes(plain).tolist()})


def written_policy(path: Path, card: Card) -> Policy:
    """As the user will have it."""
    if path.suffix == ".pt2":
        return Policy(card, read_pt2(path, card))
    return Policy(*read(path))
