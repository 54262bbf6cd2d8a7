"""Packaging of sac-dist; pyproject.toml holds the tools' settings."""

import platform
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup

# models/ and demons_data/ hold data and no code. In a wheel they become folders of sac_dist, see
# sac_dist/system/files.py.
DATA_FOLDERS = {"sac_dist.models": "models", "sac_dist.demons_data": "demons_data"}

# For AMD's processors, see sac_dist/system/mkl.py. Everything works without it, so a compiler that is missing
# stops nothing.
ON_X86_LINUX = sys.platform == "linux" and platform.machine() == "x86_64"
EXTENSIONS = (
    [Extension("sac_dist.system._mkl", ["sac_dist/system/mkl.c"], optional=True)] if ON_X86_LINUX else []
)

setup(
    name="sac-dist",
    version="0.1.0",
    description="A multiprocess distributed Soft Actor-Critic that teaches a simulated Sawyer arm to grasp",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=[*find_packages(include=["sac_dist", "sac_dist.*", "envs", "envs.*"]), *DATA_FOLDERS],
    package_dir=DATA_FOLDERS,
    ext_modules=EXTENSIONS,
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
    extras_require={
        # CoppeliaSim's PyRep has no extra: it is not on PyPI, and PyPI's "pyrep" is an unrelated package.
        "data": ["h5py", "minari"],  # robomimic's and Minari's files
        "export": ["onnx", "onnxruntime"],  # --export FILE.onnx, and what runs it; .npz needs numpy alone
        "meshes": ["coacd"],  # objects from OBJ and STL files in convex pieces; else their hulls collide
        "ray": ["ray>=2.40"],  # --engine ray
        "robots": ["mujoco-menagerie"],  # robots by name
        "search": ["optuna>=4"],  # --optimize
        "serve": ["websockets>=13"],  # python -m sac_dist.runner serve
        "view": ["viser>=1.1,<2"],  # --watch
        "wandb": ["wandb>=0.31"],  # --wandb PROJECT
        "dev": [
            "coacd",
            "h5py",
            "minari",
            "mujoco-menagerie",
            "optuna>=4",
            "onnx",
            "onnxruntime",
            "ray>=2.40",
            "viser>=1.1,<2",
            "wandb>=0.31",
            "websockets>=13",
            "pytest",
            "pytest-timeout",
            "psutil",  # the fault harness finds processes by it
            "hypothesis",
            "ruff",
            "mypy",
            "types-PyYAML",
            "types-tqdm",
            "build",
            "setuptools>=77",  # the packaging test builds a wheel without fetching anything
        ],
    },
)
