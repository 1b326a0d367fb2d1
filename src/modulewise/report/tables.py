"""Tables as people read them: text with units, footnotes and badges; the same as HTML cells and as
LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from modulewise import units
from modulewise.report.frame import Frame
from modulewise.report.naming import digits, of_difference, title, with_unit
from modulewise.report.stats import NO_MEMORY, NO_TIME
from modulewise.runs.result import PrimaryMetric
from modulewise.runs.state import STATES, words

NONE = "–"
OTHERS = {
    "memory": "ran on another kind of device",
    "time": "shared their device or ran on another kind",
}
"""Why the runs that a cost leaves out cannot be compared."""
BESIDE_K = [("K", "r"), ("Horizon", "r"), ("Helpers’ parameters", "r"), ("Helpers’ FLOPs", "r")]
"""Columns that no comparison goes without."""
BESIDE_K_NAMES = ("modules", "horizon", "helper_parameters", "helper_flops_share")
"""The numbers in them."""
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


@dataclass(frozen=True)
class Table:
    """A table to show.

    Attributes:
        columns: (title, alignment `l` or `r`).
        rows: as many items as columns.
        starts: numbers of the rows that begin a group.
        filters: title -> a word per row, for the page to choose rows by.
    """

    columns: list[tuple[str, str]]
    rows: list[list[Item]]
    starts: list[int] = field(default_factory=list)
    filters: dict[str, list[str]] = field(default_factory=dict)

    @property
    def notes(self) -> dict[str, str]:
        """Reason -> its letter, in order of appearance."""
        found = dict.fromkeys(note for row in self.rows for item in row for note in item.notes)
        return {note: _letter(n) for n, note in enumerate(found)}


def headline(rows: pd.DataFrame, baseline: str | None, metric: PrimaryMetric) -> Table:
    """The headline table of one data set and network.

    Args:
        rows: of `stats.headline`, one data set and network.
        baseline: the baseline's label; None: there is none, costs stand as they are, without gaps.
        metric: of the data set.
    """
    several = rows["settings"].nunique() > 1
    columns = [
        ("Recipe", "l"),
        *BESIDE_K,
        (with_unit(title(metric), metric), "r"),
        ("n", "r"),
    ]
    if baseline:
        columns.append((of_difference(f"Gap to {baseline}", metric, 95), "r"))
    columns += [
        ("Memory", "r"),
        ("Step time", "r"),
        ("Inference MACs", "r"),
        ("Parameters", "r"),
        ("Remarks", "l"),
    ]
    table = Table(([("Settings", "l")] if several else []) + columns, [])
    table.filters.update({"Recipe": list(rows["label"]), "K": [str(k) for k in rows["modules"]]})
    before = None
    for _, row in rows.iterrows():
        begins = (row["settings"], row["recipe"]) != before
        before = (row["settings"], row["recipe"])
        if begins:
            table.starts.append(len(table.rows))
        names = [Item(row["settings"] or "recipe’s own")] if several else []
        names.append(Item(row["label"]))
        if not begins:
            names = [Item("", again=name.text) for name in names]
        table.rows.append([*names, *_figures(row, digits(metric), bool(baseline))])
    return table


def _figures(row: pd.Series, decimals: int, against: bool) -> list[Item]:
    value = plus_minus(row["value_mean"], row["value_std"], decimals)
    n = str(row["n"]) if row["n"] == row["planned"] else f"{row['n']} of {row['planned']}"
    return [
        *beside_k(row),
        Item(value),
        Item(n),
        *[_gap(row, decimals)] * against,
        _cost(row, "memory", _measured(row["memory_bytes"], units.memory), against),
        _cost(row, "time", _measured(row["step_seconds"], units.time), against),
        Item(count(row["macs"]) if row["is_baseline"] or not against else times(row["macs_ratio"])),
        Item(count(row["parameters"])),
        Item(_remarks(row)),
    ]


def beside_k(row: pd.Series) -> list[Item]:
    """K, and what else decides how far a comparison is fair: the columns of `BESIDE_K`."""
    horizon, share = row["horizon"], row["helper_flops_share"]
    reach = (
        NONE if math.isnan(horizon) else "all" if horizon >= row["modules"] else f"{horizon:.0f}"
    )
    flops = NONE if math.isnan(share) else f"{100 * share:.1f} %"
    return [
        Item(f"{row['modules']:.0f}"),
        Item(reach),
        Item(count(row["helper_parameters"])),
        Item(flops),
    ]


def beside_ks(rows: pd.DataFrame) -> list[Item]:
    """The columns of `BESIDE_K` over several rows: the least and the most where they differ."""
    out = []
    for n, name in enumerate(BESIDE_K_NAMES):
        ordered = rows.dropna(subset=[name]).sort_values(name)
        ends = [beside_k(ordered.iloc[end])[n].text for end in (0, -1)] if len(ordered) else [NONE]
        out.append(Item(" – ".join(dict.fromkeys(ends))))
    return out


def _gap(row: pd.Series, decimals: int) -> Item:
    notes = (row["gap_reason"],) if row["gap_reason"] else ()
    if row["is_baseline"] or row["n"] == 0:
        return Item(NONE)
    if row["gap_n"] == 0:
        return Item(NONE, notes)
    text = number(row["gap_mean"], decimals, sign=True)
    if row["gap_n"] > 1 and row["gap_std"] == 0:
        return Item(text, (*notes, "all seeds differ by the same amount: no interval can be given"))
    if row["gap_n"] > 1:
        text += f" {interval(row['gap_low'], row['gap_high'], decimals)}"
    return Item(text, notes)


def _cost(row: pd.Series, name: str, absolute: str, against: bool) -> Item:
    """A cost as a multiple of the baseline's; the baseline's own, and all without one, as it is."""
    if not against:
        lacking = {"memory": NO_MEMORY, "time": NO_TIME}[name][0]
        return Item(absolute, (lacking,) if absolute == NONE and row["n"] else ())
    used, reason = row[f"{name}_n"], row[f"{name}_reason"]
    if row["n"] == 0:
        return Item(NONE)
    if used == 0:
        return Item(NONE, (reason,))
    notes = (
        (f"from {used} of {row['n']} runs: the others {OTHERS[name]}",) if used < row["n"] else ()
    )
    return Item(absolute if row["is_baseline"] else times(row[f"{name}_ratio"]), notes)


def _remarks(row: pd.Series) -> str:
    found = ["provisional"] if row["provisional"] and row["n"] else []
    ours, theirs = row["epochs"], row["baseline_epochs"]
    if abs(ours - theirs) > 0:  # not if either is unknown
        found.append(f"{ours:.0f} epochs (baseline {theirs:.0f})".replace(" ", "\u00a0"))
    names: dict[str, str] = {s: words(s) for s in reversed(STATES) if s != "done"}
    names |= {"other_images": "of other images", "stale": "stale"}
    return ", ".join(
        found + [f"{row[s]} {name}".replace(" ", "\u00a0") for s, name in names.items() if row[s]]
    )


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
        marks = ["".join(notes[n] for n in item.notes) for item in row]
        cells = [
            escape(i.text) + (f"$^{{{m}}}$" if m else "") for i, m in zip(row, marks, strict=True)
        ]
        lines.append(" & ".join(cells) + r" \\")
    lines.append("\\bottomrule")
    width = len(table.columns)
    lines += [
        f"\\multicolumn{{{width}}}{{l}}{{\\footnotesize $^{{{m}}}$ {escape(n)}}} \\\\"
        for n, m in notes.items()
    ]
    return ("\n".join([*lines, "\\end{tabular}"]) + "\n").encode()


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
