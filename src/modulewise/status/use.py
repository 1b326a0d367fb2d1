"""What the runs of a sweep use of their machines, in a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modulewise.runs.state import RunState
from modulewise.runs.use import Compared, compare, use_of
from modulewise.status.layout import wrapped
from modulewise.units import duration, memory


def use(found: Sequence[RunState], width: int = 80) -> list[str]:
    """Use against request over the runs that say theirs, such as
    `use of 12 runs: cpu 0.97 of 1, memory at most 0.9 of 4 GiB, GPU 63 %, 210 W`; nothing if none
    does.

    Args:
        found: states of all cells.
        width: characters of a line.
    """
    uses = [one for run in found if (one := use_of(run))]
    if not uses:
        return []
    words = [text for compared in compare(uses) if (text := _text(compared))]
    words[0] = f"use of {len(uses)} run{'s' * (len(uses) > 1)}: {words[0]}"
    return wrapped(words, ", ", width)


def _text(c: Compared) -> str:
    match c.kind:
        case "cpus":
            return f"cpu {c.mean:.2f}" + _of(c, lambda cpus: f"{cpus:g}")
        case "memory":
            return f"memory at most {memory(c.most)}" + _of(c, memory)
        case "gpu":
            return f"GPU {c.mean:.0f} %"
        case "power":
            return f"{c.mean:.0f} W"
        case "time":
            return f"time at most {duration(c.most)}{_of(c, duration)}" if c.asked else ""


def _of(c: Compared, text: Callable[[float], str]) -> str:
    """What was asked for a run, if all of them asked for a number."""
    return f" of {' to '.join(dict.fromkeys(map(text, c.asked)))}" if c.asked else ""
