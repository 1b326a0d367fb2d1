"""Tables as plain lines of text, equal on a terminal and in a log."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

ELLIPSIS = "..."


def table(*headers: str, right: Sequence[int] = ()) -> Table:
    """An empty table without rules.

    Args:
        headers: titles of its columns.
        right: numbers of the columns that are aligned to the right.
    """
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for n, header in enumerate(headers):
        made.add_column(header, justify="right" if n in right else "left", no_wrap=True)
    return made


def lines(made: Table, width: int) -> list[str]:
    """The lines of a table, without colours; columns that do not fit are shortened."""
    out = io.StringIO()
    console = Console(
        file=out, width=width, color_system=None, markup=False, highlight=False, emoji=False
    )
    console.print(made)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def wrapped(items: Sequence[str], between: str, width: int) -> list[str]:
    """Items on as few lines as possible, none of them broken."""
    text = between.join(item.replace(" ", "\xa0") for item in items)
    return [
        line.replace("\xa0", " ") for line in textwrap.wrap(text, width, subsequent_indent="  ")
    ]


def start_of(text: str, width: int) -> str:
    """The text, or as much of its start as fits."""
    return text if len(text) <= width else text[: width - len(ELLIPSIS)] + ELLIPSIS


def end_of(text: str, width: int) -> str:
    """The text, or as much of its end as fits: K and the seed, which tell cells apart, come last
    in their names."""
    return text if len(text) <= width else ELLIPSIS + text[len(ELLIPSIS) - width :]
