"""Tables as people read them: text with units, footnotes and marks; the same as HTML cells and as
LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from modulewise.report.frame import Frame
from modulewise.runs.state import words

NONE = "–"
K = ("K", "r")
"""The column of the number of modules."""
HELP = [("Horizon", "r"), ("Helpers’ parameters", "r"), ("Helpers’ FLOPs", "r")]
"""Columns that no comparison of equal K goes without."""
BESIDE_K_NAMES = ("modules", "horizon", "helper_parameters", "helper_flops_share")
"""The numbers in the column of K and in these."""
ABOUT = {
    "Horizon": "number of modules that a loss’s gradient reaches back through, its own included; "
    "all: end to end",
    "Helpers’ parameters": "of what is trained beside the network: local heads, decoders, encoders",
    "Helpers’ FLOPs": "share of a training step’s operations that is not the network’s own",
}
"""Title of a column -> what it says."""
MARKS = {"best": ("★", "best"), "level": ("☆", "not told apart from the best")}
"""Mark of a cell -> its sign, and its meaning."""
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {c: f"\\{c}" for c in "{}$&#_%"} | {
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "<": "$<$",
    ">": "$>$",
    "|": r"\textbar{}",
    "–": "--",
    "’": "'",
    "★": r"$\star$",
    "☆": r"$\circ$",
    "\u00a0": "~",
}


class Item(NamedTuple):
    """A table's cell: its text and the reasons that become footnotes."""

    text: str
    notes: tuple[str, ...] = ()
    again: str = ""
    """What the row above says already; the page shows it where a filter hides that row."""
    look: str = ""
    """How the page prints it: a class of the style sheet."""
    mark: str = ""
    """A key of `MARKS`."""
    key: float | None = None
    """What the page sorts by, where the text does not say it."""


@dataclass(frozen=True)
class Table:
    """A table to show.

    Attributes:
        columns: (title, alignment `l` or `r`).
        rows: as many items as columns.
        starts: numbers of the rows that begin a group.
        filters: title -> a word per row, for the page to choose rows by.
        legend: what its marks mean; empty without marks.
    """

    columns: list[tuple[str, str]]
    rows: list[list[Item]]
    starts: list[int] = field(default_factory=list)
    filters: dict[str, list[str]] = field(default_factory=dict)
    legend: str = ""

    @staticmethod
    def sign(item: Item) -> str:
        """The sign of a marked cell."""
        return MARKS[item.mark][0]

    @property
    def about(self) -> dict[str, str]:
        """Title -> what the column says, of those that need it."""
        return {name: ABOUT[name] for name, _ in self.columns if name in ABOUT}

    @property
    def notes(self) -> dict[str, str]:
        """Reason -> its letter, in order of appearance."""
        found = dict.fromkeys(note for row in self.rows for item in row for note in item.notes)
        return {note: _letter(n) for n, note in enumerate(found)}


def beside_k(row: pd.Series) -> list[Item]:
    """K, and what else decides how far a comparison is fair: the columns `K` and `HELP`."""
    horizon, share = row["horizon"], row["helper_flops_share"]
    reach = (
        NONE if math.isnan(horizon) else "all" if horizon >= row["modules"] else f"{horizon:.0f}"
    )
    flops = NONE if math.isnan(share) else f"{100 * share:.1f} %"
    return [
        Item(f"{row['modules']:.0f}"),
        Item(reach, key=horizon if reach == "all" else None),
        Item(count(row["helper_parameters"])),
        Item(flops),
    ]


def beside_ks(rows: pd.DataFrame) -> list[Item]:
    """The columns `K` and `HELP` over several rows: the least and the most where they differ."""
    out = []
    for n, name in enumerate(BESIDE_K_NAMES):
        ordered = rows.dropna(subset=[name]).sort_values(name)
        ends = [beside_k(ordered.iloc[end])[n].text for end in (0, -1)] if len(ordered) else [NONE]
        out.append(Item(" – ".join(dict.fromkeys(ends))))
    return out


