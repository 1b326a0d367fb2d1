"""The headline table of a data set and network: what every recipe reaches at every K, and what it
costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from modulewise import units
from modulewise.report.best import LEVEL
from modulewise.report.naming import digits, of_difference, title, with_unit
from modulewise.report.stats import NO_TIME, PROVISIONAL, TIED
from modulewise.report.tables import (
    HELP,
    MARKS,
    NONE,
    Item,
    K,
    Table,
    beside_k,
    count,
    interval,
    number,
    plus_minus,
    times,
)
from modulewise.runs.result import PrimaryMetric
from modulewise.runs.state import STATES, words

OTHERS = {
    "memory": "ran on another kind of device",
    "time": "shared their device or ran on another kind",
}
"""Why the runs that a cost leaves out cannot be compared."""
FIRST = [
    *("dataset", "network", "settings", "recipe", "label", "modules", "same_as"),
    *("value_mean", "value_std", "value_low", "value_high", "n", "value_standing", "value_p"),
    *("gap_mean", "gap_std", "gap_low", "gap_high", "gap_n", "gap_reason", "otherwise"),
    *("memory_bytes", "memory_ratio", "memory_n", "memory_reason", "memory_standing"),
    *("step_seconds", "time_ratio", "time_n", "time_reason", "time_standing"),
    *("epochs", "baseline_epochs", "horizon", "helper_parameters", "helper_flops_share"),
    *("parameters", "inference_parameters", "macs", "macs_ratio"),
]
"""Columns of the CSV in the order of the table; the others follow."""


def ordered(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `best.judged` with their columns in the table's order."""
    return rows[[*FIRST, *(name for name in rows if name not in FIRST)]]


def show(
    rows: pd.DataFrame, metric: PrimaryMetric, secondary: Mapping[str, PrimaryMetric] = {}
) -> Table:
    """The headline table of one data set and network; without a baseline among the rows there is no
    gap, and costs are as measured.

    Args:
        rows: of `best.judged`, one data set and network.
        metric: of the data set.
        secondary: its other metrics, by column.
    """
    base = rows.loc[rows["is_baseline"], "label"]
    baseline = str(base.iloc[0]) if len(base) else ""
    several = rows["settings"].nunique() > 1
    paces = rows["otherwise"].ne("").any() or rows["epochs"].dropna().nunique() > 1
    columns = [("Settings", "l")] * several
    columns += [("Recipe", "l"), K, (with_unit(title(metric), metric), "r")]
    columns += [*((with_unit(title(m), m), "r") for m in secondary.values()), ("n", "r")]
    columns += [(of_difference(f"Gap to {baseline}", metric, 95), "r")] * bool(baseline)
    columns += [("Memory", "r"), ("Step time", "r"), *[("Epochs", "r")] * bool(paces)]
    columns += [*HELP, ("Parameters", "r"), ("Inference MACs", "r"), ("Remarks", "l")]
    table = Table(columns, [], legend=_legend(rows, metric))
    table.filters.update({"Recipe": list(rows["label"]), "K": [str(k) for k in rows["modules"]]})
    before, shared = None, _shared(rows)
    for _, row in rows.iterrows():
        begins = (row["settings"], row["recipe"]) != before
        before = (row["settings"], row["recipe"])
        if begins:
            table.starts.append(len(table.rows))
        names = [Item(row["settings"] or "recipe’s own")] * several + [Item(row["label"])]
        if not begins:
            names = [Item("", again=name.text) for name in names]
        others = [_secondary(row, name, digits(m)) for name, m in secondary.items()]
        k, value, *items = _items(row, digits(metric), baseline, bool(paces))
        items = [value, *others, *items]
        table.rows.append([*names, k._replace(notes=shared.get(_run(row), ())), *items])
    return table


def _secondary(row: pd.Series, name: str, decimals: int) -> Item:
    return Item(plus_minus(row[f"{name}_mean"], row[f"{name}_std"], decimals))


def _run(row: pd.Series) -> tuple[str, str, int]:
    """What rows that show one training share."""
    return row["settings"], row["same_as"] or row["label"], row["modules"]


def _shared(rows: pd.DataFrame) -> dict[tuple[str, str, int], tuple[str]]:
    """The footnote of rows that show one training, by `_run`."""
    labels: dict[tuple[str, str, int], list[str]] = {}
    for _, row in rows[rows["same_as"] != ""].iterrows():
        labels.setdefault(_run(row), [row["same_as"]]).append(row["label"])
    return {
        run: (
            f"{', '.join(names[:-1])} and {names[-1]} are the very same training at K = {run[2]}: "
            f"it was made once, as {names[0]}",
        )
        for run, names in labels.items()
    }


