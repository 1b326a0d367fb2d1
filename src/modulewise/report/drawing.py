"""What all figures share: how a recipe looks, panels, legends, axes, and files made of a figure.

Colours are Okabe and Ito's, markers and dashes differ too; the legend stands below the panels,
never on the lines. A figure of one panel fills half a page's width, one of
several all of it.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from modulewise import plots
from modulewise.report import hover
from modulewise.report.frame import Frame
from modulewise.report.naming import with_unit
from modulewise.runs.result import PrimaryMetric

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")
STYLE = Path(__file__).parent / "report.mplstyle"
HALF, FULL = 5.0, 9.6
"""Widths of figures in inches: half a page and a page, a little reduced."""
LETTER, HANDLE, LINE = 0.078, 0.55, 0.19
"""Sizes of a legend in inches: width of a letter, of a mark, height of a line."""
INK = 4.5
"""Contrast to white of small texts in a recipe's colour."""
TICKS = {8: (1, 1.5, 2, 3, 5, 7), 300: (1, 2, 5), math.inf: (1,)}
"""Ratio of the largest to the least value -> ticks of a logarithmic axis, in every power of ten."""


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

    @property
    def ink(self) -> str:
        """The colour, dark enough for small texts."""
        return ink(self.colour)


def ink(colour: str) -> str:
    """A colour, darkened as far as small texts need.

    Example:
        >>> ink("#0072B2"), ink("#56B4E9")
        ('#0072b2', '#3c7da2')
    """
    rgb = np.array(to_rgb(colour))
    while 1.05 / (_luminance(rgb) + 0.05) < INK:
        rgb = rgb * 0.97
    return to_hex((rgb[0], rgb[1], rgb[2]))


def _luminance(rgb: np.ndarray) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


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
    """A figure of some panels with a common labelled y axis: half a page wide if there is one, else
    a page."""
    columns = 2 if count in (2, 4) else min(3, count)
    rows = -(-count // columns)
    size = (HALF, 3.3) if count == 1 else (FULL, 2.6 * rows)
    fig = Figure(figsize=size, layout="constrained")
    axes = fig.subplots(rows, columns, sharey=True, squeeze=False)
    for ax in axes.ravel()[count:]:
        ax.remove()
    for ax in axes[:, 0]:
        ax.set_ylabel(label)
    return fig, list(axes.ravel()[:count])


def is_wide(values: pd.Series, metric: PrimaryMetric, factor: float = 4) -> bool:
    """Whether values span more than a factor and lower is better: there the best are close to
    zero, and a logarithmic axis shows them."""
    least, most = float(values.min()), float(values.max())
    return metric.direction == "lower" and least > 0 and most / least >= factor


def maybe_log(ax: Axes, values: pd.Series, metric: PrimaryMetric, factor: float = 4) -> None:
    """A logarithmic y axis where it `is_wide`."""
    if is_wide(values, metric, factor):
        log_axis(ax, values)


def log_axis(ax: Axes, values: pd.Series) -> None:
    """A logarithmic y axis with few plain numbers."""
    least, most = float(values.min()), float(values.max())
    ax.set_yscale("log")
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    steps = next(steps for ratio, steps in TICKS.items() if most / least <= ratio)
    ticks = [t for p in powers for n in steps if least * 0.9 <= (t := n * 10.0**p) <= most * 1.1]
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
    """How recipes look, outside of the panels."""
    place_legend(
        fig,
        [
            Line2D([], [], color=s.colour, ls=s.dash, marker=s.marker, label=s.label)
            for s in (look[n] for n in names)
        ],
    )


def place_legend(fig: Figure, handles: Sequence[Line2D | Patch]) -> None:
    """A legend below the panels, in as many columns as fit; the figure grows by it."""
    width, height = fig.get_size_inches()
    longest = max((len(str(h.get_label())) for h in handles), default=0)
    columns = max(1, int(width / (HANDLE + LETTER * longest)))
    rows = -(-len(handles) // columns)
    fig.set_size_inches(width, height + LINE * rows)
    columns = -(-len(handles) // max(1, rows))
    fig.legend(
        handles=handles,
        loc="outside lower left",
        ncols=columns,
        handlelength=2.2,
        columnspacing=1.2,
    )


def files(make: Callable[[], Figure], suffixes: Sequence[str] = ("svg", "pdf")) -> dict[str, bytes]:
    """Draw a figure and return it as `svg`, and `pdf` if that is asked for, the same bytes for the
    same data.

    Raises:
        Nothing: there is nothing to draw.
        NotDrawn: with the reason.
    """
    made = {}
    with plots.drawing(STYLE):
        fig = make()
        for suffix in suffixes:
            file = io.BytesIO()
            date = {"svg": "Date", "pdf": "CreationDate"}[suffix]
            fig.savefig(file, format=suffix, metadata={date: None})
            made[suffix] = file.getvalue()
            fig.set_layout_engine("none")  # places found for one file serve the other
    return made | {"svg": hover.titled(compact(made["svg"]).decode()).encode()}


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


def is_half(svg: str) -> bool:
    """Whether a figure is half a page wide."""
    width = re.search(r'<svg[^>]* width="([\d.]+)pt"', svg)
    return width is not None and float(width[1]) <= 72 * HALF


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
