"""A hook of mkdocs: takes into the site what pages link to outside of docs/, such as the stored pictures."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"(?<=\]\()(?!\w+:)[^)#\s]+")


def _targets(markdown: str, file: File) -> dict[str, str]:
    """Relative link → its path on the site, which is that from the root, or from docs/ for what lies there."""
    folder = Path(str(file.abs_src_path)).parent.relative_to(ROOT).as_posix()
    found = {link: posixpath.normpath(posixpath.join(folder, link)) for link in _LINK.findall(markdown)}
    return {link: path.removeprefix("docs/") for link, path in found.items() if (ROOT / path).is_file()}


def on_files(files: Files, config: Any) -> Files:
    """Add the files that pages link to, and those that these link to."""
    pages = list(files.documentation_pages())
    for page in pages:
        for path in _targets(Path(str(page.abs_src_path)).read_text(encoding="utf-8"), page).values():
            if files.get_file_from_path(path) is None:
                source, shown = str(ROOT / path), InclusionLevel.NOT_IN_NAV
                files.append(new := File.generated(config, path, abs_src_path=source, inclusion=shown))
                pages += [new] if new.is_documentation_page() else []
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let each link lead to where its target is on the site."""
    here, targets = posixpath.dirname(page.file.src_uri) or ".", _targets(markdown, page.file)
    return _LINK.sub(lambda m: posixpath.relpath(targets[m[0]], here) if m[0] in targets else m[0], markdown)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Take Sphinx's roles from docstrings, which Markdown does not know: of :func:`name` the name stays."""
    return re.sub(r":(?:attr|class|data|func|meth|mod):(?=<code>)", "", html)
