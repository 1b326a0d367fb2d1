"""What a mark says when the pointer rests on it: a `<title>` in the SVG, shown by every browser.

A mark's text travels through matplotlib as the name of its group (`gid`), which PDFs do not have.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from urllib.parse import quote, unquote

from matplotlib.artist import Artist

_GROUP = re.compile(r'<g id="says:([^"]*)">')
_MARK = re.compile(r"<use ([^>]*?)/>")


def tell(artist: Artist, *texts: str) -> None:
    """Let an artist say something.

    Args:
        artist: a line or its like.
        texts: one for all of it, or one for each of its marks.
    """
    artist.set_gid(f"says:{quote(json.dumps(texts))}")


def titled(svg: str) -> str:
    """An SVG as matplotlib wrote it, with the texts of its marks as titles."""
    head, *groups = _GROUP.split(svg)
    return head + "".join(
        f"<g>{_inside(json.loads(unquote(said)), rest)}"
        for said, rest in zip(groups[::2], groups[1::2], strict=True)
    )


def _inside(texts: Sequence[str], group: str) -> str:
    """What follows the opening of a group, with one title for all of it or one for each mark."""
    if len(texts) == 1:
        return _title(texts[0]) + group
    left = iter(texts)
    return _MARK.sub(lambda use: f"<use {use[1]}>{_title(next(left))}</use>", group, len(texts))


def _title(text: str) -> str:
    return f"<title>{html.escape(text, quote=False)}</title>"
