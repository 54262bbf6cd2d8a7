"""The documents: what they quote and name exists, both languages agree, and every snippet runs."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import snippets
from snippets import ROOT, Block, blocks, commands

from envs import BackendError
from sac_dist import EnvConfig
from sac_dist.acting.environment import make_own_env
from sac_dist.cli import reference

DOCS = ROOT / "docs"
TUTORIALS = [ROOT / "README.md", DOCS / "index.md", DOCS / "install.md", *sorted(DOCS.glob("tutorials/*.md"))]
TRANSLATED = {
    ROOT / "README.zh.md": ROOT / "README.md",
    DOCS / "zh/start.md": DOCS / "index.md",
    DOCS / "zh/own_task.md": DOCS / "tutorials/own_task.md",
    DOCS / "zh/own_robot.md": DOCS / "tutorials/own_robot.md",
}


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def said() -> str:
    """Every text in the code, a line each, with … for what is put in when it is said."""
    found = []
    for package in ("sac_dist", "envs"):
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(text(path))
            parts = {
                id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.JoinedStr):
                    found.append(
                        "".join(p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
                    found.append(node.value)
    return "\n".join(found)


def test_every_line_of_troubleshooting_is_one_that_the_program_prints():
    quoted = [block for block in blocks(DOCS / "troubleshooting.md") if block.kind == "text"]
    assert len(quoted) > 40
    missing = [f"{block}: {block.text}" for block in quoted if block.text.rstrip("\n") not in said()]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("page", ["how_sac_works.md", "book_names.md"])
def test_every_name_in_the_code_that_a_page_gives_is_there(page):
    names = set(re.findall(r"`((?:sac_dist|envs)\.[\w.]+)`", text(DOCS / page)))
    assert len(names) > 10
    for name in sorted(names):
        found, parts = None, name.split(".")
        for length in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:length]))
            except ModuleNotFoundError:
                continue
            break
        for part in parts[length:]:
            found = getattr(found, part)


def test_the_page_of_the_flags_is_the_parsers():
    # in a process of its own: tests beside this one register algorithms
    command = [sys.executable, "-m", "sac_dist.cli.reference"]
    page = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert text(DOCS / "reference/flags.md") == page, f"{' '.join(command[1:])} > docs/reference/flags.md"


def test_every_flag_that_a_page_names_exists():
    known = {option for action in reference.build_parser()._actions for option in action.option_strings}
    for page in (*TUTORIALS, *TRANSLATED, DOCS / "book_names.md", DOCS / "troubleshooting.md"):
        for block in blocks(page):
            for command in commands(block.text) if block.kind == "bash" else []:
                if re.match(r"(python -m sac_dist|sac-dist) ", command):
                    assert set(re.findall(r" (--[a-z-]+)", command)) <= known, f"{block}: {command}"


def test_links_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "README.zh.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")):
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text(page)):
            if not re.match(r"[a-z]+:", target):
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} leads to {target}"


@pytest.mark.parametrize("translation", TRANSLATED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_both_languages_list_the_same_commands(translation):
    def listed(page: Path) -> list[str]:
        """Code but for its comments, which are translated."""
        return [
            line
            for block in blocks(page)
            for line in (re.sub(r"\s*(^|\s)#.*", "", line) for line in block.text.splitlines())
            if line.strip()
        ]

    assert listed(translation) == listed(TRANSLATED[translation])


def pages() -> list[Path]:
    return TUTORIALS


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.stem)
def test_every_block_is_of_a_kind_and_what_is_not_run_says_why(page):
    for block in blocks(page):
        assert block.kind in (*snippets.SHELL, "python", "text", "yaml", "json"), f"{block}: name its kind"
        if block.why_not is not None:
            assert len(block.why_not) > 15, f"{block}: {block.why_not}"


def test_every_extra_that_a_page_installs_exists():
    extras = set(re.findall(r'^    "([a-z]+)": \[', text(ROOT / "setup.py"), re.M)) | {"dev"}
    for page in (ROOT / "README.md", *DOCS.rglob("*.md")):
        for listed in re.findall(r"(?:sac-dist|sac_dist|\.)\[([a-z,]+)\]", text(page)):
            assert set(listed.split(",")) <= extras, f"{page.relative_to(ROOT)}: [{listed}]"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", pages(), ids=lambda path: path.stem)
def test_the_snippets_of_a_page_run_as_they_stand(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("MUJOCO_GL", "WANDB_MODE", "HF_TOKEN"):  # a page's export ends with it
        before = os.environ.get(name)
        monkeypatch.setenv(name, before or "")
        if before is None:
            monkeypatch.delenv(name)
    if page.stem == "camera" and not draws():
        pytest.skip("no OpenGL")
    snippets.furnish(tmp_path)
    names = snippets.namespace()
    for block in blocks(page):
        if block.kind in (*snippets.SHELL, "python") and block.why_not is None:
            told(block)
            snippets.run(block, names)


def draws() -> bool:
    env = make_own_env(EnvConfig("Grasp-v0", {"observation": "camera"}))
    try:
        env.reset(seed=0)
    except BackendError:
        return False
    finally:
        env.close()
    return True


def told(block: Block) -> None:
    print(f"\n--- {block}\n{block.text}", flush=True)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site/reference/python.html").stat().st_size > 30_000
