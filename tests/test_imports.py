"""Holds the one-way rule of docs/architecture.md by reading the imports of every module."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("sac_dist", "envs")
    for path in sorted((ROOT / package).rglob("*.py"))
}

# The lowest parts, and all that each may import of sac_dist: it shows that the algorithm needs no process, file or simulator.
MAY_IMPORT = {
    "types": set(),
    "config": set(),
    "shared": {"config"},
    "mkl": set(),
    "networks": {"types", "config"},
    "losses": {"types", "config", "networks"},
    "update": {"types", "config", "networks", "losses"},
    "offline": {"types", "networks", "losses", "update"},
    "written_out": {"types", "networks", "losses", "update", "offline"},
    "agent": {"types", "config", "networks", "losses", "update", "offline", "written_out", "shared"},
    "on_device": {"types", "config", "networks", "losses", "update", "offline", "written_out", "shared", "agent"},
    "replay": {"types", "shared", "config"},
    "replay_manager": {"types", "shared", "config", "replay"},
    "resources": {"config"},
    "rollout": {"config"},
    "evaluation": {"config", "resources", "rollout"},
    "metrics": {"config", "resources", "rollout", "evaluation"},
    "plots": {"config", "resources", "evaluation", "metrics"},
    "checkpoint": {"config", "agent", "resources"},
    "book_format": {"config", "agent", "networks"},
    "run_folder": {"config", "resources"},
    "playback": {"config", "resources", "rollout", "evaluation", "checkpoint", "book_format", "run_folder"},
    "demos": set(),  # the package alone: each reader in it imports what its format needs
    "replay_files": {"config", "resources", "replay"},
    "demos.transitions": {"demos", "config"},
    "demos.check": {"demos", "config", "shared"},
    "demos.pickled_numpy": set(),  # what reads strangers' pickles reaches nothing
    "demos.book_pickle": {"demos"},
    "demos.book": {"demos", "config"},
    "demos.npz": {"demos", "config"},
    "demos.hdf5": {"demos", "config"},
    "demos.robomimic": {"demos", "config"},
    "demos.minari_data": {"demos", "config"},
    "demos.run_replay": {"demos", "config", "checkpoint", "replay_files", "run_folder"},
    "demos.files": {"demos", "config", "resources"},
    "demos.describe": {"demos", "resources", "evaluation"},
    "dataset": {"types", "config", "shared", "replay", "demos"},
    "recording": {"config", "rollout", "checkpoint", "playback", "demos"},
}
# What starts processes that stay. subprocess may be used to ask a compiler whether it works.
STARTS_PROCESSES = ("multiprocessing", "concurrent", "torch.multiprocessing")


def imports(name: str, source: str) -> set[str]:
    """Every absolute module, or module.name, that the source imports anywhere, also inside functions."""
    found = set()
    package = name if MODULES.get(name, Path()).name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])]) if node.level else node.module or ""
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def imports_of(name: str) -> set[str]:
    return imports(name, MODULES[name].read_text(encoding="utf-8"))


def parts_of_sac_dist(name: str) -> set[str]:
    """The modules directly under sac_dist that a module imports."""
    children = {module.split(".")[1] for module in MODULES if module.startswith("sac_dist.")}
    return {found.split(".")[1] for found in imports_of(name) if found.startswith("sac_dist.")} & children


def test_the_reader_sees_every_form_of_import():
    source = "import a.b\nfrom c import d\ndef f():\n    from . import e\n    from .g import h\n    from .. import i\n"
    assert imports("sac_dist.engine.x", source) == {
        "a.b",
        "c",
        "c.d",
        "sac_dist.engine",
        "sac_dist.engine.e",
        "sac_dist.engine.g",
        "sac_dist.engine.g.h",
        "sac_dist",
        "sac_dist.i",
    }
    assert {"sac_dist.config", "envs.backend", "sac_dist.rollout"} <= set(MODULES)


@pytest.mark.parametrize("part", [part for part in MAY_IMPORT if f"sac_dist.{part}" in MODULES])
def test_a_part_imports_only_what_lies_below_it(part):
    assert parts_of_sac_dist(f"sac_dist.{part}") - {part} <= MAY_IMPORT[part]


def test_the_rule_itself_has_no_circle():
    settled: set[str] = set()
    for part, below in MAY_IMPORT.items():
        assert below <= settled, f"{part} imports {below - settled}, which stand above it"
        settled.add(part)


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[0] == "envs"])
def test_environments_know_nothing_of_the_trainer(name):
    assert not {found.split(".")[0] for found in imports_of(name)} & {"sac_dist", "torch"}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("sac_dist") and not name.startswith("sac_dist.engine")])
def test_only_the_engine_starts_processes(name):
    allowed = ("multiprocessing",) if name in ("sac_dist.replay_manager", "sac_dist.shared") else ()
    forbidden = [start for start in STARTS_PROCESSES if start not in allowed]
    assert not [found for found in imports_of(name) if any(f"{found}.".startswith(f"{start}.") for start in forbidden)]


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith("sac_dist.engine.on_ray.")])
def test_only_the_engine_of_a_cluster_knows_ray(name):
    assert "ray" not in {found.split(".")[0] for found in imports_of(name)}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("sac_dist")])
def test_nothing_imports_the_command_line(name):
    assert "cli" not in parts_of_sac_dist(name) or name == "sac_dist.__main__"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("sac_dist")])
def test_only_the_front_doors_import_the_engine(name):
    assert "engine" not in parts_of_sac_dist(name) or name in ("sac_dist", "sac_dist.cli") or name.startswith("sac_dist.engine")
