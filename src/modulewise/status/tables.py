"""How a sweep stands, on one screen: counts, recipe by K, and the runs that need a look."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

from modulewise.config.cell import Cell
from modulewise.runs.images import other_images
from modulewise.runs.state import ENDED, STATES, RunState, State, words
from modulewise.status.layout import end_of, lines, start_of, table, wrapped
from modulewise.status.use import use
from modulewise.units import duration

Row = tuple[Cell, RunState]
"""A cell and the state of its run."""

MARKS: dict[State, str] = {
    "running": "r",
    "queued": "q",
    "stopped": "s",
    "failed": "f",
    "damaged": "x",
    "diverged": "d",
    "out_of_memory": "m",
}
"""Letters that stand for states in the table of recipes."""
TROUBLE: tuple[State, ...] = ("failed", "damaged", "stopped", "diverged", "out_of_memory")
"""States that need a look, the most urgent first."""
NAME = 22
"""Characters of a recipe's name that are shown at most."""


def screen(name: str, found: Sequence[Row], width: int = 80, most: int | None = 4) -> list[str]:
    """One screen: the counts, recipe by K, and what runs or needs a look.

    Args:
        name: name of the sweep.
        found: all cells.
        width: characters of a line.
        most: number of cells listed of each kind; `None` lists all of them and shortens nothing.
    """
    out = _counts(name, found, width)
    if not found:
        return out
    out += [*recipes(found, width), *_legend(found, width), *_cost(found, width)]
    out += use([s for _, s in found], width)
    for title, shown in (("running", _running), ("look at", _trouble)):
        listed, left = shown(title, found, width, most)
        out += listed
        if left:
            out.append(f"  and {left} more; modulewise status --all lists them")
    return out


def _counts(name: str, found: Sequence[Row], width: int) -> list[str]:
    """How many cells are in each state, such as `sweep demo  38 cells: 30 done, 8 running`."""
    n = Counter(s.state for _, s in found)
    first, *others = [f"{n[s]} {words(s)}" for s in STATES if n[s]] or ["none"]
    if count := len(other_images(found)):
        others.append(f"{count} of other images")
    return wrapped([f"sweep {name}  {len(found)} cells: {first}", *others], ", ", width)


def recipes(found: Sequence[Row], width: int = 80, rows: int = 9) -> list[str]:
    """Recipe by K: how many cells have ended, of how many; what else there is, by its letter.

    Args:
        found: all cells.
        width: characters of a line.
        rows: number of rows at most; the recipes with most left to do come first.
    """
    names = list(dict.fromkeys(c.recipe for c, _ in found))
    shown, hidden = _first(names, found, rows)
    modules = sorted({c.modules for c, _ in found})
    marks = {(r, k): _mark(_of(found, [r], k)) for r in shown for k in modules}
    wide = [max(4, *(len(marks[r, k]) for r in shown)) + 2 for k in modules]
    room = width - min(NAME, max(map(len, names))) - len("  ##########    +99 K")
    fit = max(1, sum(w <= room for w in itertools.accumulate(wide)))
    more = f"+{len(modules) - fit} K" if len(modules) > fit else ""
    made = table("recipe", "", *(f"K={k}" for k in modules[:fit]), more)
    for r in shown:
        cells = [marks[r, k] for k in modules[:fit]]
        made.add_row(start_of(r, NAME), _bar(_of(found, [r])), *cells)
    if hidden:
        rest = _of(found, hidden)
        made.add_row(f"{len(hidden)} others", _bar(rest), _mark(rest))
    return lines(made, width)


def _first(names: list[str], found: Sequence[Row], rows: int) -> tuple[list[str], list[str]]:
    """The recipes that have a row of their own, and those that share one."""
    if len(names) <= rows:
        return names, []
    left = Counter(c.recipe for c, s in found if s.state not in ENDED)
    kept = sorted(names, key=lambda r: (-left[r], names.index(r)))[: rows - 1]
    return [r for r in names if r in kept], [r for r in names if r not in kept]


def _of(found: Sequence[Row], names: Sequence[str], modules: int | None = None) -> list[RunState]:
    return [s for c, s in found if c.recipe in names and modules in (None, c.modules)]


def _mark(found: Sequence[RunState]) -> str:
    """Such as `3/5 r1 f1`: ended of all, and the number of those in other states by letter."""
    if not found:
        return ""
    n = Counter(s.state for s in found)
    letters = "".join(f" {letter}{n[state]}" for state, letter in MARKS.items() if n[state])
    return f"{sum(n[s] for s in ENDED)}/{len(found)}{letters}"


def _bar(found: Sequence[RunState], width: int = 10) -> str:
    full = width * sum(s.state in ENDED for s in found) // len(found)
    return "#" * full + "." * (width - full)


def _legend(found: Sequence[Row], width: int) -> list[str]:
    """What the letters mean that occur."""
    there = {s.state for _, s in found}
    letters = [f"{letter} {words(state)}" for state, letter in MARKS.items() if state in there]
    return wrapped(["ended/all", *letters], "  ", width) if letters else []


def _cost(found: Sequence[Row], width: int) -> list[str]:
    hours = sum(s.cost.device_hours for _, s in found)
    starts = sum(s.cost.starts for _, s in found)
    text = (
        f"{hours:.2f} device-hours so far in {starts} start{'s' * (starts > 1)}; "
        f"modulewise status --jobs lists them"
    )
    return [start_of(text, width)] if hours else []


def _running(
    title: str, found: Sequence[Row], width: int, most: int | None
) -> tuple[list[str], int]:
    """A table of running cells, and the number of those that it leaves out."""
    mine = [(c, s) for c, s in found if s.state == "running"]
    rows = [(str(c), *_figures(s)) for c, s in mine[:most]]
    others = sum(max((len(r[n]) for r in rows), default=0) + 2 for n in range(1, 5))
    name = max(20, width - max(others, 24))
    made = table(title, "job", "epoch", "", "left")
    for cell, *figures in rows:
        made.add_row(cell if most is None else end_of(cell, name), *figures)
    return lines(made, width if most else 1000) if rows else [], len(mine) - len(rows)


def _figures(s: RunState) -> tuple[str, str, str, str]:
    """Job, epoch, primary metric and time left of a running cell."""
    value = s.why if s.value is None else s.metric.text(s.value)
    left = duration(s.left) if s.left is not None else ""
    return s.cost.job or "-", f"{s.epoch}/{s.epochs or '?'}", value, left


def _trouble(
    title: str, found: Sequence[Row], width: int, most: int | None
) -> tuple[list[str], int]:
    """A line for each cell that needs a look, and the number of those that are left out."""
    wrong = other_images(found)
    mine = [f"  other images  {c}  {wrong[c.path]}" for c, _ in found if c.path in wrong]
    mine += [f"  {_complaint(c, s)}" for t in TROUBLE for c, s in found if s.state == t]
    said = mine[:most]
    shown = said if most is None else [start_of(line, width) for line in said]
    return [f"{title}:", *shown] if said else [], len(mine) - len(said)


def _complaint(cell: Cell, s: RunState) -> str:
    job = f"job {s.cost.job}" if s.cost.job else ""
    at = f"epoch {s.epoch}/{s.epochs or '?'}" if s.epoch else ""
    value = "" if s.value is None else s.metric.text(s.value)
    return "  ".join(filter(None, [words(s.state), str(cell), job, s.why, at, value]))
