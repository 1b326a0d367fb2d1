"""What the runs of a sweep that are still to do will cost, from what was measured: time. No
torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from modulewise.config.cell import Cell, configurations
from modulewise.files import place, write_atomic
from modulewise.units import three_digits

MEASURED = "measured.json"
"""Beside the profile files: everything that was measured on one device with the present versions;
sweeps share it."""
MARGIN, START, LEAST = 1.5, 120.0, 5
"""A scheduler is asked for so many times what was measured, with so many seconds for imports and
data, and for so many minutes at least."""
Found = dict[str, Any]
"""What a profile file says of a configuration."""


def read(path: Path) -> dict[str, Any]:
    """A profile file's content; one without configurations if it is missing or damaged."""
    try:
        content = json.loads(path.read_bytes())
        return content if isinstance(content["cells"], dict) else {"cells": {}}
    except (OSError, ValueError, KeyError, TypeError):
        return {"cells": {}}


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a profile file; its folder is made if need be."""
    write_atomic(place(path), json.dumps(content, indent=1) + "\n")


def measured(folder: Path, by: dict[str, Any]) -> dict[str, Found]:
    """What was measured before by the same device and versions, by configuration; each says by what
    code, its `source`. What was timed while others used the device is left out.

    Args:
        folder: of the profile files.
        by: `device` and `versions`.
    """
    content = read(folder / MEASURED)
    if any(content.get(k) != v for k, v in by.items()):
        return {}
    return {name: f for name, f in content["cells"].items() if f.get("exclusive", True)}


def minutes(path: Path, cell: Cell) -> int | None:
    """Minutes to ask a scheduler for; `None` if the cell was not measured, or has no room on the
    device."""
    found = read(path)["cells"].get(cell.configuration)
    if not isinstance(found, dict) or "seconds" not in found:
        return None
    return max(LEAST, math.ceil((MARGIN * found["seconds"] + START) / 60))


def name(cells: Iterable[Cell]) -> str:
    """Name of the profile file of these cells: a hash of their distinct configurations."""
    return (
        hashlib.sha256(" ".join(sorted(configurations(cells))).encode()).hexdigest()[:12] + ".json"
    )


def total_hours(cells: Iterable[Cell], known: dict[str, Found]) -> tuple[float, int]:
    """Hours of one device for all cells together, and how many of them run out of memory."""
    found = [(known[c.configuration], c.training.devices) for c in cells]
    seconds = [f["seconds"] * devices for f, devices in found if "seconds" in f]
    return sum(seconds) / 3600, len(found) - len(seconds)


def tables(cells: Sequence[Cell], known: dict[str, Found]) -> list[Table]:
    """What every configuration was measured to take, a table for every data set and network.

    A recipe with several budgets at one K has its budget beside its name.

    Args:
        cells: those that are still to run.
        known: entries of a profile file, by configuration.
    """
    runs, distinct = Counter(c.configuration for c in cells), configurations(cells)
    alike = Counter((c.dataset, c.network, c.recipe, c.modules) for c in distinct.values())
    out: dict[str, Table] = {}
    for name, cell in distinct.items():
        several = alike[cell.dataset, cell.network, cell.recipe, cell.modules] > 1
        recipe = f"{cell.recipe} {_budget(cell)}" if several else cell.recipe
        title = f"{cell.dataset} {cell.network}"
        table = out.setdefault(title, _empty(title))
        figures = _figures(known[name], runs[name], cell.training.devices)
        table.add_row(f"  {recipe}", str(cell.modules), *figures)
    return list(out.values())


def _empty(title: str) -> Table:
    """A table of one data set and network, without rules, at most 80 columns wide."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    table.add_column(title, no_wrap=True, width=33)
    for name, width in (("K", 4), ("s/epoch", 9), ("h/run", 13), ("runs", 6), ("hours", 8)):
        table.add_column(name, justify="right", no_wrap=True, width=width)
    return table


def _figures(found: Found, runs: int, devices: int) -> tuple[str, str, str, str]:
    """Seconds an epoch, hours a run, runs, hours of one device for all of them."""
    if "seconds" not in found:
        return "", "out of memory", str(runs), ""
    epoch, hours = found["epoch_seconds"] + found["evaluation_seconds"], found["seconds"] / 3600
    return three_digits(epoch), three_digits(hours), str(runs), three_digits(hours * runs * devices)


def _budget(cell: Cell) -> str:
    t = cell.training
    return (
        f"flops={t.flops:g}"
        if t.flops
        else f"seconds={t.seconds:g}"
        if t.seconds
        else f"iterations={t.iterations}"
        if t.iterations
        else f"epochs={t.epochs}"
    )
