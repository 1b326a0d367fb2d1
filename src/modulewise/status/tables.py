"""How a sweep stands, read from its run folders: what is done, running, waiting, failed and why. No
torch: seconds for 1,000 runs."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

from modulewise.runs.state import ENDED, ORDER, RunState
from modulewise.units import duration


def counts(found: Sequence[RunState]) -> str:
    """`38 cells: 30 done, 2 running, ...`: those states that occur."""
    n = Counter(s.state for s in found)
    shown = [f"{n[s]} {s.replace('_', ' ')}" for s in ORDER if n[s]]
    return f"{len(found)} cells: {', '.join(shown)}"


def line(s: RunState) -> str:
    """A cell that is under way or in trouble, in a line."""
    at = f"epoch {s.epoch}/{s.epochs or '?'}" if s.epoch or s.state == "running" else ""
    error = f"error {s.error:.2f} %" if s.error is not None else ""
    left = f"{duration(s.left)} left" if s.left is not None else ""
    job = f"job {s.cost.job}" if s.cost.job else ""
    return "  ".join(filter(None, [str(s.cell), job, s.why, at, error, left]))


def table(found: Sequence[RunState], width: int = 80, rows: int = 9) -> list[str]:
    """Recipe by K: how many cells have ended, of how many; a bar; what is not as it should be is
    marked.

    `3/5` ended · `r` running, `q` queued, `s` stopped, `f` failed, `d` diverged, `m` out of memory:
    each with its number.

    Args:
        found: all cells.
        width: of a line.
        rows: at most; the recipes with most left to do come first when there are more.
    """
    recipes = list(dict.fromkeys(s.cell.recipe for s in found))
    modules = sorted({s.cell.modules for s in found})
    left = Counter(s.cell.recipe for s in found if s.state not in ENDED)
    hidden = []
    if len(recipes) > rows:
        kept = sorted(recipes, key=lambda r: (-left[r], recipes.index(r)))[: rows - 1]
        hidden = [r for r in recipes if r not in kept]
        recipes = [r for r in recipes if r in kept]
    name = min(22, max(6, *(len(r) for r in recipes)))
    cells = {
        (r, k): _mark([s for s in found if (s.cell.recipe, s.cell.modules) == (r, k)])
        for r in recipes
        for k in modules
    }
    column = max(4, *(len(c) for c in cells.values())) + 1
    fit = max(1, (width - name - 13) // column)
    shown = modules[:fit]
    more = f" +{len(modules) - fit} K" if len(modules) > fit else ""
    out = [f"{'recipe':<{name}} {'':10} " + "".join(f"{f'K={k}':>{column}}" for k in shown) + more]
    for r in recipes:
        mine = [s for s in found if s.cell.recipe == r]
        out.append(
            f"{_cut(r, name):<{name}} {_bar(mine)} "
            + "".join(f"{cells[r, k]:>{column}}" for k in shown)
        )
    if hidden:
        rest = [s for s in found if s.cell.recipe in hidden]
        out.append(
            f"{_cut(f'{len(hidden)} others', name):<{name}} {_bar(rest)} {_mark(rest):>{column}}"
        )
    return [_cut(x.rstrip(), width) for x in out]


def _mark(found: Sequence[RunState]) -> str:
    if not found:
        return ""
    n = Counter(s.state for s in found)
    letters = {
        "running": "r",
        "queued": "q",
        "stopped": "s",
        "failed": "f",
        "diverged": "d",
        "out_of_memory": "m",
    }
    ended = sum(n[s] for s in ENDED)
    return f"{ended}/{len(found)}" + "".join(f"{c}{n[s]}" for s, c in letters.items() if n[s])  # type: ignore[index]


def _bar(found: Sequence[RunState], width: int = 10) -> str:
    ended = sum(s.state in ENDED for s in found)
    full = width * ended // len(found)
    return "#" * full + "." * (width - full)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def screen(
    name: str, found: Sequence[RunState], width: int = 80, most: int | None = 4
) -> list[str]:
    """One screen: the counts, recipe by K, and what runs or needs a look.

    Args:
        name: of the sweep.
        found: all cells.
        width: of a line.
        most: lines of each list; all of them if `None`, and whole.
    """
    out = textwrap.wrap(f"sweep {name}  {counts(found)}", width, subsequent_indent="  ")
    if not found:
        return out
    out += table(found, width)
    if any(s.state not in ("done", "waiting") for s in found):
        out.append(
            _cut(
                "ended/all  r running  q queued  s stopped  f failed  d diverged  m out of memory",
                width,
            )
        )
    if hours := sum(s.cost.device_hours for s in found):
        starts = sum(s.cost.starts for s in found)
        out.append(
            f"{hours:.2f} device-hours so far in {starts} start{'s' if starts > 1 else ''}; "
            f"modulewise status --jobs lists them"
        )
    for title, states in (
        ("running", ("running",)),
        ("look at", ("failed", "stopped", "diverged", "out_of_memory")),
    ):
        mine = sorted((s for s in found if s.state in states), key=lambda s: states.index(s.state))
        lines = [
            f"  {line(s)}" if s.state == "running" else f"  {s.state.replace('_', ' ')}  {line(s)}"
            for s in mine[:most]
        ]
        out += (
            [f"{title}:", *(x if most is None else _cut(x, width) for x in lines)] if mine else []
        )
        if len(mine) > len(lines):
            out.append(f"  and {len(mine) - len(lines)} more; modulewise status --all lists them")
    return out
