"""The site's Sphinx extension: generated pages, links to folders, an entry page at the top."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from generator import pages

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#:\s]+)\)")


def folders(app: Sphinx, name: str, source: list[str]) -> None:
    """A link to a folder leads to its README; to one without, it is text."""
    here = Path(app.env.doc2path(name)).parent

    def led(match: re.Match[str]) -> str:
        words, target = match.groups()
        if not (here / target).is_dir():
            return match[0]
        page = f"{target.rstrip('/')}/README.md"
        return f"[{words}]({page})" if (here / page).exists() else words

    source[0] = LINK.sub(led, source[0])


def entry(app: Sphinx, error: Exception | None) -> None:
    """`index.html` at the top leads to the first page."""
    if error is None and app.builder.name == "html":
        first = f"{app.config.root_doc}.html"
        Path(app.outdir, "index.html").write_text(
            f'<!doctype html><meta charset="utf-8"><title>{app.config.html_title}</title>'
            f'<meta http-equiv="refresh" content="0; url={first}"><a href="{first}">{first}</a>\n'
        )


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this."""
    app.connect("builder-inited", lambda _: pages.write())
    app.connect("source-read", folders)
    app.connect("build-finished", entry)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
