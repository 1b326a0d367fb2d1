"""The jobs of a sweep in a table: Slurm's number, starts, waiting and running time, device-hours,
and why one failed."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from modulewise.runs.state import ORDER, RunState
from modulewise.units import duration, short_duration


def jobs(found: Sequence[RunState], width: int = 80) -> list[str]:
    """A line for every cell that was started or submitted, what needs a look last; below it why,
    where there is a reason.

    `wait` is from the last submission to the start that followed, `ran` the sum of all starts,
    `GPU-h` running time x GPUs / runs sharing them.

    Args:
        found: all cells.
        width: of a line.
    """
    mine = sorted(
        (s for s in found if s.cost.starts or s.cost.job or s.state == "queued"),
        key=lambda s: ORDER.index(s.state),
    )
    number = max([5, *(len(s.cost.job) for s in mine)])
    name = max(20, width - number - 40)
    out = [f"{'job':<{number}} {'state':<8} {'x':>2} {'wait':>7} {'ran':>7} {'GPU-h':>7}  cell"]
    for s in mine:
        waited = short_duration(s.cost.waited) if s.cost.waited is not None else "-"
        state = s.state.replace("out_of_memory", "memory")
        figures = f"{s.cost.starts:>2} {waited:>7} {short_duration(s.cost.ran):>7} {s.cost.device_hours:>7.2f}"
        out.append(
            f"{s.cost.job or '-':<{number}} {state:<8} {figures}  {_end(str(s.cell), name)}".rstrip()
        )
        if s.why:
            out += textwrap.wrap(s.why, width, initial_indent="  ", subsequent_indent="  ")
    total, starts = sum(s.cost.device_hours for s in found), sum(s.cost.starts for s in found)
    ran = duration(sum(s.cost.ran for s in found))
    out.append(
        f"{len(mine)} of {len(found)} cells: {total:.2f} GPU-hours so far, {starts} starts, {ran} "
        f"of running"
    )
    return out


def _end(text: str, width: int) -> str:
    """The text, or its end: there K and seed tell cells apart."""
    return text if len(text) <= width else "..." + text[3 - width :]
