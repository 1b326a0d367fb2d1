"""Pieces of Markdown that the generated pages are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, or nothing without rows."""
    lines = [f"| {' | '.join(cell(x) for x in row)} |" for row in rows]
    head = [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
    return "\n".join([*head, *lines]) + "\n" if lines else ""


def cell(text: str) -> str:
    """Text that stands in one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def code(value: Any) -> str:
    """A value as YAML would have it, as code."""
    return f"`{plain(value)}`"


def plain(value: Any) -> str:
    """A value as it would stand in YAML, on one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(plain, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {plain(v)}' for k, v in value.items())}}}"
    return json.dumps(value)


def folded(summary: str, text: str) -> str:
    """Text that opens by a click."""
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>\n"


def number(value: float) -> str:
    """At most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def count(value: float) -> str:
    """A number of things, in thousands or millions from 10,000 on.

    Example:
        >>> count(1150), count(84958), count(15083294)
        ('1150', '85 k', '15.1 M')
    """
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= max(unit, 1e4):
            return f"{value / unit:.3g} {letter}"
    return f"{value:.0f}"
