"""Curves as blocks of text."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
"""Eighths of a line's height; the first is drawn where there is no number."""


def blocks(values: Sequence[float], width: int, height: int = 1) -> list[str]:
    """A curve, its lowest value one eighth of a line high and its highest the whole height.

    Args:
        values: in order; one that is not finite leaves a gap.
        width: characters of a line; a column is the mean of several values, or several a value.
        height: lines.

    Returns:
        The lines, topmost first.

    Example:
        >>> blocks([8, 4, 2, 1], 4), blocks([1, 2, 3, 4], 8, 2)
        (['█▄▂▁'], ['    ▃▃██', '▁▁▆▆████'])
    """
    columns = _columns(values, width)
    finite = [v for v in columns if math.isfinite(v)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    top = 8 * height - 1
    levels = [
        1 + round(top * ((v - low) / (high - low) if high > low else 0)) if math.isfinite(v) else 0
        for v in columns
    ]
    return [
        "".join(BLOCKS[min(8, max(0, level - 8 * row))] for level in levels)
        for row in reversed(range(height))
    ]


def _columns(values: Sequence[float], width: int) -> list[float]:
    """As many values as there is room for: several in one column, or one in several."""
    n = len(values)
    if n <= width:
        return [v for v in values for _ in range(width // n)]
    ends = [round(i * n / width) for i in range(width + 1)]
    parts = (values[a:b] for a, b in itertools.pairwise(ends))
    return [
        statistics.fmean(v for v in part if math.isfinite(v))
        if any(map(math.isfinite, part))
        else math.nan
        for part in parts
    ]


def plot(values: Sequence[float], width: int, height: int, first: str, last: str) -> list[str]:
    """A curve with its highest and lowest value beside it, and two words below its ends.

    Args:
        values: at least one.
        width: characters of a line.
        height: lines of the curve.
        first: word below its begin.
        last: word below its end.
    """
    finite = [v for v in values if math.isfinite(v)] or [math.nan]
    labels = [f"{max(finite):.4g}", *[""] * (height - 2), f"{min(finite):.4g}"]
    room = max(map(len, labels))
    drawn = blocks(values, width - room - 1, height)
    made = [f"{label:>{room}} {line}".rstrip() for label, line in zip(labels, drawn, strict=True)]
    return [*made, f"{'':{room}} {first}{last:>{max(0, len(drawn[0]) - len(first))}}"]