def _items(row: pd.Series, decimals: int, baseline: str, paces: bool) -> list[Item]:
    k, *help_ = beside_k(row)
    tie = ("all seeds tie",) if row["n"] > 1 and row["value_std"] == 0 else ()
    value = plus_minus(row["value_mean"], row["value_std"], decimals)
    n = str(row["n"]) if row["n"] == row["planned"] else f"{row['n']} of {row['planned']}"
    otherwise: tuple[str, ...] = ()
    if row["otherwise"]:
        otherwise = (f"trained otherwise than {baseline}: {row['otherwise']}",)
    epochs = Item(NONE if np.isnan(row["epochs"]) else f"{row['epochs']:.0f}", otherwise)
    whole = bool(row["is_baseline"] or not baseline)
    return [
        k,
        Item(value, tie, mark=_mark(row["value_standing"])),
        Item(n),
        *[_gap(row, decimals, otherwise)] * bool(baseline),
        _cost(row, "memory", "memory_bytes", units.memory, baseline),
        _cost(row, "time", "step_seconds", units.time, baseline),
        *[epochs] * paces,
        *help_,
        Item(count(row["parameters"])),
        Item(
            count(row["macs"]) if whole else times(row["macs_ratio"]),
            key=row["macs_ratio"] if row["is_baseline"] else None,
        ),
        Item(_remarks(row)),
    ]


def _mark(standing: str) -> str:
    return standing if standing in MARKS else ""


def _legend(rows: pd.DataFrame, metric: PrimaryMetric) -> str:
    """What the marks of the table mean, and by which rule they are given."""
    standings = {name: set(rows[f"{name}_standing"]) for name in ("value", "memory", "time")}
    if not set.union(*standings.values()) & MARKS.keys():
        return ""
    several = " of equal settings" if rows["settings"].nunique() > 1 else ""
    said = f"★ best of the column{several}"
    judged = standings["value"] & {"level", "behind"}
    if judged or "level" in standings["memory"] | standings["time"]:
        said += "; ☆ cannot be told apart from it"
    rules = []
    if judged:
        rule = (
            f"{title(metric)}: one-sided paired t-tests against the best mean at {LEVEL:.0%}, "
            f"corrected for the number of rows; rows with fewer than {PROVISIONAL} seeds, with "
            f"seeds that failed, or with other epochs or batches are not judged"
        )
        rules.append(rule.replace("%", "\u00a0%"))
    elif "best" in standings["value"] and rows["n"].max() < PROVISIONAL:
        rules.append(
            f"{title(metric)}: the best mean; fewer than {PROVISIONAL} seeds tell no other row "
            f"apart from it"
        )
    if (standings["memory"] | standings["time"]) & MARKS.keys():
        overlap = "level" in standings["memory"] | standings["time"]
        rules.append(
            "Memory and time: the least median of runs measured alike"
            + "; ☆ where the ranges of runs overlap" * overlap
        )
    return ". ".join([said, *rules]) + "."


def _gap(row: pd.Series, decimals: int, otherwise: tuple[str, ...]) -> Item:
    if row["is_baseline"] or row["n"] == 0:
        return Item(NONE)
    notes: tuple[str, ...] = (row["gap_reason"],) if row["gap_reason"] else ()
    if row["gap_n"] == 0:
        return Item(NONE, notes)
    text = number(row["gap_mean"], decimals, sign=True)
    if row["gap_n"] > 1 and row["gap_std"] == 0:
        notes += (TIED,)
    elif row["gap_n"] > 1:
        text += f" {interval(row['gap_low'], row['gap_high'], decimals)}"
    return Item(text, (*notes, *otherwise))


def _cost(
    row: pd.Series, name: str, column: str, said: Callable[[float], str], baseline: str
) -> Item:
    """A cost as a multiple of the baseline's; the baseline's own, and all without one, as it is."""
    if row["n"] == 0:
        return Item(NONE)
    mark, value = _mark(row[f"{name}_standing"]), row[column]
    if not baseline:
        lacking = (NO_TIME[0] if name == "time" else "memory was not measured",)
        return Item(NONE, lacking) if np.isnan(value) else Item(said(value), mark=mark, key=value)
    used, ratio = row[f"{name}_n"], row[f"{name}_ratio"]
    if used == 0:
        return Item(NONE, (row[f"{name}_reason"],))
    notes: tuple[str, ...] = ()
    if used < row["n"]:
        notes = (f"from {used} of {row['n']} runs: the others {OTHERS[name]}",)
    if row["is_baseline"]:
        return Item(said(value), notes, mark=mark, key=ratio)
    return Item(times(ratio), notes, mark=mark)


def _remarks(row: pd.Series) -> str:
    found = ["provisional"] if row["provisional"] and row["n"] else []
    names: dict[str, str] = {s: words(s) for s in reversed(STATES) if s != "done"}
    names |= {"other_images": "of other images", "stale": "stale"}
    return ", ".join(
        found + [f"{row[s]} {name}".replace(" ", "\u00a0") for s, name in names.items() if row[s]]
    )
