"""The planned analysis as the page shows it, and whether the plan is the one that was made before
the runs."""

from __future__ import annotations

import hashlib
import json
import math
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from modulewise.config.analysis import Analysis
from modulewise.config.contrasts import cells_of
from modulewise.config.plan import Plan
from modulewise.report import devices, tables
from modulewise.report.contrasts import judge
from modulewise.report.frame import Frame
from modulewise.report.naming import difference_unit, digits
from modulewise.report.tables import NONE, Item, Table, interval, number

TABLE = "tables/analysis.csv"
FILE = "plan.json"
"""In the report's folder: every plan that a report of the sweep was made by, with the number of
cells that were done when it was first seen."""
SAID = {
    "above": "above zero",
    "below": "below zero",
    "within": "within the margin",
    "not shown": "not shown",
}


def section(
    plan: Plan, frame: Frame, out: Path, files: dict[str, bytes], now: datetime | None = None
) -> dict[str, Any] | None:
    """What the page shows of the planned analysis; None if nothing was planned. Adds the files.

    Args:
        plan: the sweep.
        frame: its runs.
        out: the report's folder, with what earlier reports left.
        files: path in that folder -> content.
        now: the time that a new plan is recorded with.
    """
    analysis = plan.sweep.analysis
    if analysis is None:
        return None
    rows = judge(plan, frame, analysis)
    rows["said"] = [sentence(row, frame) for row in rows.to_dict("records")]
    table = show(rows, frame)
    files[TABLE] = tables.to_csv(rows)
    files["tables/analysis.tex"] = tables.to_latex(table)
    seen = history(
        out / FILE, digest(plan, analysis), len(frame.trained.done), now or datetime.now(UTC)
    )
    files[FILE] = (json.dumps(seen, indent=1) + "\n").encode()
    return {
        "table": table,
        "n": analysis.n,
        "alpha": f"{100 * analysis.alpha:g}",
        "primary": len(analysis.primary),
        "secondary": len(analysis.secondary),
        "split": devices.split_seeds(frame),
        "sentences": list(rows["said"]),
        "changed": [it for it in seen[1:] if it["done"]],
        "first": seen[0],
    }


def brief(folder: Path, width: int = 80) -> list[str]:
    """What the primary contrasts of a report that was made came to, a line each; none if nothing
    was planned.

    Args:
        folder: of the report.
        width: of a line.
    """
    if not (folder / TABLE).exists():
        return []
    rows = pd.read_csv(folder / TABLE)
    primary = rows.loc[rows["family"] == "primary", "said"]
    more = len(rows) - len(primary)
    head = f"planned, primary{f' ({more} secondary in the page)' if more else ''}:"
    return [head, *(textwrap.shorten(said, width, placeholder=" …") for said in primary)]


def digest(plan: Plan, analysis: Analysis) -> str:
    """Of what was planned: the analysis, but for the assumed spread, and all cells that it is
    about, with their settings."""
    cells = {
        f"{contrast.name} {it.cell.id}"
        for _, contrast in analysis.contrasts()
        for term in contrast.terms
        for group in cells_of(term, plan.rows, plan.where).values()
        for it in group
    }
    said = analysis.model_dump_json(exclude_defaults=True, exclude={"sd", "sd_source"})
    return hashlib.sha256("\n".join([said, *sorted(cells)]).encode()).hexdigest()[:12]


def history(path: Path, planned: str, done: int, now: datetime) -> list[dict[str, Any]]:
    """Every plan so far with when it was first seen and how many cells were done by then, the
    present one last. A file that cannot be read counts as none.

    Args:
        path: of the file.
        planned: digest of the present plan.
        done: number of cells that are done now.
        now: the time.
    """
    try:
        seen = list(json.loads(path.read_bytes()))
        known = seen[-1]["plan"] if seen else None
    except (OSError, ValueError, KeyError, TypeError):
        seen, known = [], None
    if known != planned:
        seen.append({"plan": planned, "seen": f"{now:%Y-%m-%d %H:%M} UTC", "done": done})
    return seen


def sentence(row: dict[Any, Any], frame: Frame) -> str:
    """What a contrast came to, in words made by rule."""
    metric = frame.metric(row["dataset"])
    unit = difference_unit(metric) + (" a doubling of K" if row["kind"] == "slope" else "")
    if row["reason"]:
        return f"{row['contrast']}: nothing is decided, {row['reason']}."
    found = f"{number(row['mean'], digits(metric), sign=True)} {unit}".strip()
    within = interval(row["low"], row["high"], digits(metric))
    verdict = SAID[row["found"]]
    if row["kind"] == "equivalence":
        margin = f"± {row['margin']:g} {difference_unit(metric)}".strip()
        verdict = f"{'within' if row['found'] == 'within' else 'not shown to be within'} {margin}"
    elif row["found"] == "not shown":
        verdict = "not told apart from zero"
    return f"{row['contrast']}: {found} {within}, {verdict}."


def show(rows: pd.DataFrame, frame: Frame) -> Table:
    """The contrasts as a table."""
    columns = [
        ("Family", "l"),
        ("Contrast", "l"),
        ("Hypothesis", "l"),
        ("Mean [interval]", "r"),
        ("Seeds", "r"),
        ("p (Holm)", "r"),
        ("Found", "l"),
    ]
    table, before = Table(columns, []), ""
    for n, row in enumerate(rows.to_dict("records")):
        decimals = digits(frame.metric(row["dataset"]))
        if row["family"] != before:
            table.starts.append(n)
        shown = NONE if not row["n"] else number(row["mean"], decimals, sign=True)
        if not math.isnan(row["low"]):
            shown += f" {interval(row['low'], row['high'], decimals)}"
        margin = f" (± {row['margin']:g})" if row["kind"] == "equivalence" else ""
        found = SAID.get(row["found"], NONE)
        look = {"within": "better", "not shown": "inconclusive"}.get(row["found"], "")
        table.rows.append(
            [
                Item(row["family"]) if row["family"] != before else Item("", again=row["family"]),
                Item(row["contrast"]),
                Item(row["hypothesis"] + margin),
                Item(shown),
                Item(f"{row['n']} of {row['planned']}"),
                Item(NONE if math.isnan(row["p"]) else f"{row['p_adjusted']:.2g}"),
                Item(found, (row["reason"],) if row["reason"] else (), look=look),
            ]
        )
        before = row["family"]
    return table