def unfinished(frame: Frame) -> Table:
    """Cells that count in no mean, those that differ only in the seed on one row."""
    titles = ("Data set", "Network", "Recipe", "K", "Seeds", "State", "Reason")
    columns = [(t, "r" if t == "K" else "l") for t in titles]
    left = frame.runs[~frame.runs["counts"].astype(bool)]
    if left.empty:
        return Table(columns, [])
    keys = ["dataset", "network", "settings", "label", "modules", "state", "reason"]
    keys.append("other_images")
    several = frame.runs["settings"].nunique() > 1
    rows = []
    for key, group in left.groupby(keys, sort=False):
        dataset, network, settings, label, modules, state, reason = map(str, key[:-1])
        seeds = ", ".join(str(s) for s in sorted(group["seed"]))
        name = f"{label} ({settings})" if settings and several else label
        rows.append(
            [
                Item(t)
                for t in (
                    dataset,
                    network,
                    name,
                    modules,
                    seeds,
                    words(state) + ", other images" * bool(key[-1]),
                    reason,
                )
            ]
        )
    return Table(columns, rows)


def to_csv(frame: pd.DataFrame) -> bytes:
    """A table of numbers as CSV, in full precision."""
    return frame.to_csv(index=False, lineterminator="\n").encode()


def to_plain(table: Table) -> pd.DataFrame:
    """A table of text without its footnotes."""
    return pd.DataFrame(
        [[i.text for i in row] for row in table.rows], columns=[name for name, _ in table.columns]
    )


def to_latex(table: Table) -> bytes:
    """A `tabular` with booktabs' rules, footnotes below."""
    notes = table.notes
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{''.join(a for _, a in table.columns)}}}",
        "\\toprule",
    ]
    lines += [" & ".join(escape(name) for name, _ in table.columns) + r" \\", "\\midrule"]
    for number_, row in enumerate(table.rows):
        if number_ in table.starts[1:]:
            lines.append("\\addlinespace")
        cells = [_latex(item, [notes[n] for n in item.notes]) for item in row]
        lines.append(" & ".join(cells) + r" \\")
    lines.append("\\bottomrule")
    width = len(table.columns)
    lines += [
        f"\\multicolumn{{{width}}}{{l}}{{\\footnotesize $^{{{m}}}$ {escape(n)}}} \\\\"
        for n, m in notes.items()
    ]
    if table.legend:
        lines.append(f"\\multicolumn{{{width}}}{{l}}{{\\footnotesize {escape(table.legend)}}} \\\\")
    return ("\n".join([*lines, "\\end{tabular}"]) + "\n").encode()


def _latex(item: Item, letters: list[str]) -> str:
    """A cell: marked ones bold, with their sign among the letters of the footnotes."""
    text = escape(item.text)
    raised = letters
    if item.mark:
        text = f"\\textbf{{{text}}}"
        raised = [escape(Table.sign(item)).strip("$") + " ", *letters]
    return text + (f"$^{{{''.join(raised).strip()}}}$" if raised else "")


def escape(text: str) -> str:
    """Text as LaTeX prints it.

    Example:
        >>> escape("50 % of a_b")
        '50 \\\\% of a\\\\_b'
    """
    return "".join(_LATEX.get(c, c) for c in text)


def number(value: float, digits: int = 2, sign: bool = False) -> str:
    """A number with a true minus sign."""
    return f"{round(value, digits) + 0.0:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def plus_minus(centre: float, std: float, decimals: int = 2) -> str:
    """A mean with its standard deviation, as far as there are any."""
    if math.isnan(centre):
        return NONE
    return number(centre, decimals) + ("" if math.isnan(std) else f" ± {number(std, decimals)}")


def interval(low: float, high: float, decimals: int = 2) -> str:
    """An interval of differences, with signs."""
    return f"[{number(low, decimals, sign=True)}, {number(high, decimals, sign=True)}]"


def times(ratio: float) -> str:
    """A multiple: `0.62×`."""
    return NONE if math.isnan(ratio) else f"{ratio:.2f}×"


def count(number_: float) -> str:
    """A large number for people: `77.7 k`, `1.73 M`, `25.5 G`."""
    if math.isnan(number_):
        return NONE
    unit, name = next(
        ((u, n) for u, n in ((1e9, " G"), (1e6, " M"), (1e3, " k")) if number_ >= u), (1, "")
    )
    value = number_ / unit
    return f"{value:.0f}{name}" if value >= 100 or unit == 1 else f"{value:.3g}{name}"


def _measured(value: float, said: Callable[[float], str]) -> str:
    return NONE if math.isnan(value) else said(value)


def _letter(n: int) -> str:
    """a, b, … z, aa, ab, …"""
    return (_letter(n // 26 - 1) if n >= 26 else "") + "abcdefghijklmnopqrstuvwxyz"[n % 26]
