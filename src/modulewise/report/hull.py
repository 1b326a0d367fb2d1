"""Peak memory against time of a step: what end-to-end training offers, and what lies outside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from modulewise.plots import Nothing
from modulewise.report import hover
from modulewise.report.drawing import FULL, Look, place_legend
from modulewise.report.fronts import GREY, MEMORY, RING, TIME, cost_axis, pareto, scale, together
from modulewise.report.placing import Spot, beside

SHADE = "#ececec"


class Arm(NamedTuple):
    """One way to train, and what it costs."""

    name: str
    memory: float
    """Peak, in bytes."""
    seconds: float
    """Of a training step."""


class Mark(NamedTuple):
    """An arm as a figure shows it."""

    arm: Arm
    look: Look
    text: str
    """Beside the mark: K, the metric."""
    end_to_end: bool
    full: bool
    """A filled mark, not an open one."""
    said: str = ""
    """When the pointer rests on it, before its costs; the arm's name if nothing is given."""


def beaten_by(arm: Arm, others: Sequence[Arm]) -> Arm | None:
    """The fastest of those that need no more memory and no more time than an arm; None if the arm
    lies outside their hull.

    Example:
        >>> plain, saving = Arm("plain", 100, 1.0), Arm("saving", 40, 1.3)
        >>> beaten_by(Arm("local", 60, 1.4), [plain, saving]).name
        'saving'
        >>> beaten_by(Arm("local", 60, 1.2), [plain, saving])
    """
    able = [o for o in others if o.memory <= arm.memory and o.seconds <= arm.seconds]
    return min(able, key=lambda o: (o.seconds, o.memory), default=None)


def draw(marks: Sequence[Mark], device: str) -> Figure:
    """Time of a step against peak memory: the hull of the end-to-end arms as a line, what is beaten
    by one of them shaded.

    Args:
        marks: the arms; those of one label share their look and their place in the legend.
        device: what all of them were measured on.

    Raises:
        Nothing: no arm on one side of the comparison.
    """
    ends = [m for m in marks if m.end_to_end]
    if not ends or len(ends) == len(marks):
        raise Nothing(f"no {'local' if ends else 'end-to-end'} arm to compare with")
    units = [
        scale(cost, values)
        for cost, values in (
            (MEMORY, [m.arm.memory for m in marks]),
            (TIME, [m.arm.seconds for m in marks]),
        )
    ]
    x, y = (
        np.array([m.arm[place] for m in marks]) / unit for place, (unit, _) in enumerate(units, 1)
    )
    fig = Figure(figsize=(FULL, 4.2), layout="constrained")
    ax, spots = fig.subplots(), []
    for mark, a, b, ring in zip(marks, x, y, RING * together(x, y), strict=True):
        face = mark.look.colour if mark.full else "white"
        edge = "black" if mark.end_to_end else mark.look.colour
        (drawn,) = ax.plot(
            a,
            b,
            ls="",
            marker=mark.look.marker or "*",
            ms=6 + ring,
            mfc=face,
            mec=edge,
            zorder=3 - 0.01 * ring,
        )
        hover.tell(
            drawn, f"{mark.said or mark.arm.name}, {a:.3g} {units[0][1]}, {b:.3g} {units[1][1]}"
        )
        spots.append(Spot(a, b, 7 + ring, mark.text, mark.look.ink))
    ax.margins(0.12)
    cost_axis(ax, x, "x")
    cost_axis(ax, y, "y", from_zero=False)
    mine = np.array([m.end_to_end for m in marks])
    steps = outline(ax, x[mine], y[mine])
    ax.set_xlabel(f"{MEMORY.title}, {units[0][1]}\n({device})")
    ax.set_ylabel(f"{TIME.title}, {units[1][1]}")
    place_legend(fig, _legend(marks))
    beside(fig, ax, spots, steps)
    return fig


def outline(ax: Axes, x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """The steps of the end-to-end arms to the edges of the axes, and the shade behind them; returns
    the steps' corners."""
    front = pareto(list(x), list(y))
    right, top = ax.get_xlim()[1], ax.get_ylim()[1]
    steps = [*x[front], right], [*y[front], y[front][-1]]
    ax.fill_between(*steps, top, step="post", color=SHADE, lw=0, zorder=0)
    ax.plot(
        [x[front][0], *steps[0]],
        [top, *steps[1]],
        drawstyle="steps-post",
        color=GREY,
        lw=1,
        zorder=1,
    )
    ax.set_xlim(right=right)
    ax.set_ylim(top=top)
    down, across = [x[front][0], *steps[0]], [top, *steps[1]]
    return list(zip(np.repeat(down, 2)[1:], np.repeat(across, 2)[:-1], strict=True))


def _legend(marks: Sequence[Mark]) -> list[Line2D | Patch]:
    """A line per label, end-to-end arms first, then the hull."""
    shown: dict[tuple[str, bool], Mark] = {}
    for mark in sorted(marks, key=lambda m: not m.end_to_end):
        shown.setdefault((mark.look.label, mark.end_to_end), mark)
    handles: list[Line2D | Patch] = []
    for (label, end_to_end), mark in shown.items():
        edge = "black" if end_to_end else mark.look.colour
        text = f"{label} (end to end)" if (label, not end_to_end) in shown and end_to_end else label
        handles.append(
            Line2D(
                [],
                [],
                ls="",
                marker=mark.look.marker or "*",
                mfc=mark.look.colour,
                mec=edge,
                label=text,
            )
        )
    handles.append(Line2D([], [], color=GREY, lw=1, label="hull, end to end"))
    return [*handles, Patch(color=SHADE, label="beaten in both")]
