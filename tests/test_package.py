"""Builds, installs and uses the package as a user would, away from the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import sac_dist
from sac_dist.settings import ConfigError
from sac_dist.system.files import demons_dir, models_dir, replacing

ROOT = Path(__file__).resolve().parent.parent
PACKAGED = ("sac_dist", "envs", "models", "demons_data")
LOOK = """
import sac_dist, envs, sac_dist.engine
from sac_dist.system.files import models_dir, demons_dir
for place in (sac_dist.__path__[0], envs.__path__[0], models_dir(), demons_dir()):
    print(place)
"""


def run(*command: object, cwd: Path, **environment: str) -> str:
    """What the command prints; a failure shows all of its output."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what is packaged: building in the checkout would leave build/ there, and old files in it
    would be packaged too.
    """
    copy = tmp_path_factory.mktemp("source") / "copy"
    for name in PACKAGED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory) -> Path:
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source, cwd=folder)
    (built,) = folder.glob("sac_dist-*.whl")
    return built


def new_environment(folder: Path) -> Path:
    """The Python of a new virtual environment with nothing in it."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def install(python: Path, *what: object, **environment: str) -> None:
    flags = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        *flags,
        *what,
        cwd=python.parent,
        **environment,
    )


def lend_dependencies(python: Path) -> None:
    """Put this environment's packages behind the new one's own; its .pth files, so an editable sac-dist, do
    not count there.
    """
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site_packages = Path(run(python, "-c", code, cwd=python.parent).strip())
    folders = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (site_packages / "zz_dependencies.pth").write_text("\n".join(folders))


def test_a_checkout_uses_its_own_folders():
    assert models_dir() == ROOT / "models"
    assert demons_dir() == ROOT / "demons_data"


def test_missing_folders_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("sac_dist.system.files.__file__", str(tmp_path / "sac_dist" / "system" / "files.py"))
    with pytest.raises(
        ConfigError, match=r"folder models is neither at .*models nor at .*sac_dist/models: reinstall"
    ):
        models_dir()


def test_the_wheel_holds_all_files_and_nothing_else(wheel):
    packaged = {
        name
        for name in zipfile.ZipFile(wheel).namelist()
        if ".dist-info/" not in name and not name.endswith(".so")
    }
    expected = set()
    for name in PACKAGED:
        for path in (ROOT / name).rglob("*"):
            if (
                path.is_file()
                and path.suffix not in (".c", ".so")
                and "__pycache__" not in path.parts
                and not any(part.startswith(".") for part in path.parts[-2:])
            ):
                place = path.relative_to(ROOT).as_posix()
                expected.add(place if name in ("sac_dist", "envs") else f"sac_dist/{place}")
    assert packaged == expected


def test_the_wheel_bears_the_packages_own_version_and_readme(wheel):
    assert wheel.name.split("-")[1] == sac_dist.__version__
    (metadata,) = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA")]
    assert (ROOT / "README.md").read_text(encoding="utf-8").strip() in zipfile.ZipFile(wheel).read(
        metadata
    ).decode()


def test_neither_data_folder_holds_code():
    assert not [path for name in ("models", "demons_data") for path in (ROOT / name).rglob("*.py*")]


@pytest.mark.timeout(300)
def test_an_installed_wheel_finds_its_folders_and_runs(wheel, tmp_path):
    python = new_environment(tmp_path / "venv")
    install(python, wheel)
    lend_dependencies(python)
    places = [Path(line) for line in run(python, "-c", LOOK, cwd=tmp_path).splitlines()]
    assert all(place.is_relative_to(tmp_path / "venv") for place in places), places
    assert [place.name for place in places] == list(PACKAGED)
    assert (places[2] / "README.md").is_file() and (places[3] / "README.md").is_file()
    command = next(python.parent.glob("sac-dist*"))
    assert "--train" in run(command, "--help", cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_editable_install_uses_the_checkouts_folders(source, tmp_path):
    python = new_environment(tmp_path / "venv")
    lent = tmp_path / "lent"  # the build runs in the new environment, which can fetch nothing
    lent.mkdir()
    installed = Path(sysconfig.get_path("purelib"))
    for path in [*installed.glob("setuptools*"), installed / "_distutils_hack"]:
        (lent / path.name).symlink_to(path, target_is_directory=True)
    install(python, "--editable", source, PYTHONPATH=str(lent))
    lend_dependencies(python)
    places = [Path(line) for line in run(python, "-c", LOOK, cwd=tmp_path).splitlines()]
    assert places == [source / name for name in PACKAGED]


def test_a_replaced_file_is_the_old_one_or_the_new_one(tmp_path):
    path = tmp_path / "curve.png"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as temporary:
        assert temporary.suffix == ".png" and temporary.parent == tmp_path
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_every_public_name_is_a_class_or_function_also_after_the_engine_is_loaded():
    """A submodule of the same name would hide it: importing the submodule sets the package's attribute."""
    import sac_dist
    import sac_dist.engine.train

    for name in sac_dist.__all__:
        assert callable(getattr(sac_dist, name)), name
