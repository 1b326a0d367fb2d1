"""The arms of label efficiency: every number that was measured, and what is made of the numbers.

Two kinds of arm: `refitted`, a head fitted anew to a frozen trunk (several draws of the labels a
trunk), and `alone`, a net trained end to end on the labelled images alone (one draw a net, that of
its seed).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from modulewise.config.cell import Cell
from modulewise.report.stats import SECTION, Mean, mean
from modulewise.report.study import Page
from modulewise.report.verdicts import LEVEL, Difference, holm, side

ALL = math.inf
"""Stands for all labels."""
FREE = {
    "train_images",
    *("epochs", "flops", "seconds", "iterations", "evaluate_every", "batch_size"),
    *("lr", "lr_schedule", "lr_update", "lr_floor", "warmup_epochs", "warmup_lr", "weight_decay"),
}
"""Settings of a grid in which nets that are trained on few images may differ from those on all."""
FLOOR = "untrained"
"""Name of the arm of untrained networks."""
KINDS = ("refitted", "alone", FLOOR)
COLUMNS = [*SECTION, "settings", "kind", "recipe", "modules", "seed", "draw", "labels", "error"]


class Arm(NamedTuple):
    """One line of the figure."""

    kind: str
    recipe: str
    modules: int


def errors(page: Page) -> pd.DataFrame:
    """Every number: test error in percent by `COLUMNS`; `labels` per class, `ALL` for all of them;
    `draw` is -1 where all labels leave nothing to draw."""
    kept = _kept(page)
    rows: list[tuple[Any, ...]] = []
    parts: dict[tuple[str, str, str], tuple[str, int]] = {}
    for one in page.found:
        cell, found = one.cell, one.found
        part = (cell.dataset, cell.network, page.settings[cell.path])
        parts[part] = (kept[cell.path], found["classes"])
        arm = ("refitted", cell.recipe, cell.modules)
        rows += _measured((*part, *arm, cell.seed), found["per_class"], found)
        if found["floor"]:
            key = (*part, FLOOR, FLOOR, 1, cell.seed)
            rows += _measured(key, found["per_class"], found["floor"])
    for part, (shared, classes) in parts.items():
        cells = [c for _, c in page.plan.reported if kept[c.path] == shared]
        rows += _alone(page, part, cells, classes)
    # The trunk's first weights are of the seed, the same for every recipe; of equal nets in several
    # grids the first counts.
    return pd.DataFrame(rows, columns=COLUMNS).drop_duplicates(COLUMNS[:-1])


def _measured(
    key: tuple[Any, ...], counts: list[int], found: dict[str, Any]
) -> Iterator[tuple[Any, ...]]:
    for labels, draws in zip(counts, found["errors"], strict=True):
        for draw, value in enumerate(draws):
            yield (*key, draw, float(labels), value)
    yield (*key, -1, ALL, found["all"])


def _kept(page: Page) -> dict[str, str]:
    """A cell's path -> settings of its grid that nets on few images share with those on all."""
    grids = [
        repr({k: v for k, v in sorted(grid.training.items()) if k not in FREE})
        for grid in page.plan.sweep.grids
    ]
    return {cell.path: grids[grid] for grid, cell in page.plan.reported}


def _alone(
    page: Page, part: tuple[str, str, str], cells: list[Cell], classes: int
) -> Iterator[tuple[Any, ...]]:
    """Runs on equally many labelled images per class, among some cells, of recipes of which some
    are there for nothing else; their runs on all images join them."""
    done = page.frame.done.set_index("path")
    cells = [c for c in cells if c.path in done.index and (c.dataset, c.network) == part[:2]]
    trunks = {study.cell.path for study in page.plan.studies if study.name == page.name}
    few = {(c.recipe, c.modules) for c in cells if c.training.train_images and c.path not in trunks}
    for cell in cells:
        size = cell.training.train_images
        whole = not size and done.loc[cell.path, "settings"] == part[2]
        if (cell.recipe, cell.modules) in few and (whole or (size and size % classes == 0)):
            labels, draw = (size // classes, cell.seed) if size else (ALL, -1)
            arm = ("alone", cell.recipe, cell.modules)
            yield (*part, *arm, cell.seed, draw, labels, done.loc[cell.path, "value"])


def arms(mine: pd.DataFrame) -> list[Arm]:
    """The arms of a part, in the order of the page: as `KINDS`, then as the sweep."""
    keys = mine[list(Arm._fields)].drop_duplicates().to_numpy()
    found = [Arm(str(kind), str(recipe), int(k)) for kind, recipe, k in keys]
    return sorted(found, key=lambda arm: KINDS.index(arm.kind))


def of(mine: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """The rows of an arm."""
    return mine[(mine[list(Arm._fields)] == list(arm)).all(axis=1)]


def per_seed(rows: pd.DataFrame) -> pd.Series:
    """Mean over the draws of every trunk, by (labels, seed)."""
    return rows.groupby(["labels", "seed"])["error"].mean()


def summary(rows: pd.DataFrame) -> dict[float, Mean]:
    """Labels per class -> mean over trunks of their mean over draws, with the t-interval over
    trunks."""
    return {n: mean(values) for n, values in _by_labels(per_seed(rows))}


def _by_labels(values: pd.Series) -> list[tuple[float, pd.Series]]:
    counts = values.index.get_level_values("labels")
    return [(float(n), values[counts == n]) for n in sorted(set(counts))]


def between_draws(rows: pd.DataFrame, labels: float) -> float:
    """Standard deviation between draws of one trunk, pooled over trunks."""
    groups = rows[rows["labels"] == labels].groupby("seed")["error"]
    return float(math.sqrt(groups.var(ddof=1).mean()))


def comparisons(mine: pd.DataFrame, baseline: str | None) -> pd.DataFrame:
    """Every refitted arm against the refitted baseline and against the baseline alone, a row for
    every number of labels that both have.

    Against a refitted arm a trunk's mean over draws is paired with that of the trunk of the same
    seed; against an arm alone the trunk of seed s with labels of draw s is paired with the net of
    seed s, which was trained on them.

    Returns:
        `mean`, `low`, `high` of the differences in points, over `n` seeds; `p_holm`, corrected for
        all rows; `verdict`; NaN where fewer than two seeds or equal differences allow no test.
    """
    rows = []
    known = arms(mine)
    for arm in (a for a in known if a.kind == "refitted" and a.recipe != baseline):
        for other in (a for a in known if a.recipe == baseline and a.kind != FLOOR):
            ours, theirs = of(mine, arm), of(mine, other)
            if other.kind == "alone":
                ours = ours[(ours["draw"] == ours["seed"]) | (ours["labels"] == ALL)]
            both = (per_seed(ours) - per_seed(theirs)).dropna()
            for labels, values in _by_labels(both):
                rows.append((*arm, other.kind, labels, *mean(values)))
    columns = [*Arm._fields, "against", "labels", *Mean._fields]
    table = pd.DataFrame(rows, columns=columns)
    tested = table.index[table["std"] > 0]
    p = [_p(*table.loc[i, ["mean", "std", "n"]]) for i in tested]
    table["p_holm"] = pd.Series(holm(p), index=tested, dtype=float)
    table["verdict"] = ""
    for i in tested:
        differs = table.loc[i, "p_holm"] < LEVEL
        table.loc[i, "verdict"] = (
            side(table.loc[i, "mean"], "lower") if differs else "not distinguishable"
        )
    return table


def _p(centre: float, std: float, n: int) -> float:
    return Difference(centre, std / math.sqrt(n), n - 1).p
