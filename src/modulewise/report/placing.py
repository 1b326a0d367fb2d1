"""Small texts beside the marks of a figure, where they cover no mark and no other text.

Every text has some hundred places around its mark, from near to far. Texts choose in turn the free
place of the least cost, those with the fewest free places first; then each moves nearer if it can.
A text that stands apart is joined to its mark by a thin line. Lengths are in points.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from numpy.typing import NDArray

SIZE = 8
"""Of the texts."""
GAPS = (1.5, 4, 8, 13, 19, 26, 34, 44, 56)
"""Room between a mark and the places around it."""
TURNS = 16
"""Directions of the places."""
JOINED = 5
"""The least gap that a line spans."""
ROUNDS = 2
AIR = 1
"""Room around a text."""
ON_LINE, ACROSS = 6, 10
"""What it costs, in points of distance, to stand on the line of a figure, and to have the joining
line run over a mark or a text."""

Values = NDArray[np.float64]


class Spot(NamedTuple):
    """A mark, and the text that belongs beside it."""

    x: float
    y: float
    size: float
    """Diameter."""
    text: str = ""
    colour: str = ""


def beside(
    fig: Figure, ax: Axes, spots: Sequence[Spot], line: Sequence[tuple[float, float]] = ()
) -> list[Annotation]:
    """Put the texts of marks in place; what has no free place is left out.

    Args:
        fig: complete but for the texts.
        ax: the axes that the marks are in.
        spots: all marks, those without a text too.
        line: corners of a line that texts had better not stand on, in data.
    """
    named = [spot for spot in spots if spot.text]
    if not named:
        return []
    fig.draw_without_rendering()
    scale = 72 / fig.dpi
    marks = _points(ax, [(s.x, s.y) for s in spots]) * scale
    halves = np.array([[s.size / 2] * 2 for s in spots])
    taken, own = _boxes(marks, halves), [n for n, s in enumerate(spots) if s.text]
    sizes = _sizes(ax, named) * scale
    course = _dense(_points(ax, line) * scale) if line else np.empty((0, 2))
    frame = ax.get_window_extent()
    room = np.array([frame.x0, frame.y0, frame.x1, frame.y1]) * scale
    offers = [
        _offers(marks[n], spots[n].size / 2, size, np.delete(taken, n, 0), room, course)
        for n, size in zip(own, sizes, strict=True)
    ]
    chosen = _choose(offers, sizes / 2 + AIR)
    made = []
    for n, spot in enumerate(named):
        if n in chosen:
            place, gap = offers[n].places[chosen[n]], offers[n].gaps[chosen[n]]
            made.append(_write(ax, spot, place - marks[own[n]], gap >= JOINED))
    return made


class _Offers(NamedTuple):
    """The places of a text that cover no mark: their middles, what each costs, and its gap."""

    places: Values
    costs: Values
    gaps: Values
    mark: Values


def _offers(
    mark: Values, radius: float, size: Values, others: Values, room: Values, course: Values
) -> _Offers:
    turns = 2 * np.pi * np.arange(TURNS) / TURNS + np.pi / 4
    ways = np.stack([np.cos(turns), np.sin(turns)], -1)
    half = size / 2 + AIR
    far = GAPS[-1] + radius + size.max() + 2
    others = others[_meet(_boxes(mark[None], np.full((1, 2), far)), others)[0]]
    reach = radius + np.array(GAPS)
    # Where the ray leaves the box of marks that touch the text, so that gaps are alike all around.
    with np.errstate(divide="ignore"):
        exits = np.min((half + reach[:, None, None]) / np.abs(ways), axis=-1)
    places = (mark + exits[..., None] * ways).reshape(-1, 2)
    gaps = np.repeat(np.array(GAPS), TURNS)
    boxes = _boxes(places, np.broadcast_to(half, places.shape))
    inside = (boxes[:, :2] >= room[:2]).all(1) & (boxes[:, 2:] <= room[2:]).all(1)
    free = inside & ~_meet(boxes, others).any(1)
    costs = gaps + 0.1 * np.tile(np.arange(TURNS), len(GAPS))
    costs = costs + ON_LINE * _within(course[None], boxes).any((0, 1))
    costs = costs + ACROSS * _within(_joins(mark, places), others).any(1).sum(1)
    return _Offers(places[free], costs[free], gaps[free], mark)


def _choose(offers: list[_Offers], halves: Values) -> dict[int, int]:
    """Text -> its place."""
    order, chosen = sorted(range(len(offers)), key=lambda n: len(offers[n].places)), {}
    boxes: dict[int, Values] = {}
    for _ in range(ROUNDS):
        for n in order:
            others = np.array([b for m, b in boxes.items() if m != n]).reshape(-1, 4)
            here, half = offers[n], np.broadcast_to(halves[n], offers[n].places.shape)
            free = ~_meet(_boxes(here.places, half), others).any(1)
            if free.any():
                over = _within(_joins(here.mark, here.places), others).any(1).sum(1)
                costs = np.where(free, here.costs + ACROSS * over, np.inf)
                chosen[n] = int(costs.argmin())
                boxes[n] = _boxes(here.places[chosen[n]][None], halves[n][None])[0]
    return chosen


def _write(ax: Axes, spot: Spot, offset: Values, joined: bool) -> Annotation:
    line: dict[str, Any] = {
        "arrowstyle": "-",
        "color": spot.colour,
        "lw": 0.5,
        "alpha": 0.6,
        "shrinkA": 0,
        "shrinkB": spot.size / 2,
    }
    made = ax.annotate(
        spot.text,
        (spot.x, spot.y),
        (float(offset[0]), float(offset[1])),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=SIZE,
        color=spot.colour,
        arrowprops=line if joined else None,
    )
    made.set_in_layout(False)
    return made


def _points(ax: Axes, data: Sequence[tuple[float, float]]) -> Values:
    return np.asarray(ax.transData.transform(np.array(data, float).reshape(-1, 2)))


def _sizes(ax: Axes, named: Sequence[Spot]) -> Values:
    """Width and height of each text, in pixels."""
    measured: dict[str, tuple[float, float]] = {}
    for spot in named:
        if spot.text not in measured:
            text = Text(0, 0, spot.text, fontsize=SIZE, figure=ax.figure)
            box = text.get_window_extent()
            measured[spot.text] = box.width, box.height
    return np.array([measured[spot.text] for spot in named])


def _boxes(middles: Values, halves: Values) -> Values:
    return np.concatenate([middles - halves, middles + halves], axis=-1)


def _meet(boxes: Values, others: Values) -> NDArray[np.bool_]:
    """Whether each box (B 4) overlaps each other one (O 4): (B O)."""
    a, b = boxes[:, None], others[None]
    return np.asarray(((a[..., :2] < b[..., 2:]) & (b[..., :2] < a[..., 2:])).all(-1))


def _within(points: Values, boxes: Values) -> NDArray[np.bool_]:
    """Whether each point (B or 1, P 2) lies in each box (O 4): (B P O)."""
    at = points[:, :, None]
    return np.asarray(((at > boxes[..., :2]) & (at < boxes[..., 2:])).all(-1))


def _joins(mark: Values, places: Values) -> Values:
    """Points on the lines from a mark to some places (P 6 2)."""
    return mark + np.linspace(0.1, 0.9, 6)[None, :, None] * (places - mark)[:, None]


def _dense(corners: Values) -> Values:
    """Points on a line, a few points of a figure apart."""
    parts = [np.linspace(a, b, 2 + int(np.hypot(*(b - a)) // 3)) for a, b in pairwise(corners)]
    return np.concatenate(parts) if parts else corners
