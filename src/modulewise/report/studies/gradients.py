"""The page of study `gradients`: how far the modules' gradients point away from backpropagation's,
before training and after it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from modulewise.plots import Nothing
from modulewise.report import drawing, hover
from modulewise.report.angles import GREY, LABEL, degrees
from modulewise.report.drawing import Look
from modulewise.report.study import Block, Page, sections
from modulewise.report.tables import NONE, Item, Table, plus_minus

TITLE = "Gradients and backpropagation’s"
ENDS = {"start": ":", "end": "-"}
"""When it was measured -> how its line is drawn."""
ABOUT = (
    "Of every module: the angle between the gradient that the method’s losses leave in its "
    "weights and the gradient of end-to-end backpropagation, for the same weights and the same "
    "batch, the first of the run, in train mode; and the ratio of their lengths. At 0 degrees a "
    "step goes where backpropagation’s would; at 90 they have nothing in common, as two random "
    "directions of many dimensions; beyond 90 the step raises the loss of the net.",
    "A small angle explains why a method learns; a large one says only that it learns something "
    "else. It is of one batch: with more images both gradients are less noisy and the angle is "
    "another. A module without a gradient has no angle, and helpers are left aside.",
)


def blocks(page: Page) -> Iterator[Block]:
    """A figure and a table of every data set, network and settings."""
    yield Block(text=list(ABOUT))
    for stem, title, mine in sections(_values(page)):
        yield page.figure(
            f"angle_{stem}",
            partial(_over_depth, page, mine),
            "Angle to backpropagation’s gradient over depth, before training (dotted) and after "
            "it, a panel per K: means over seeds, every seed after training thin. Dashed: 90 "
            "degrees.",
            title,
        )
        yield page.table(stem, _table(page, mine), mine)


def _values(page: Page) -> pd.DataFrame:
    """A row per run and module."""
    rows = []
    for cell, found, _ in ((f.cell, f.found, f.seconds) for f in page.found):
        run = {n: getattr(cell, n) for n in ("dataset", "network", "recipe", "modules", "seed")}
        run["settings"] = page.settings[cell.path]
        names = ("module", *(f"{kind}_{end}" for kind in ("angle", "ratio") for end in ENDS))
        for values in zip(*(found[n] for n in names), strict=True):
            rows.append(run | dict(zip(names, values, strict=True)))
    numbers = [f"{kind}_{end}" for kind in ("angle", "ratio") for end in ENDS]
    return pd.DataFrame(rows).astype(dict.fromkeys(numbers, float))


def _over_depth(page: Page, mine: pd.DataFrame) -> Figure:
    """A panel per K, two lines per recipe."""
    frame, look = page.frame, drawing.looks(page.frame)
    cut = mine[(mine["modules"] > 1) & (mine["recipe"] != frame.baseline)]
    cut = cut.dropna(subset=["angle_start", "angle_end"], how="all")
    if cut.empty:
        raise Nothing("no net that is cut has a module with a gradient")
    ks = sorted(set(cut["modules"]))
    fig, axes = drawing.panels(len(ks), LABEL)
    recipes = [r for r in frame.labels if r in set(cut["recipe"])]
    for ax, k in zip(axes, ks, strict=True):
        ax.set_title(f"K = {k}")
        for recipe in recipes:
            shown = cut[(cut["modules"] == k) & (cut["recipe"] == recipe)]
            if len(shown):
                _lines(ax, shown, look[recipe], k)
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.set_xlabel("module, from the input on")
    degrees(axes, pd.concat([cut["angle_start"], cut["angle_end"]]))
    handles = [
        Line2D([], [], color=s.colour, marker=s.marker, label=s.label)
        for s in (look[r] for r in recipes)
    ]
    before = Line2D([], [], color=GREY, ls=":", label="before training")
    drawing.place_legend(fig, [*handles, before])
    return fig


def _lines(ax: Axes, shown: pd.DataFrame, look: Look, k: int) -> None:
    if shown["seed"].nunique() > 1:
        for _, seed in shown.groupby("seed"):
            ax.plot(seed["module"], seed["angle_end"], color=look.colour, lw=0.5, alpha=0.45)
    for end, dash in ENDS.items():
        centre = shown.groupby("module")[f"angle_{end}"].mean().dropna()
        (line,) = ax.plot(
            centre.index, centre, color=look.colour, ls=dash, marker=look.marker, ms=3.5
        )
        words = "after training" if end == "end" else "before training"
        said = (f"{look.label}, K = {k}, module {m}, {words}: {v:.1f}°" for m, v in centre.items())
        hover.tell(line, *said)


def _table(page: Page, mine: pd.DataFrame) -> Table:
    """A row per recipe, K and module."""
    kinds = [("Angle (degrees)", "angle", 1), ("Length (× backpropagation’s)", "ratio", 3)]
    ends = [(f"{title}, {end}", "r") for title, *_ in kinds for end in ENDS]
    table = Table([("Recipe", "l"), ("K", "r"), ("n", "r"), ("Module", "r"), *ends], [])
    for recipe in (r for r in page.frame.labels if r in set(mine["recipe"])):
        label = page.frame.labels[recipe]
        table.starts.append(len(table.rows))
        for (k, module), runs in mine[mine["recipe"] == recipe].groupby(["modules", "module"]):
            begins = len(table.rows) == table.starts[-1]
            name = Item(label) if begins else Item("", again=label)
            row = [name, Item(f"{k}"), Item(f"{runs['seed'].nunique()}"), Item(f"{module}")]
            for _, kind, digits in kinds:
                for end in ENDS:
                    values = runs[f"{kind}_{end}"].dropna()
                    text = plus_minus(values.mean(), values.std(), digits) if len(values) else NONE
                    row.append(Item(text))
            table.rows.append(row)
    labels = [row[0].text or row[0].again for row in table.rows]
    table.filters.update({"Recipe": labels, "K": [row[1].text for row in table.rows]})
    return table
