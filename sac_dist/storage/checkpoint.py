"""Checkpoints: one safetensors file (tensors, and JSON as its metadata), read without running code, renamed
into place.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from sac_dist.algorithms.agent import SACAgent
from sac_dist.data.schema import Schema
from sac_dist.networks.build import least_size
from sac_dist.settings import Config, ConfigError
from sac_dist.system.files import read_whole, replacing
from sac_dist.system.shared import available_memory

VERSION = 2
SIZES_ALONE = 1  # what sac_dist 0.1 wrote: a version that knows the sizes of observation and action alone


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: the agent's tensors, how to build the agent, and for a run its own state."""

    agent: dict[str, torch.Tensor]
    schema: Schema
    config: Config
    info: dict[str, Any]  # where the policy comes from: training steps, evaluation
    run: dict[str, Any] | None = (
        None  # plain JSON: counters, workers, log, replay: only in a run's last checkpoint
    )

    def build_agent(self) -> SACAgent:
        """Raise ConfigError if the tensors are not those of such an agent; the least they hold is compared
        before memory is taken.
        """
        try:
            if not least_size(self.schema, self.config.agent) <= sum(
                tensor.numel() for tensor in self.agent.values()
            ):
                raise ConfigError("its tensors are too few for the networks of its configuration")
            agent = SACAgent(self.schema, self.config.agent, algorithms=self.config.algorithms)
        except (ArithmeticError, RuntimeError, TypeError) as error:
            raise ConfigError(f"its configuration is damaged: {error}") from None
        agent.load_state_dict(self.agent)
        return agent


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Replace ``path`` in one step: a reader, or a crash, meets the old file or the new one."""
    tensors = {f"agent.{name}": tensor.contiguous() for name, tensor in checkpoint.agent.items()}
    meta = {
        "version": VERSION,
        "schema": checkpoint.schema.to_dict(),
        "config": checkpoint.config.to_dict(),
        "info": checkpoint.info,
        "run": checkpoint.run,
    }
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, {"sac_dist": json.dumps(meta)}))


def read(path: Path) -> Checkpoint:
    """Raise ConfigError with the file and what is wrong with it; nothing in the file is executed."""
    try:
        # at once: safetensors opens a path several times, and a run may replace the file in between
        data = read_whole(path, available_memory())
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        meta = json.loads(header.get("__metadata__", {}).get("sac_dist", "null"))
    except ConfigError:
        raise
    except FileNotFoundError:
        raise ConfigError(f"no such checkpoint: {path}") from None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        what = f"an exported policy is played by python -m sac_dist.runner {path}"
        exported = path.suffix in (".npz", ".onnx", ".pt2")
        raise ConfigError(f"{path} is not a checkpoint of sac_dist: {what if exported else error}") from None
    if not isinstance(meta, dict) or "version" not in meta:
        raise ConfigError(
            f"{path} is not a checkpoint of sac_dist: it is a safetensors file of something else"
        )
    if meta["version"] not in (SIZES_ALONE, VERSION):
        raise ConfigError(
            f"{path} has checkpoint version {meta['version']}, this sac_dist reads {SIZES_ALONE} and "
            f"{VERSION}: use the sac_dist that wrote it"
        )
    try:
        config = Config.from_dict(meta["config"])
        if (
            not isinstance(meta["info"], dict)
            or not isinstance(meta["run"], dict | None)
            or not isinstance(config.env.id, str)
        ):
            raise TypeError("its info, its run or its environment")
        return Checkpoint(
            {
                name.removeprefix("agent."): tensor
                for name, tensor in tensors.items()
                if name.startswith("agent.")
            },
            _schema(meta),
            config,
            meta["info"],
            meta["run"],
        )
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is damaged: its metadata lacks or garbles {error}") from None


def _schema(meta: dict[str, Any]) -> Schema:
    if meta["version"] == SIZES_ALONE:
        return Schema.vector(int(meta["observation_size"]), int(meta["action_size"]))
    return Schema.from_dict(meta["schema"])


def read_run(path: Path) -> Checkpoint:
    """As ``read``, of a run's last checkpoint. Raise ConfigError if no run can go on from it."""
    saved = read(path)
    if saved.run is None:
        raise ConfigError(f"{path} is a policy alone, not a run's checkpoint: it cannot be resumed")
    if place := _damaged_part(saved.run, saved.config.train.workers):
        raise ConfigError(f"{path} is damaged: its {place} cannot be")
    return saved


def _damaged_part(run: dict[str, Any], workers_of_run: int) -> str | None:
    """What of a run's state is not of the kind that the supervisor writes; log and replay look closer at
    theirs.
    """
    member = {"generation": int, "sampling": dict, "generator": str}
    worker = member | {"episode": int, "updates_owed": float | int}
    counters, workers, generations = (run.get(name) for name in ("counters", "workers", "next_generation"))
    log, replay = run.get("log"), run.get("replay")
    sound = {
        "counters": _counts(counters)
        and len(counters) in (3, 4),  # runs of before there were offline phases have three
        "next_generation": _counts(generations) and len(generations) > 0,
        "workers": isinstance(workers, list)
        and all(
            isinstance(state, dict)
            and all(
                isinstance(state.get(name), kind)
                for name, kind in (worker if rank < workers_of_run else member).items()
                if state
            )
            and isinstance(state.get("half_played"), dict | None)
            and isinstance(state.get("batches_ahead", {}), dict)
            and _counts(state.get("observed", []))
            for rank, state in enumerate(workers)  # a learner's comes after the workers'
        ),
        "best_score": isinstance(run.get("best_score"), float | int | None),
        "best_rate": isinstance(run.get("best_rate"), float | int | None),  # runs of earlier versions lack it
        "evaluated": isinstance(run.get("evaluated", 0), int),  # likewise
        "exact": isinstance(run.get("exact", ""), str),  # likewise
        "log": isinstance(log, dict) and isinstance(log.get("wall_time_s"), float | int),
        "replay": isinstance(replay, dict) and isinstance(replay.get("segments"), list),
    }
    return next((name for name, good in sound.items() if not good), None)


def _counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 2**62 for number in value)


def save_policy(path: Path, agent: SACAgent, config: Config, info: dict[str, Any]) -> None:
    """An agent by itself: what evaluation, ``--test`` and ``models/`` use."""
    write(path, Checkpoint(agent.state_dict(), agent.schema, config, info))
