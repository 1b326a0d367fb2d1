"""A page that needs none of the files beside it, where these are small: it can be sent alone."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping

MOST = 500_000
"""Bytes of files that a page holds for downloads."""
TYPES = {
    "csv": "text/csv",
    "tex": "text/plain",
    "pdf": "application/pdf",
    "json": "application/json",
}
"""Ending of a file that is downloaded -> its type."""

_SVG = re.compile(r'<a href="figures/[^"]*\.svg">SVG</a>(?:, )?')
_LINK = re.compile(r'<a href="((?:tables/|figures/)?([^"/:#]+\.(?:csv|tex|pdf|json)))">')


def can_be(files: Mapping[str, bytes]) -> bool:
    """Whether tables and figures are few enough to be held by their page.

    Args:
        files: path in the report's folder -> content.
    """
    held = (len(v) for k, v in files.items() if k.rpartition(".")[2] in TYPES)
    return sum(held) <= MOST


def made(page: str, files: Mapping[str, bytes]) -> str:
    """The page with downloads inside: of tables and of figures as PDF. An SVG stands in it already.

    Args:
        page: with links to `tables/`, `figures/` and files beside it.
        files: path in the report's folder -> content; those that are linked are among them.
    """

    def inside(link: re.Match[str]) -> str:
        path, name = html.unescape(link[1]), html.unescape(link[2])
        kind = TYPES[name.rpartition(".")[2]]
        data = base64.b64encode(files[path]).decode()
        return f'<a download="{html.escape(name)}" href="data:{kind};base64,{data}">'

    return _LINK.sub(inside, _SVG.sub("", page))
