"""What the runs of a sweep used of their machines beside what was asked for: a table, and a
sentence where much more was asked for than any run used.

**Much more**: no run used half of what was asked for it. Not said of one CPU, of up to a GiB of
memory and of up to a quarter of an hour, which cost nobody anything; of a GPU: it was at work for
less than half of the time in every run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from modulewise import units
from modulewise.report import tables
from modulewise.report.frame import Frame
from modulewise.report.tables import NONE, Item, Table
from modulewise.runs.result import Use
from modulewise.runs.use import Compared, Kind, compare

HALF = 0.5
"""Of what was asked for: where no run used as much, much more was asked for than used."""
SPARE = 1.5
"""So many times the most that was used is enough to ask for."""
START = 120.0
"""Seconds of a job before its run is counted."""
LEAST: dict[Kind, float] = {"cpus": 1.0, "memory": 2.0**30, "time": 900.0}
"""Of so much nothing is said."""
TITLES: dict[Kind, str] = {
    "cpus": "CPUs kept busy",
    "memory": "Memory",
    "gpu": "GPU at work, share of the time",
    "power": "Power of the GPU",
    "time": "Time of a run",
}
TEXTS: dict[Kind, Callable[[float], str]] = {
    "cpus": lambda n: f"{round(n, 2):g}",
    "memory": units.memory,
    "gpu": lambda percent: f"{percent:.0f} %",
    "power": lambda watts: f"{watts:.0f} W",
    "time": units.duration,
}


def section(frame: Frame, files: dict[str, bytes]) -> dict[str, Any] | None:
    """What the page shows of use against request; None if no result says what its run used. Adds
    the files."""
    uses = list(frame.uses.values())
    if not uses:
        return None
    found = compare(uses)
    table = show(found)
    files["tables/use.csv"] = tables.to_csv(numbers(frame.uses))
    files["tables/use.tex"] = tables.to_latex(table)
    return {"table": table, "sum": total(uses), "much": [t for c in found if (t := much_more(c))]}


def numbers(uses: dict[str, Use]) -> pd.DataFrame:
    """Every run's figures, one row a run."""
    rows = []
    for path, use in uses.items():
        asked = {f"asked_{name}": value for name, value in use.asked.model_dump().items()}
        rows.append({"path": path} | use.model_dump(exclude={"asked"}) | asked)
    return pd.DataFrame(rows)


def show(found: list[Compared]) -> Table:
    """A row for every kind of use."""
    columns = [
        ("", "l"),
        ("Asked for, a run", "r"),
        ("Used, mean", "r"),
        ("Used, most of any run", "r"),
        ("Runs", "r"),
    ]
    table = Table(columns, [])
    for c in found:
        text = TEXTS[c.kind]
        asked = " – ".join(dict.fromkeys(map(text, c.asked))) if c.asked else NONE
        asked = NONE if c.kind == "gpu" else asked  # asked for whole
        words = (TITLES[c.kind], asked, text(c.mean), text(c.most), str(c.runs))
        table.rows.append([Item(word) for word in words])
    return table


def total(uses: list[Use]) -> str:
    """CPU time of the runs together, their wall time, and the energy that GPUs drew, in words."""
    runs = f"{len(uses)} run{'s' * (len(uses) > 1)}"
    cpu, wall = sum(u.cpu_seconds for u in uses), sum(u.seconds for u in uses)
    text = f"{runs} together: {units.time(cpu)} of CPU time in {units.time(wall)} of running"
    drawn = [u.gpu_watts * u.seconds for u in uses if u.gpu_watts is not None]
    return f"{text}; {units.three_digits(sum(drawn) / 3.6e6)} kWh of GPUs." if drawn else f"{text}."


def much_more(c: Compared) -> str:
    """A sentence where much more was asked for than used, with what would be enough; else empty."""
    if c.asked is None or c.share >= HALF or c.asked[0] <= LEAST.get(c.kind, 0.0):
        return ""
    most, least = TEXTS[c.kind](c.most), TEXTS[c.kind](c.asked[0])
    spare = SPARE * c.most
    match c.kind:
        case "cpus":
            enough = math.ceil(c.most)
            return (
                f"No run kept more than {most} of the {least} CPUs busy that were asked for it: "
                f"{enough} would do (set-threads: train={enough})."
            )
        case "memory":
            enough = 100 * math.ceil(spare / 2**20 / 100)
            return (
                f"No run held more than {most} of the {least} of memory that were asked for it: "
                f"mem_mb={enough} leaves half as much again."
            )
        case "time":
            enough = max(5, math.ceil((spare + START) / 60))
            return (
                f"No run took longer than {most} of the {least} that were asked for it: "
                f"runtime={enough} leaves half as much again, and two minutes to start."
            )
        case "gpu":
            return (
                f"No run had the GPU at work for more than {most} of the time: several runs can "
                f"share one (pack)."
            )
    return ""
