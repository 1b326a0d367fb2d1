"""The page of study `labels`: error against the number of labels per class."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from modulewise.config import references
from modulewise.report import drawing
from modulewise.report.drawing import Look
from modulewise.report.stats import PROVISIONAL
from modulewise.report.studies import _arms
from modulewise.report.studies._arms import ALL, FLOOR, Arm
from modulewise.report.studies._words import listed
from modulewise.report.study import Block, Page, sections
from modulewise.report.tables import NONE, Item, Table, interval, number
from modulewise.runs.result import PrimaryMetric

TITLE = "Label efficiency"
METRIC = "test_error-labels-"
"""With a number of labels per class after it: a metric of `references.csv`."""
SHIFT = 0.1
"""Powers of two between the marks of neighbouring arms, which keeps their intervals apart."""
WORDS = {
    "class": "which class an image is of",
    "pair": "which images are of one class",
    "none": "nothing",
}
"""What a trunk was told of labels."""
ABOUT = (
    "Refitted: the trunk of a run, all that stands before the last linear layer, is frozen, and a "
    "linear classifier is fitted anew to the features of n labelled training images per class. "
    "Alone: a net is trained on those images alone, from the start. Untrained: a classifier is "
    "fitted to the network as it was before training.",
    "Draw d of the labels holds the same images for every trunk of a data set: those that a run of "
    "seed d with so many training images trains on. The trunk’s own seed does not enter. Nothing "
    "is chosen on test images: the weight decay of the classifiers is one number.",
    "Means and 95 % t-intervals respect both levels: the mean over the draws of every trunk "
    "first, then mean and interval over the trunks. The interval is of these draws; how much "
    "another draw changes is the standard deviation between draws. Nets that are trained alone "
    "have one draw each, that of their seed.",
)


def blocks(page: Page) -> Iterator[Block]:
    """A figure, the numbers and the comparisons of every data set, network and settings."""
    table = _arms.errors(page)
    yield Block(text=[*ABOUT, *_left_out(page)])
    for stem, title, mine in sections(table):
        page.files[f"tables/labels_each_{stem}.csv"] = mine.to_csv(index=False).encode()
        yield page.figure(stem, partial(_curves, page, mine), _caption(), title)
        yield _numbers(page, mine, stem)
        compared = _arms.comparisons(mine, page.frame.baseline)
        if len(compared):
            yield _differences(page, compared, stem)


def _left_out(page: Page) -> Iterator[str]:
    found: dict[str, list[int]] = {}
    for one in page.found:
        if one.found["left_out"]:
            found.setdefault(one.cell.dataset, one.found["left_out"])
    for dataset, counts in found.items():
        yield f"{dataset}: a class has fewer training images than {listed(map(str, counts))}."


def _caption() -> str:
    return (
        "Test error against labelled images per class: the mean with its 95 % interval over trunks "
        f"(or nets); with fewer than {PROVISIONAL} every one is an open mark."
    )


def _name(page: Page, arm: Arm) -> str:
    if arm.kind == FLOOR:
        return "Untrained, refitted"
    k = f", K = {arm.modules}" if arm.modules > 1 else ""
    return f"{page.frame.labels[arm.recipe]}{k}, {arm.kind}"


def _looks(page: Page, arms: list[Arm]) -> dict[str, Look]:
    """A recipe's colour; what is trained alone is dashed, the untrained network grey."""
    of_recipe, out = drawing.looks(page.frame), {}
    for arm in arms:
        name = _name(page, arm)
        if arm.kind == FLOOR:
            out[name] = Look(name, "#888888", "", ":")
        else:
            base = of_recipe[arm.recipe]
            marker = "x" if arm.kind == "alone" else base.marker or "o"
            dash = "--" if arm.kind == "alone" else base.dash
            out[name] = Look(name, base.colour, marker, dash)
    return out


