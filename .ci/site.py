"""Hooks of mkdocs.yml: what in docs/ leads to other folders of the repository, where it reads as well."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>\.\.?/[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files, config):
    """The figures of benchmarks/results lie in the site, too."""
    for path in sorted(ROOT.glob("benchmarks/results/*.png")):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    folder = posixpath.dirname(page.file.src_uri)

    def moved(link):
        target = posixpath.normpath(posixpath.join("docs", folder, link["target"]))
        if target.startswith("docs/"):
            return link[0]
        assert (ROOT / target).exists(), f"{page.file.src_uri} leads to {target}, which is not there"
        if link["picture"]:
            return f"![{link['text']}]({posixpath.relpath(target, folder or '.')})"
        if config.repo_url:
            return f"[{link['text']}]({config.repo_url}/blob/main/{target}{link['anchor'] or ''})"
        return f"{link['text']} (`{target}`)" if link["text"] != target else f"`{target}`"

    return LINK.sub(moved, markdown)
