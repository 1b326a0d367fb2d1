"""The page of study `probe`: what every stage's output says of label and image, over depth, a curve
per K."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from modulewise.report import drawing
from modulewise.report.drawing import COLOURS, MARKERS, Look
from modulewise.report.study import Block, Page, sections
from modulewise.report.tables import Item, Table, plus_minus

TITLE = "Per-layer diagnostics"
ROW = ["recipe", "modules"]
BOUNDS = {"rebuilt_blind": "mean image", "rebuilt_best": "image itself"}
"""What reconstructions range between -> its name in the legend."""


class Measure(NamedTuple):
    """What is shown of every stage."""

    name: str
    """Of what the study found."""
    label: str
    unit: str
    digits: int
    caption: str


MEASURES = (
    Measure(
        "linear_error",
        "linear-probe error",
        "%",
        1,
        "Test error of a linear classifier on the channel means of every stage’s output.",
    ),
    Measure(
        "reconstruction",
        "reconstruction loss",
        "nats",
        3,
        "Binary cross-entropy of the test images rebuilt from every stage’s output; lower: more of "
        "the image is kept. Grey: the loss of a constant, the mean training image (dashed), and of "
        "the image itself (dotted), below which no reconstruction can be.",
    ),
    Measure(
        "auxiliary_error",
        "auxiliary error",
        "%",
        1,
        "Test error of a small convolutional net on every stage’s output; lower: more can be told "
        "of the label.",
    ),
)
ABOUT = (
    "Every net is frozen as its run left it. Readers are put on the output of every stage, learn "
    "from the training images without augmentation, and are judged on all test images. Nothing is "
    "chosen on these.",
    "Linear-probe error: how far the classes are apart for a linear classifier on the means of "
    "every channel. It is high where a label needs more than these means, as in early stages of "
    "nets that learn end to end.",
    "Reconstruction loss: a stand-in for I(h, x), what a stage’s output keeps of the image. A "
    "decoder of two convolutions rebuilds the image. Auxiliary error: a stand-in for I(h, y), what "
    "the output tells of the label to a small net. What InfoPro (arXiv 2101.10832, figure 2) plots "
    "is, to all appearance, one minus either.",
    "Both are bounds, and loose ones: they say what readers of this size found in this many steps, "
    "not what is there. Outputs of different size ask different things of a reader: of one stage, "
    "curves can be compared; along a curve only with care. Information on x cannot grow with "
    "depth; where a curve says so, the reader of the earlier stage was too weak.",
)


def blocks(page: Page) -> Iterator[Block]:
    """Three figures and a table of every data set, network and settings."""
    yield Block(text=list(ABOUT))
    for stem, title, mine in sections(_values(page)):
        for measure in MEASURES:
            name = f"{measure.name.replace('_', '-')}_{stem}"
            draw = partial(_curves, page, mine, measure)
            caption = f"{measure.caption} Means over seeds, every seed thin; a curve per K."
            yield page.figure(name, draw, caption, title)
            title = ""
        yield page.table(
            stem,
            _ends(page, mine),
            mine,
            "",
            "First and last stage that is read: mean ± standard deviation over n seeds.",
        )


def _values(page: Page) -> pd.DataFrame:
    """A row for every run and stage."""
    rows = []
    for one in page.found:
        cell, found = one.cell, one.found
        run = {name: getattr(cell, name) for name in ("dataset", "network", "recipe", "modules")}
        run |= {"settings": page.settings[cell.path], "seed": cell.seed}
        bounds = {name: found[name] for name in BOUNDS}
        for i, stage in enumerate(found["stage"]):
            names = [*(m.name for m in MEASURES), "auxiliary_loss"]
            rows.append(run | {"stage": stage} | {n: found[n][i] for n in names} | bounds)
    return pd.DataFrame(rows)


def _curves(page: Page, mine: pd.DataFrame, measure: Measure) -> Figure:
    """A panel per recipe, a curve per K; the baseline in every panel."""
    base = mine[mine["recipe"] == page.frame.baseline]
    own = mine[mine["recipe"] != page.frame.baseline]
    look = {f"{k}": _look(n, k) for n, k in enumerate(sorted(own["modules"].unique()))}
    recipes = [r for r in page.frame.labels if r in set(own["recipe"])]
    if len(base):
        label = page.frame.labels[base["recipe"].iloc[0]]
        look = {"": Look(f"{label}, K = 1", "#000000", "", "-")} | look
    fig, axes = drawing.panels(max(1, len(recipes)), f"{measure.label} ({measure.unit})")
    for ax, recipe in zip(axes, recipes or [""], strict=True):
        ax.set_title(page.frame.labels.get(recipe, ""))
        if measure.name == "reconstruction":
            for name, dash in zip(BOUNDS, ("--", ":"), strict=True):
                ax.axhline(mine[name].mean(), color="#888888", ls=dash, lw=0.9)
        if len(base):
            _curve(ax, base, measure.name, look[""])
        for k, runs in own[own["recipe"] == recipe].groupby("modules"):
            _curve(ax, runs, measure.name, look[f"{k}"])
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set_xlabel("stage, from the input on")
    drawing.from_zero(axes[0], mine[measure.name])  # last: a limit ends the scaling of all panels
    if measure.name == "reconstruction":
        look |= {
            name: Look(label, "#888888", "", dash)
            for (name, label), dash in zip(BOUNDS.items(), ("--", ":"), strict=True)
        }
    drawing.legend(fig, look, list(look))
    return fig


def _look(place: int, modules: int) -> Look:
    """How a K is drawn."""
    n = place % len(COLOURS)
    return Look(f"K = {modules}", COLOURS[n], MARKERS[place % len(MARKERS)], "-")


def _curve(ax: Axes, runs: pd.DataFrame, name: str, look: Look) -> None:
    for _, seed in runs.groupby("seed"):
        ax.plot(seed["stage"], seed[name], color=look.colour, lw=0.5, alpha=0.45)
    centre = runs.groupby("stage")[name].mean()
    ax.plot(centre.index, centre, color=look.colour, ls=look.dash, marker=look.marker, ms=3.5)


def _ends(page: Page, mine: pd.DataFrame) -> Table:
    """A row per recipe and K."""
    shown = (*MEASURES, Measure("auxiliary_loss", "auxiliary loss", "nats", 2, ""))
    titles = [f"{m.label.capitalize()} ({m.unit})" for m in shown]
    ends = [(f"{title}, {end}", "r") for title in titles for end in ("first", "last")]
    table = Table([("Recipe", "l"), ("K", "r"), ("n", "r"), *ends], [])
    for recipe in (r for r in page.frame.labels if r in set(mine["recipe"])):
        label = page.frame.labels[recipe]
        table.starts.append(len(table.rows))
        for k, runs in mine[mine["recipe"] == recipe].groupby("modules"):
            begins = len(table.rows) == table.starts[-1]
            name = Item(label) if begins else Item("", again=label)
            row = [name, Item(f"{k}"), Item(f"{runs['seed'].nunique()}")]
            for m in shown:
                for stage in (runs["stage"].min(), runs["stage"].max()):
                    values = runs.loc[runs["stage"] == stage, m.name]
                    row.append(Item(plus_minus(values.mean(), values.std(), m.digits)))
            table.rows.append(row)
    labels = [row[0].text or row[0].again for row in table.rows]
    table.filters.update({"Recipe": labels, "K": [row[1].text for row in table.rows]})
    return table
