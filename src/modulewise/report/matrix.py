"""Recipes against each other: paired differences of every two recipes of equal K.

A matrix for every data set, network, settings and K, with Holm's correction over its pairs; the
baseline has K = 1 and is compared in the headline table. The page shows the matrices of few recipes
as long as there are not too many; the CSV holds all.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pandas as pd

from modulewise.report import pairs, tables
from modulewise.report.frame import Frame
from modulewise.report.naming import difference_unit, digits
from modulewise.report.tables import NONE, Item, Table, interval, number
from modulewise.runs.result import PrimaryMetric

WIDEST = 10
"""Matrices of more recipes are in the CSV alone."""
MOST = 400
"""Pairs that a page shows; those of later data sets and networks are in the CSV alone."""
OPEN = 4
"""Matrices of more recipes than this are folded, and those without a test."""


def compare(frame: Frame, dataset: str, network: str) -> pd.DataFrame:
    """One row for each two recipes of equal settings and K that have a run that is done.

    Args:
        frame: the runs.
        dataset: of the runs compared.
        network: likewise.

    Returns:
        `dataset`, `network`, `settings`, `modules`, `recipe`, `other`, their labels, and the
        columns of `pairs.compare`, of the recipe minus the other; in the sweep's order.
    """
    runs = frame.runs
    runs = runs[(runs["dataset"] == dataset) & (runs["network"] == network)]
    order = {name: n for n, name in enumerate(frame.labels)}
    found = []
    for settings, group in runs.groupby("settings", sort=False):
        of = pairs.cells(group)
        at = {key: n for n, key in enumerate(of.keys) if of.budgets[n]}
        for modules in sorted({k for _, k in at}):
            mine = sorted((r for r, k in at if k == modules), key=order.__getitem__)
            if len(mine) < 2:
                continue
            two = list(combinations(mine, 2))
            tests = pairs.compare(
                of, [(at[a, modules], at[b, modules]) for a, b in two], frame.metric(dataset)
            )
            names = pd.DataFrame(two, columns=["recipe", "other"])
            names.insert(0, "modules", modules)
            names.insert(0, "settings", settings)
            for name in ("recipe", "other"):
                names[f"{name}_label"] = names[name].map(frame.labels)
            found.append(pd.concat([names, tests], axis=1))
    if not found:
        return pd.DataFrame()
    table = pd.concat(found, ignore_index=True)
    table.insert(0, "network", network)
    table.insert(0, "dataset", dataset)
    return table


def section(
    frame: Frame, dataset: str, network: str, room: int, files: dict[str, bytes]
) -> dict[str, Any] | None:
    """What the page shows of one data set and network; None where no two recipes are of equal K.
    Adds the file.

    Args:
        frame: the runs.
        dataset: of the runs compared.
        network: likewise.
        room: number of pairs that the page can still show.
        files: path in the report's folder -> content.
    """
    rows = compare(frame, dataset, network)
    if rows.empty:
        return None
    stem, metric = f"matrix_{dataset}_{network}", frame.metric(dataset)
    files[f"tables/{stem}.csv"] = tables.to_csv(rows)
    several, shown, left, before = rows["settings"].nunique() > 1, [], 0, room
    for (settings, modules), mine in rows.groupby(["settings", "modules"], sort=False):
        recipes = mine["recipe"].nunique() + 1
        if recipes > WIDEST or len(mine) > room:
            left += 1
            continue
        room -= len(mine)
        title = f"K = {modules}" + f", {settings or 'recipe’s own settings'}" * several
        shown.append(
            {
                "title": title,
                "sentence": sentence(mine, metric),
                "table": show(mine, metric),
                "open": recipes <= OPEN and bool(mine["found"].ne("").any()),
            }
        )
    return {
        "stem": stem,
        "matrices": shown,
        "left": left,
        "used": before - room,
        "metric": metric,
        "unit": difference_unit(metric),
        "widest": WIDEST,
        "most": MOST,
    }


def sentence(rows: pd.DataFrame, metric: PrimaryMetric) -> str:
    """What a matrix shows, in one sentence.

    Args:
        rows: of `compare`, one matrix.
        metric: of the data set.

    Example:
        >>> sentence(pd.DataFrame({"found": ["better", ""]}), PrimaryMetric())
        'of 2 pairs, 1 differs, 1 is not tested.'
    """
    counts = {
        "differ": rows["found"].isin(["better", "worse"]).sum(),
        "cannot be told apart": (rows["found"] == pairs.OPEN).sum(),
        "are not tested": (rows["found"] == "").sum(),
    }
    if counts["are not tested"] == len(rows):
        return f"none of {len(rows)} pair{'s' * (len(rows) > 1)} is tested."
    one = {"differ": "differs", "are not tested": "is not tested"}
    said = [f"{n} {one.get(w, w) if n == 1 else w}" for w, n in counts.items() if n]
    return f"of {len(rows)} pair{'s' * (len(rows) > 1)}, {', '.join(said)}."


def show(rows: pd.DataFrame, metric: PrimaryMetric) -> Table:
    """One matrix: row minus column, a star where the two differ.

    Args:
        rows: of `compare`, one matrix.
        metric: of the data set.
    """
    labels = dict(zip(rows["recipe"], rows["recipe_label"], strict=True))
    labels |= dict(zip(rows["other"], rows["other_label"], strict=True))
    cells = {(row["recipe"], row["other"]): row for row in rows.to_dict("records")}
    table = Table([("Row − column", "l"), *((label, "r") for label in labels.values())], [])
    for mine, label in labels.items():
        items = [Item(label)]
        for other in labels:
            row = cells.get((mine, other)) or _turned(cells.get((other, mine)))
            items.append(_item(row, digits(metric)) if row else Item(""))
        table.rows.append(items)
    return table


def _turned(row: dict[Any, Any] | None) -> dict[Any, Any] | None:
    """The same pair the other way round."""
    if row is None:
        return None
    word = {"better": "worse", "worse": "better"}.get(row["found"], row["found"])
    turned = {"mean": -row["mean"], "low": -row["high"], "high": -row["low"], "found": word}
    return row | turned


def _item(row: dict[Any, Any], decimals: int) -> Item:
    if not row["n"]:
        return Item(NONE, (row["reason"],) if row["reason"] else ())
    if row["reason"] == pairs.EQUAL:
        return Item("equal")
    text = number(row["mean"], decimals, sign=True)
    if row["low"] == row["low"]:
        text += f" {interval(row['low'], row['high'], decimals)}".replace(", ", ",\u00a0")
    found = row["found"] in ("better", "worse")
    notes = (row["reason"],) if row["reason"] else ()
    return Item(text + "\u00a0*" * found, notes, look=row["found"] if found else "")
