"""The decision on local learning as the page shows it: a sentence, a table, figures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from modulewise.plots import Nothing
from modulewise.report import figures, gallery, tables
from modulewise.report.decision import ALIKE, ARM, costs_of, decide, margin_of, missing
from modulewise.report.drawing import looks
from modulewise.report.frame import Frame
from modulewise.report.hull import Arm, Mark, draw
from modulewise.report.naming import difference_unit, digits, of_difference, valued
from modulewise.report.tables import NONE, Item, Table, interval, number, times
from modulewise.runs.result import PrimaryMetric

OUTSIDE = "none is as small and as fast"
"""Said of what lies outside the hull."""


def section(
    frame: Frame,
    place: tuple[str, str, int],
    margin: float | None,
    known: Iterable[str],
    files: dict[str, bytes],
    drawn: bool = True,
) -> dict[str, Any] | None:
    """What the page shows of one data set and network; None without local configurations that have
    a result, or if nothing is there to compare them with. Adds the files.

    Args:
        frame: the runs.
        place: data set, network, and number of the section, for ids that are unique in the page.
        margin: the sweep's, if it sets one.
        known: names of the catalog's recipes.
        files: path in the report's folder -> content.
        drawn: whether to draw figures.
    """
    dataset, network, section_number = place
    metric = frame.metric(dataset)
    margin = margin_of(metric, margin)
    rows = decide(frame, dataset, network, margin)
    if rows.empty or not (has_baseline(frame, dataset, network) or rows["beaten_by"].any()):
        return None
    table, stem = show(rows, metric, frame, margin), f"decision_{dataset}_{network}"
    files[f"tables/{stem}.csv"] = tables.to_csv(rows)
    files[f"tables/{stem}.tex"] = tables.to_latex(table)
    return {
        "sentence": sentence(rows, metric, margin),
        "table": table,
        "stem": stem,
        "margin": points(metric, margin),
        "metric": metric.label,
        "family": int(rows["family"].iloc[0]),
        "missing": missing(frame, dataset, network, known),
        "figures": list(_figures(frame, rows, stem, section_number, files)) if drawn else [],
    }


def has_baseline(frame: Frame, dataset: str, network: str) -> bool:
    """Whether the baseline is among the cells of a data set and network."""
    places = frame.runs.loc[frame.runs["recipe"] == frame.baseline, ["dataset", "network"]]
    return bool((places == [dataset, network]).all(axis=1).any())


def sentence(rows: pd.DataFrame, metric: PrimaryMetric, margin: float | None) -> str:
    """The decision in one sentence.

    Args:
        rows: of `decide`, not empty.
        metric: of the data set.
        margin: as there.

    Example:
        >>> sentence(
        ...     pd.DataFrame({"verdict": ["dominated"] * 2, "beaten_by": "Backprop"}),
        ...     PrimaryMetric(),
        ...     0.5,
        ... )
        'Of 2 local configurations, none is worth it; 2 are beaten by Backprop in memory and time.'
    """
    worth, beaten, worse, unknown = (
        rows[rows["verdict"] == v] for v in ("worth it", "dominated", "less accurate", "unknown")
    )
    several = "settings" in rows and rows["settings"].nunique() > 1
    found = (
        f"{_are(worth)} worth it: {_names(worth, several)}" if len(worth) else "none is worth it"
    )
    parts = [f"Of {len(rows)} local configuration{'s' * (len(rows) > 1)}, {found}"]
    if len(beaten):
        parts.append(f"{_are(beaten)} beaten by {_counted(beaten['beaten_by'])} in memory and time")
    if len(worse):
        parts.append(f"{_are(worse, 'loses', 'lose')} more than {points(metric, margin)}")
    if len(unknown):
        parts.append(f"{len(unknown)} cannot be told: {_counted(unknown['because'])}")
    return "; ".join(parts) + "."


def _are(rows: pd.DataFrame, one: str = "is", several: str = "are") -> str:
    return f"{len(rows)} {one if len(rows) == 1 else several}"


def _names(rows: pd.DataFrame, several: bool) -> str:
    """`DGL (K = 2, 4), Greedy (K = 8)`, with their settings if there are several."""
    ks: dict[tuple[str, str], list[str]] = {}
    for row in rows.to_dict("records"):
        ks.setdefault((row["label"], row["settings"]), []).append(str(row["modules"]))
    return ", ".join(
        f"{label} (K = {', '.join(k)}{f'; {settings}' if several and settings else ''})"
        for (label, settings), k in ks.items()
    )


def _counted(words: pd.Series) -> str:
    """The distinct words, each with its number if there are several, the most frequent first."""
    counts = Counter(words).most_common()
    return ", ".join(f"{w} ({n})" if len(counts) > 1 else str(w) for w, n in counts)


def points(metric: PrimaryMetric, margin: float | None) -> str:
    """The margin with its unit: `0.5 points`; empty without one."""
    return "" if margin is None else f"{margin:g} {difference_unit(metric)}".strip()


def show(rows: pd.DataFrame, metric: PrimaryMetric, frame: Frame, margin: float | None) -> Table:
    """The decision as a table, a row for each configuration.

    Args:
        rows: of `decide`.
        metric: of the data set.
        frame: the runs.
        margin: as in `decide`.
    """
    baseline = frame.labels[frame.baseline] if frame.baseline else "baseline"
    columns = [
        ("Recipe", "l"),
        ("K", "r"),
        ("Memory", "r"),
        ("Step time", "r"),
        ("End-to-end arm at once as small and as fast", "l"),
        (of_difference(f"Gap to {baseline}", metric, 90), "r"),
        (f"Loses less than {points(metric, margin)}" if margin else "As accurate", "l"),
        ("Verdict", "l"),
    ]
    several = rows["settings"].nunique() > 1
    table = Table([*([("Settings", "l")] * several), *columns], [])
    table.filters.update({"Recipe": list(rows["label"]), "K": [str(k) for k in rows["modules"]]})
    before = None
    for n, row in enumerate(rows.to_dict("records")):
        begins = (row["settings"], row["recipe"]) != before
        before = (row["settings"], row["recipe"])
        names = [*([row["settings"] or "recipe’s own"] * several), row["label"]]
        if begins:
            table.starts.append(n)
        shown = [Item(name) if begins else Item("", again=name) for name in names]
        table.rows.append([*shown, *_items(row, digits(metric))])
    return table


def _items(row: dict[Any, Any], decimals: int) -> list[Item]:
    placed = not row["obstacle"]
    obstacle = () if placed else (row["obstacle"],)
    if placed and math.isnan(row["memory_ratio"]):
        obstacle = ("no baseline of the same settings was measured alike",)
    gap = NONE
    if row["gap_n"]:
        gap = number(row["gap_mean"], decimals, sign=True)
    if row["gap_n"] > 1 and row["gap_std"] > 0:
        gap += f" {interval(row['gap_low'], row['gap_high'], decimals)}"
    reason = (row["reason"],) if row["reason"] and row["reason"] != row["obstacle"] else ()
    look = {"worth it": "better", "less accurate": "worse", "unknown": "inconclusive"}
    return [
        Item(str(row["modules"])),
        Item(times(row["memory_ratio"]), obstacle if math.isnan(row["memory_ratio"]) else ()),
        Item(times(row["time_ratio"]), obstacle),
        Item(row["beaten_by"] or (OUTSIDE if placed else NONE)),
        Item(gap),
        Item(row["accurate"] or NONE, () if row["verdict"] == "unknown" else reason),
        Item(
            row["verdict"],
            reason if row["verdict"] == "unknown" else (),
            look=look.get(row["verdict"], ""),
        ),
    ]


def _figures(
    frame: Frame, rows: pd.DataFrame, stem: str, section_number: int, files: dict[str, bytes]
) -> Iterator[dict[str, Any]]:
    """Figures of the local arms against the hull, for each of the settings and few recipes each."""
    (dataset, network), done = rows[["dataset", "network"]].iloc[0], frame.done
    done = done[(done["dataset"] == dataset) & (done["network"] == network)]
    several = rows["settings"].nunique() > 1
    for setting, settings in enumerate(rows["settings"].unique(), 1):
        mine = rows[rows["settings"] == settings]
        parts = figures.parts(done[done["recipe"].isin(mine["recipe"])], frame)
        for part, recipes in enumerate(parts, 1):
            words = [f"settings{setting}"] * several
            words += [f"part{part}"] * (len(parts) > 1)
            make = partial(against, mine[mine["recipe"].isin(recipes)], done, frame)
            prefix = f"d{section_number}-{setting}-{part}"
            for shown in gallery.figure(make, "_".join([stem, *words]), prefix, files):
                yield shown | {"settings": settings, "several": several}


def against(rows: pd.DataFrame, done: pd.DataFrame, frame: Frame) -> Figure:
    """Time against memory of local arms, and the hull of what was measured end to end like most of
    them.

    Args:
        rows: of `decide`, the arms to show.
        done: done runs of the data set and network.
        frame: where they are from.

    Raises:
        Nothing: no two of them were measured alike.
    """
    costs, metric = costs_of(done), frame.metric(rows["dataset"].iloc[0])
    accurate = {
        tuple(row[k] for k in ARM): row["accurate"] == "yes" for row in rows.to_dict("records")
    }
    mine = pd.Series([key in accurate for key in costs[ARM].itertuples(index=False, name=None)])
    costs = costs[(mine.to_numpy(bool) & ~costs["end_to_end"]) | costs["end_to_end"]]
    sizes = costs[~costs["end_to_end"]].groupby(ALIKE, sort=False).size()
    if sizes.empty:
        raise Nothing(
            "memory and time of no local configuration were measured on a device of its own"
        )
    costs = costs[(costs[ALIKE] == list(sizes.idxmax())).all(axis=1)]
    values, look = done.groupby(ARM)["value"].mean(), looks(frame)
    marks = []
    for row in costs.sort_index().to_dict("records"):
        key = tuple(row[k] for k in ARM)
        arm = Arm(frame.labels[row["recipe"]], row["memory"], row["step_seconds"])
        text = f"{row['modules']}: {values[key]:.{1 if values.max() >= 2 else 2}f}"
        full = row["end_to_end"] or accurate[key]
        said = f"{arm.name}, K = {row['modules']}: {valued(metric, values[key])}"
        marks.append(Mark(arm, look[row["recipe"]], text, row["end_to_end"], full, said))
    return draw(marks, str(costs["device"].iloc[0]))
