"""The jobs of a sweep: Slurm's number, starts, waiting and running time, device-hours, and why a
run failed."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from modulewise.runs.state import STATES, State, words
from modulewise.status.layout import end_of, lines, table
from modulewise.status.tables import Row
from modulewise.units import duration, short_duration

HEADERS = ("job", "state", "starts", "wait", "ran", "GPU-h", "cell")


def jobs(found: Sequence[Row], width: int = 80) -> list[str]:
    """A line for every cell that was started or submitted, in the order of `STATES`; below the
    table, the reason of every state that has one.

    `wait` is the time from the last submission to the start that followed it, `ran` the wall time
    of all starts, `GPU-h` as `RunCost.device_hours`.

    Args:
        found: all cells.
        width: characters of a line.
    """
    mine = sorted(
        ((c, s) for c, s in found if s.cost.starts or s.cost.job or s.state == "queued"),
        key=lambda row: STATES.index(row[1].state),
    )
    rows = [(*_figures(row), str(row[0])) for row in mine]
    others = [max(map(len, column)) + 2 for column in zip(HEADERS, *rows, strict=True)][:-1]
    made = table(*HEADERS, right=range(2, 6))
    for *figures, cell in rows:
        made.add_row(*figures, end_of(cell, max(20, width - sum(others))))
    return [*lines(made, width), *_reasons(mine, width), _total(found, len(mine))]


def _figures(row: Row) -> tuple[str, ...]:
    _, s = row
    waited = "-" if s.cost.waited is None else short_duration(s.cost.waited)
    times = (waited, short_duration(s.cost.ran), f"{s.cost.device_hours:.2f}")
    return (s.cost.job or "-", words(s.state), str(s.cost.starts), *times)


def _reasons(mine: Sequence[Row], width: int) -> list[str]:
    """The reasons, whole, each below the cells that it is of."""
    reasons: dict[tuple[State, str], list[Row]] = {}
    for row in mine:
        reasons.setdefault((row[1].state, row[1].why), []).append(row)
    out = []
    for (state, why), rows in reasons.items():
        if why:
            cell, s = rows[0]
            one = f"{cell}  job {s.cost.job}" if s.cost.job else str(cell)
            out.append(f"{words(state)}  {one if len(rows) == 1 else f'{len(rows)} cells'}")
            out += [f"  {line}" for line in textwrap.wrap(why, width - 2, break_on_hyphens=False)]
    return out


def _total(found: Sequence[Row], listed: int) -> str:
    hours = sum(s.cost.device_hours for _, s in found)
    starts = sum(s.cost.starts for _, s in found)
    ran = duration(sum(s.cost.ran for _, s in found))
    return (
        f"{listed} of {len(found)} cells: {hours:.2f} GPU-hours so far, {starts} starts, {ran} of "
        f"running"
    )
