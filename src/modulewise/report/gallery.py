"""The figures of every data set and network: which are drawn, their captions and their files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from modulewise.plots import NotDrawn
from modulewise.report import drawing, figures, fronts
from modulewise.report.frame import Frame
from modulewise.report.naming import better, title
from modulewise.report.stats import PROVISIONAL
from modulewise.runs.result import PrimaryMetric

log = logging.getLogger(__name__)


class Kind(NamedTuple):
    """A kind of figure; one per data set, network and settings, several if the recipes are many."""

    name: str
    """First part of its files' names; `*` stands for the name of the primary metric."""
    draw: Callable[[pd.DataFrame, Frame, list[str]], Figure | None]
    caption: Callable[[PrimaryMetric], str]


KINDS = (
    Kind(
        "*-against-modules",
        figures.against_modules,
        lambda m: (
            f"{title(m)} of the last epoch against the number of modules K: mean with its 95 % "
            f"t-interval; with fewer than {PROVISIONAL} seeds every seed is an open mark. The "
            f"baseline is the horizontal line, its interval the band."
        ),
    ),
    Kind(
        "*-against-memory",
        fronts.against_memory,
        lambda m: (
            f"{title(m)} against peak memory while training; the number beside a mark is K. The "
            f"grey line is the Pareto front: nothing has both a {better(m)} and less memory. Open "
            f"marks: fewer than {PROVISIONAL} seeds. Only runs measured the same way."
        ),
    ),
    Kind(
        "*-against-time",
        fronts.against_time,
        lambda m: (
            f"{title(m)} against the time of a training step; the number beside a mark is K. The "
            f"grey line is the Pareto front. Open marks: fewer than {PROVISIONAL} seeds. Only runs "
            f"that had a device of one model to themselves."
        ),
    ),
    Kind(
        "learning-curves",
        figures.learning_curves,
        lambda m: (
            f"{title(m)} after every epoch, a panel per K: the mean over seeds thick, every seed "
            f"thin; the baseline in every panel."
        ),
    ),
    Kind(
        "*-over-depth",
        figures.over_depth,
        lambda m: (
            f"{title(m)} of every module’s own head at the last epoch: the mean over seeds with "
            f"marks, every seed thin. The baseline is the horizontal line. Heads that make no "
            f"prediction have no mark."
        ),
    ),
)


def of_section(
    frame: Frame, mine: pd.DataFrame, number: int, files: dict[str, bytes]
) -> Iterator[dict[str, Any]]:
    """The figures of one data set and network; adds their files.

    Args:
        frame: the runs.
        mine: of `stats.headline`, one data set and network.
        number: of the section, for ids that are unique in the page.
        files: path in the report's folder -> content.
    """
    dataset, network = mine["dataset"].iloc[0], mine["network"].iloc[0]
    metric = frame.metric(dataset)
    done = frame.done.query("dataset == @dataset and network == @network")
    several = mine["settings"].nunique() > 1
    for setting, settings in enumerate(mine["settings"].unique()):
        runs = done[done["settings"] == settings]
        parts = figures.parts(runs, frame)
        for kind, (part, recipes) in product(KINDS, enumerate(parts, 1)):
            name, caption = kind.name.replace("*", metric.name), kind.caption(metric)
            if len(parts) > 1:
                names = ", ".join(frame.labels[r] for r in recipes)
                caption = f"Part {part} of {len(parts)}: {names}. {caption}"
            words = (str(setting + 1) * several, f"part{part}" * (len(parts) > 1))
            stem = "_".join(w for w in (name, dataset, network, *words) if w)
            shown = {"caption": caption, "settings": settings}
            make = partial(kind.draw, runs, frame, recipes)
            yield from map(
                shown.__or__, figure(make, stem, f"s{number}-{setting}-{part}-{name}", files)
            )


def figure(
    make: Callable[[], Figure | None], stem: str, prefix: str, files: dict[str, bytes]
) -> Iterator[dict[str, Any]]:
    """A figure as the page shows it, or why it could not be drawn; nothing if there is nothing to
    draw. Adds its files.

    Args:
        make: draws it.
        stem: name of its files.
        prefix: of its ids in the page.
        files: path in the report's folder -> content.
    """
    try:
        made = drawing.files(make)
    except NotDrawn as error:
        log.warning(f"{stem} not drawn: {error}")
        yield {"stem": stem, "failed": str(error)}
        return
    if made:
        files |= {f"figures/{stem}.{suffix}": content for suffix, content in made.items()}
        yield {"stem": stem, "failed": "", "svg": Markup(drawing.inline(made["svg"], prefix))}
