"""Holds the one-way rule of docs/architecture.md: one walk over the imports of every module."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("sac_dist", "envs")
    for path in sorted((ROOT / package).rglob("*.py"))
}
# The wings of sac_dist from the lowest up. A module imports from its own wing and from those before it.
WINGS = (
    *("settings", "system", "data", "networks", "algorithms", "execution", "storage", "book", "formats"),
    *("acting", "runner", "exporting", "reporting", "engine", "cli"),
)
# The runner's wing is for computers that have numpy alone; only its replay knows environments.
ALONE, MAY_KNOW_ENVIRONMENTS = ("settings", "system", "runner"), "sac_dist.runner.replay"
# The seam to the outside that each wing may have: what starts processes that stay, what knows Ray.
STARTS_PROCESSES = ("multiprocessing", "concurrent", "torch.multiprocessing")
MAY_START_PROCESSES = ("sac_dist.engine", "sac_dist.book.replay_manager", "sac_dist.system.shared")


def imports(name: str, source: str) -> set[str]:
    """Every absolute module, or module.name, that the source imports anywhere, also inside functions."""
    found = set()
    package = name if MODULES.get(name, Path()).name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            above = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def wing(name: str) -> str | None:
    """The wing that a module of sac_dist lies in; None: the package itself, or a module elsewhere."""
    parts = name.split(".")
    return parts[1] if parts[0] == "sac_dist" and len(parts) > 1 and parts[1] in WINGS else None


def faults(name: str, source: str) -> list[str]:
    """What of a module's imports breaks the rule."""
    found = imports(name, source)
    wrong = []
    mine = wing(name)
    if mine is not None:
        above = {
            other
            for other in map(wing, found)
            if other is not None and WINGS.index(other) > WINGS.index(mine)
        }
        wrong += [f"{name} ({mine}) imports from {other}, which stands above it" for other in sorted(above)]
    roots = {other.split(".")[0] for other in found}
    if name.split(".")[0] == "envs" and roots & {"sac_dist", "torch"}:
        wrong.append(f"{name} knows the trainer")
    if "ray" in roots and not name.startswith("sac_dist.engine.ray"):
        wrong.append(f"{name} imports ray")
    if mine == "runner" and name != MAY_KNOW_ENVIRONMENTS:
        wrong += [
            f"{name} needs the trainer's {wing(other)}"
            for other in sorted(found)
            if wing(other) not in (None, *ALONE)
        ]
        if roots & {"torch", "gymnasium", "mujoco", "envs", "onnx"}:
            wrong.append(f"{name} needs more than numpy")
    if name.startswith("sac_dist.settings") and roots & {"torch", "gymnasium", "envs"}:
        wrong.append(f"{name} is to load at once")
    if not name.startswith(MAY_START_PROCESSES) and any(
        f"{other}.".startswith(f"{start}.") for other in found for start in STARTS_PROCESSES
    ):
        wrong.append(f"{name} starts processes")
    return wrong


def test_the_walk_sees_every_form_of_import():
    source = "import a.b\nfrom c import d\ndef f():\n    from . import e\n    from .g import h\n    from .. import i\n"
    assert imports("sac_dist.engine.x", source) == {
        *("a.b", "c", "c.d", "sac_dist.engine", "sac_dist.engine.e", "sac_dist.engine.g"),
        *("sac_dist.engine.g.h", "sac_dist", "sac_dist.i"),
    }


def test_the_walk_finds_what_it_looks_for():
    assert faults("sac_dist.data.x", "from sac_dist.engine import control")
    assert faults("sac_dist.acting.x", "import ray") and not faults("sac_dist.engine.ray.x", "import ray")
    assert faults("envs.x", "def f():\n    import torch")
    assert faults("sac_dist.data.x", "from multiprocessing import Pipe")
    assert faults("sac_dist.settings.x", "import torch")
    assert faults("sac_dist.runner.x", "from sac_dist.acting import episode")
    assert faults("sac_dist.runner.x", "def f():\n    import gymnasium")
    assert not faults("sac_dist.runner.replay", "from sac_dist.acting import episode")
    assert not faults("sac_dist.engine.x", "from sac_dist.data import ring\nimport multiprocessing")


def test_imports_go_one_way():
    assert {"sac_dist.settings", "envs.backends.base", "sac_dist.engine.train"} <= set(MODULES)
    found = [
        fault for name, path in MODULES.items() for fault in faults(name, path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


def test_every_wing_is_named():
    folders = {path.name for path in (ROOT / "sac_dist").iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(WINGS)
