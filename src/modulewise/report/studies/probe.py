"""The page of study `probe`: linear-probe error over depth."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from modulewise.report import drawing
from modulewise.report.study import Block, Page

TITLE = "Per-layer diagnostics"


def blocks(page: Page) -> Iterator[Block]:
    """A figure for every data set and network."""
    rows = [
        (f.cell.dataset, f.cell.network, f.cell.recipe, f.cell.modules, f.cell.seed, stage, value)
        for f in page.found
        for stage, value in enumerate(f.found["linear_error"], 1)
    ]
    columns = ["dataset", "network", "recipe", "modules", "seed", "stage", "error"]
    table = pd.DataFrame(rows, columns=columns)
    for (dataset, network), mine in table.groupby(["dataset", "network"], sort=False):
        yield page.figure(
            f"linear_{dataset}_{network}",
            partial(_curves, page, mine),
            "Test error of a linear classifier on the frozen output of every stage: the mean over "
            "seeds.",
            f"{dataset}, {network}",
        )


def _curves(page: Page, mine: pd.DataFrame) -> Figure:
    look = drawing.looks(page.frame)
    counts = sorted(mine["modules"].unique())
    fig, axes = drawing.panels(len(counts), "linear-probe error (%)")
    for ax, k in zip(axes, counts, strict=True):
        for recipe, runs in mine[mine["modules"] == k].groupby("recipe", sort=False):
            curve = runs.groupby("stage")["error"].mean()
            style = look[str(recipe)]
            ax.plot(curve.index, curve, color=style.colour, ls=style.dash, marker=style.marker)
        ax.set_title(f"K = {k}")
        ax.set_xlabel("stage")
    drawing.legend(fig, look, list(dict.fromkeys(mine["recipe"])))
    return fig
