"""What all figures share: how a recipe looks, panels, legends, axes, and files made of a figure.

Colours are Okabe and Ito's, markers and dashes differ too; the legend stands beside the panels,
never on the lines.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from modulewise import plots
from modulewise.report.frame import Frame
from modulewise.report.naming import with_unit
from modulewise.runs.result import PrimaryMetric

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")
STYLE = Path(__file__).parent / "report.mplstyle"
WIDTHS = {1: 4.2, 2: 3.1, 3: 2.3}
"""Number of panels side by side -> width of each in inches; with the legend they fill a printed
page, a little reduced."""
LEGEND = 1.8
"""Width of the legend in inches."""
TICKS = (1, 1.5, 2, 3, 5, 7)
"""Ticks of a logarithmic axis, in every power of ten."""


_COORDINATES = re.compile(rb'(?<= )(?:d|x|y)="[^"]*"|translate\([^)]*\)')
_DIGITS = re.compile(rb"-?\d+\.\d{3,}")
_GLYPH = "DejaVuSans-[0-9a-f]+"
"""Ids of glyphs' outlines, in all figures the same."""


class Look(NamedTuple):
    """How a recipe is drawn, in every figure of a report the same."""

    label: str
    colour: str
    marker: str
    dash: str


def looks(frame: Frame) -> dict[str, Look]:
    """Recipe -> its look: the baseline black, the others by their place in the sweep."""
    out = {}
    for n, name in enumerate(r for r in frame.labels if r != frame.baseline):
        dash = DASHES[n // len(COLOURS) % len(DASHES)]
        out[name] = Look(
            _label(frame, name), COLOURS[n % len(COLOURS)], MARKERS[n % len(MARKERS)], dash
        )
    if frame.baseline:
        out[frame.baseline] = Look(_label(frame, frame.baseline), "#000000", "", "-")
    return out


def _label(frame: Frame, name: str) -> str:
    """A recipe's label; legends leave out what begins with an underscore."""
    label = frame.labels[name]
    return f" {label}" if label.startswith("_") else label


def panels(count: int, label: str) -> tuple[Figure, list[Axes]]:
    """A figure of some panels with a common labelled y axis, and room for the legend at the
    right."""
    columns = 2 if count in (2, 4) else min(3, count)
    rows = -(-count // columns)
    height = 3.2 if count == 1 else 2.4
    fig = Figure(figsize=(WIDTHS[columns] * columns + LEGEND, height * rows), layout="constrained")
    axes = fig.subplots(rows, columns, sharey=True, squeeze=False)
    for ax in axes.ravel()[count:]:
        ax.remove()
    for ax in axes[:, 0]:
        ax.set_ylabel(label)
    return fig, list(axes.ravel()[:count])


def maybe_log(ax: Axes, values: pd.Series, metric: PrimaryMetric, factor: float = 4) -> None:
    """A logarithmic y axis where the values span more than a factor and lower is better: there the
    best are close to zero."""
    least, most = float(values.min()), float(values.max())
    if metric.direction == "higher" or least <= 0 or most / least < factor:
        return
    ax.set_yscale("log")
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    ticks = [t for p in powers for n in TICKS if least * 0.9 <= (t := n * 10.0**p) <= most * 1.1]
    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_formatter(NullFormatter())


def axis_label(metric: PrimaryMetric) -> str:
    """The title of an axis of the metric."""
    return with_unit(metric.label, metric, " ")


def from_zero(ax: Axes, values: pd.Series) -> None:
    """A y axis that does not go below zero if no value does."""
    if values.min() >= 0:
        ax.set_ylim(bottom=max(0.0, ax.get_ylim()[0]))


def legend(fig: Figure, look: dict[str, Look], names: Sequence[str]) -> None:
    shown = [look[n] for n in names]
    handles = [
        Line2D([], [], color=s.colour, ls=s.dash, marker=s.marker, label=s.label) for s in shown
    ]
    fig.legend(handles=handles, loc="outside right upper", handlelength=2.6)


def files(
    make: Callable[[], Figure | None], suffixes: Sequence[str] = ("svg", "pdf")
) -> dict[str, bytes] | None:
    """Draw a figure and return it as `svg`, and `pdf` if that is asked for, the same bytes for the
    same data; None if there is nothing to draw.

    Raises:
        NotDrawn: with the reason.
    """
    made = {}
    with plots.drawing(STYLE):
        fig = make()
        if fig is None:
            return None
        for suffix in suffixes:
            file = io.BytesIO()
            date = {"svg": "Date", "pdf": "CreationDate"}[suffix]
            fig.savefig(file, format=suffix, metadata={date: None})
            made[suffix] = file.getvalue()
            fig.set_layout_engine("none")  # places found for one file serve the other
    return made | {"svg": compact(made["svg"])}


def compact(svg: bytes) -> bytes:
    """An SVG with coordinates rounded to hundredths of a point."""
    return _COORDINATES.sub(
        lambda found: _DIGITS.sub(lambda n: b"%g" % round(float(n[0]), 2), found[0]), svg
    ).replace(b" \nL ", b"L")


def inline(svg: bytes, prefix: str) -> str:
    """An SVG to stand in a page: without prologue and metadata, its ids made unique by a prefix."""
    text = svg.decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(rf'\bid="(?!{_GLYPH}")', f'id="{prefix}-', text)
    return re.sub(rf'(href="|url\()#(?!{_GLYPH}")', rf"\1#{prefix}-", text)


def weight(svg: str) -> int:
    """Characters of an SVG in a page that has its glyphs already."""
    return len(re.sub(rf'<path id="{_GLYPH}"[^>]*/>', "", svg))


def share_glyphs(page: str) -> str:
    """A page in which every glyph's outline stands once, where it is used first."""
    seen: set[str] = set()

    def once(outline: re.Match[str]) -> str:
        known = outline[1] in seen
        seen.add(outline[1])
        return "" if known else outline[0]

    return re.sub(rf'<path id="({_GLYPH})"[^>]*/>\n? *', once, page)