def _curves(page: Page, mine: pd.DataFrame) -> Figure:
    arms = _arms.arms(mine)
    looks = _looks(page, arms)
    ks = sorted({a.modules for a in arms if a.kind != FLOOR and a.modules > 1}) or [1]
    fig, axes = drawing.panels(len(ks), drawing.axis_label(PrimaryMetric()))
    counts = sorted(n for n in mine["labels"].unique() if n != ALL)
    last = 3 * max(counts, default=1)
    for ax, k in zip(axes, ks, strict=True):
        shown = [a for a in arms if a.modules in (1, k)]
        for place, arm in enumerate(shown):
            shift = 2 ** (SHIFT * (place - (len(shown) - 1) / 2))
            _curve(ax, _arms.of(mine, arm), last, shift, looks[_name(page, arm)])
        if ks != [1]:
            ax.set_title(f"K = {k}")
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator([*counts, last]))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: "all" if x == last else f"{x:g}"))
        ax.set_xlabel("labels per class")
        drawing.maybe_log(ax, mine["error"], PrimaryMetric())
        ax.set_xlim(min(counts, default=1) / 1.5, last * 1.5)
        ax.set_ylim(bottom=0.7 * mine["error"].min() if ax.get_yscale() == "log" else 0)
    drawing.legend(fig, looks, list(looks))
    return fig


def _curve(ax: Axes, rows: pd.DataFrame, last: float, shift: float, look: Look) -> None:
    """Means joined by a line; intervals, or single trunks where they are too few."""
    means, values = _arms.summary(rows), _arms.per_seed(rows)
    x = [shift * (last if n == ALL else n) for n in means]
    ax.plot(x, [m.mean for m in means.values()], color=look.colour, ls=look.dash, lw=1)
    style: dict[str, Any]
    for place, (labels, m) in zip(x, means.items(), strict=True):
        if m.n < PROVISIONAL:
            of_trunks = values[labels]
            style = {"color": look.colour, "mfc": "white", "ms": 4, "ls": ""}
            ax.plot([place] * m.n, of_trunks, marker=look.marker or ".", **style)
        else:
            ends = [[m.mean - m.low], [m.high - m.mean]]
            style = {"color": look.colour, "marker": look.marker, "capsize": 2.5, "lw": 1}
            ax.errorbar(place, m.mean, ends, **style)


def _labels(count: float) -> str:
    return "all" if count == ALL else f"{count:.0f}"


def _numbers(page: Page, mine: pd.DataFrame, stem: str) -> Block:
    """Every arm at every number of labels, published numbers beside them."""
    columns = [("Arm", "l"), ("Labels per class", "r"), ("Trunks", "r"), ("Draws", "r")]
    columns += [("Test error, %", "r"), ("95 % interval", "r"), ("SD between draws", "r")]
    table, rows = Table(columns, []), []
    told = {
        (f.cell.recipe, f.cell.modules): WORDS[f.found["labels_of_the_trunk"]] for f in page.found
    }
    for arm in _arms.arms(mine):
        table.starts.append(len(table.rows))
        of = _arms.of(mine, arm)
        note = f"The trunk’s training was told {told.get(arm[1:])}."
        notes = (note,) if arm.kind == "refitted" else ()
        for labels, m in _arms.summary(of).items():
            draws = of.loc[(of["labels"] == labels) & (of["draw"] >= 0), "draw"].nunique()
            spread = math.nan if arm.kind == "alone" else _arms.between_draws(of, labels)
            rows.append((*arm, labels, draws, *m, spread))
            name = _name(page, arm)
            first = len(table.rows) == table.starts[-1]
            texts = [_labels(labels), str(m.n), str(draws) if draws else NONE, number(m.mean)]
            texts.append(NONE if math.isnan(m.low) else _plain(m.low, m.high))
            texts.append(NONE if math.isnan(spread) else number(spread))
            named = Item(name, notes) if first else Item("", again=name)
            table.rows.append([named, *map(Item, texts)])
    table.rows.extend(_published(page, mine, table))
    numbers = pd.DataFrame(
        rows, columns=[*Arm._fields, "labels", "draws", *_MEAN, "sd_between_draws"]
    )
    text = f"Every single number is in tables/labels_each_{stem}.csv."
    return page.table(stem, table, numbers, "", text)


