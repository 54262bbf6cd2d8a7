"""The model card of a shared policy, in Markdown with the front matter of the Hugging Face Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from sac_dist.acting.evaluation import Evaluation
from sac_dist.storage.checkpoint import Checkpoint
from sac_dist.storage.hub import is_remote


@dataclass(frozen=True)
class Measured:
    """Episodes that neither training nor the choice of the checkpoint saw, and where they were played."""

    evaluation: Evaluation
    machine: str


def model_card(
    policy: Checkpoint,
    measured: Measured,
    use: str,
    command: str,
    seconds: float | None = None,
    files: Path | None = None,
) -> str:
    """``use``: the --model under which it is found. ``command``: that of training, which took so many
    ``seconds``. ``files``: the folder in which
    the card will lie; the pictures that lie there are shown.
    """
    name = policy.config.env.name
    rows = "\n".join(f"| {title} | {text} |" for title, text in table(policy, measured, command, seconds))
    parts = [front_matter(policy, measured), f"# {name}", f"| | |\n|---|---|\n{rows}"]
    if files is not None and (files / "replay.mp4").is_file():
        parts.append('<video src="replay.mp4" controls muted loop width="480"></video>')
    if files is not None and (files / "learning_curve.png").is_file():
        parts.append("![Success and return over environment steps](learning_curve.png)")
    return "\n\n".join([*parts, usage(use)]) + "\n"


def front_matter(policy: Checkpoint, measured: Measured) -> str:
    """As the hub reads it: tags, and the result in a ``model-index``."""
    name, evaluation = policy.config.env.name, measured.evaluation
    metrics = [{"type": "mean_reward", "name": "mean return", "value": round(evaluation.mean_return, 3)}]
    if evaluation.success_rate is not None:
        metrics.insert(0, {"type": "success_rate", "name": "success", "value": evaluation.success_rate})
    result = {
        "task": {"type": "reinforcement-learning", "name": "reinforcement learning"},
        "dataset": {"type": name, "name": name},
        "metrics": metrics,
    }
    content = {
        "library_name": "sac_dist",
        "pipeline_tag": "reinforcement-learning",
        "tags": ["reinforcement-learning", "robotics", "soft-actor-critic", name],
        "model-index": [{"name": name, "results": [result]}],
    }
    return f"---\n{yaml.safe_dump(content, sort_keys=False)}---"


def table(
    policy: Checkpoint, measured: Measured, command: str, seconds: float | None
) -> Iterator[tuple[str, str]]:
    config, info, schema = policy.config, policy.info, policy.schema
    agent, train, data = config.agent, config.train, config.data
    kwargs = f", `{json.dumps(dict(config.env.kwargs))}`" if config.env.kwargs else ""
    yield "environment", f"{config.env.name}{kwargs}"
    sizes = ", ".join(f"{field.name} {list(field.shape)}" for field in schema.fields)
    yield "observation → action", f"{sizes} → [{schema.action_size}]"
    algorithms = dict.fromkeys([data.algo] if data.offline else [data.online_algo])
    yield (
        "algorithm",
        f"{', '.join(algorithms)}; {agent.network} {agent.hidden_depth} × {agent.hidden_width}, "
        f"batch {train.batch_size}, step sizes {agent.actor_lr:g} (policy), {agent.critic_lr:g} (critics), "
        f"γ {agent.discount:g}, τ {agent.tau:g}, {train.update_ratio:g} updates to a step",
    )
    if used := [*data.demos, *data.offline]:
        yield "data", ", ".join(used)
    trained = [f"{info[key]:,} {what}" for key, what in COUNTED if info.get(key)]
    took = [] if seconds is None else [f"{seconds:.0f} s"]
    yield "trained", ", ".join([*trained, f"seed {train.seed}", f"{train.workers} workers", *took])
    if "machine" in info:
        yield "trained on", str(info["machine"])
    yield "command", f"`{command}`"
    unseen = "episodes that neither training nor the choice of the checkpoint saw"
    yield "result", f"{measured.evaluation}; {unseen}"
    yield "measured on", measured.machine


COUNTED = (("steps", "environment steps"), ("offline_updates", "offline updates"))


def usage(use: str) -> str:
    install = "pip install 'sac-dist[hub]'\n" if is_remote(use) else ""
    return f"""## Use

```
{install}python -m sac_dist --test --model {use}
```

```python
from sac_dist import find_policy

_, policy = find_policy("{use}", "auto")
agent = policy.build_agent()  # agent.act(observation, deterministic=True) → action in [-1, 1]
```

With more than one worker a run is not repeatable bit for bit: the command gives a policy like this one. It
was trained and measured in simulation; nothing here was tested on a real robot."""