_MEAN = ["trunks", "mean", "sd", "low", "high"]


def _plain(low: float, high: float) -> str:
    return f"[{number(low)}, {number(high)}]"


def _published(page: Page, mine: pd.DataFrame, table: Table) -> Iterator[list[Item]]:
    """Published numbers of the data set, the network, and an arm with a refitted head."""
    known = references.load(page.plan.catalog.recipes_file.with_name(references.FILE))
    dataset, network = mine[["dataset", "network"]].iloc[0]
    mine_ = {(dataset, network, a.recipe, a.modules) for a in _arms.arms(mine) if a.kind != "alone"}
    for r in known:
        key = (r.dataset, r.network, r.recipe, r.modules)
        if key in mine_ and r.metric.startswith(METRIC):
            table.starts.append(len(table.rows))
            name = f"{page.frame.labels[r.recipe]}, refitted, published"
            said = Item(name, tuple(filter(None, [r.source, r.note])))
            texts = [r.metric.removeprefix(METRIC), str(r.n or NONE), NONE, number(r.value)]
            yield [said, *map(Item, [*texts, NONE, NONE])]


def _differences(page: Page, compared: pd.DataFrame, stem: str) -> Block:
    """Paired differences, with a sentence by rule for every pair of arms."""
    columns = [("Arm", "l"), ("Against", "l"), ("Labels per class", "r"), ("Seeds", "r")]
    columns += [("Difference, points [95 %]", "r"), ("p, Holm", "r"), ("", "l")]
    table, text = Table(columns, []), []
    keys = [*Arm._fields, "against"]
    for _, rows in compared.groupby(keys, sort=False):
        table.starts.append(len(table.rows))
        kind, recipe, modules, against = rows[keys].iloc[0]
        assert page.frame.baseline
        other = Arm(against, page.frame.baseline, 1)
        names = (_name(page, Arm(kind, recipe, modules)), _name(page, other))
        text.append(_sentence(*names, rows))
        for _, row in rows.iterrows():
            texts = [*names, _labels(row["labels"]), str(row["n"])]
            between = "" if math.isnan(row["low"]) else f" {interval(row['low'], row['high'])}"
            texts.append(number(row["mean"], sign=True) + between)
            texts.append(NONE if math.isnan(row["p_holm"]) else f"{row['p_holm']:.2g}")
            table.rows.append([*map(Item, [*texts, row["verdict"] or "no test"])])
    how = (
        "Differences of test error, below zero where the arm is better. Against a refitted head: "
        "the means over draws, paired by the trunk’s seed. Against nets trained alone: the trunk "
        "of seed s with the labels of draw s, and the net of seed s that was trained on them. "
        "Intervals are uncorrected; p is corrected for all rows of the table (Holm), and verdicts "
        "are at the 5 % level. Not distinguishable is not equal: with few seeds it says little. "
        "No test: fewer than two seeds, or all differ by the same amount."
    )
    return page.table(f"differences_{stem}", table, compared, "Differences", *text, how)


def _sentence(arm: str, other: str, rows: pd.DataFrame) -> str:
    """What the corrected tests say, runs of equal verdicts together.

    Example:
        >>> _sentence("A", "B", pd.DataFrame({"labels": [1, 2], "verdict": ["better"] * 2}))
        'A against B, by labels per class: better with 1 and 2.'
    """
    said = []
    pairs = zip(rows["verdict"], rows["labels"], strict=True)
    for verdict, group in groupby(pairs, key=lambda pair: pair[0]):
        said.append(f"{verdict or 'untested'} with {listed(_labels(n) for _, n in group)}")
    return f"{arm} against {other}, by labels per class: {'; '.join(said)}."
