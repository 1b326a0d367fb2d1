"""The figures of every data set and network: which are drawn, their captions and their files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from modulewise.plots import NotDrawn, Nothing
from modulewise.report import angles, drawing, figures, fronts
from modulewise.report.frame import Frame
from modulewise.report.naming import better, title
from modulewise.report.stats import PROVISIONAL, SECTION
from modulewise.runs.result import PrimaryMetric

log = logging.getLogger(__name__)


MOST = 50
"""Figures of data sets and networks that a report draws without being asked."""
INLINE = 750_000
"""Bytes of figures that stand in the page itself."""


class Kind(NamedTuple):
    """A kind of figure; one per data set, network and settings, several if the recipes are many."""

    name: str
    """First part of its files' names; `*` stands for the name of the primary metric."""
    draw: Callable[[pd.DataFrame, Frame, list[str]], Figure]
    caption: Callable[[PrimaryMetric, str], str]
    """Of a metric, and of how single seeds are shown."""
    baseline: str = ""
    """What the caption says of the baseline where there is one."""
    needs: str = ""
    """Table of the frame; where none of the runs is in it, the figure is left out."""

    def wanted(self, runs: pd.DataFrame, frame: Frame) -> bool:
        """Whether these runs have what it shows."""
        return not self.needs or bool(getattr(frame, self.needs)["path"].isin(runs["path"]).any())


KINDS = (
    Kind(
        "*-against-modules",
        figures.against_modules,
        lambda m, seeds: (
            f"{title(m)} of the last epoch against the number of modules K: mean with its 95 % "
            f"t-interval; with fewer than {PROVISIONAL} seeds every seed is an open mark."
        ),
        "The baseline is the horizontal line, its interval the band.",
    ),
    Kind(
        "*-against-memory",
        fronts.against_memory,
        lambda m, seeds: (
            f"{title(m)} against peak memory while training; the number beside a mark is K. The "
            f"grey line is the Pareto front of the means: none has both a {better(m)} and less "
            "memory. It says nothing of differences that chance could make. Open marks: fewer than "
            f"{PROVISIONAL} seeds. Only runs measured the same way."
        ),
    ),
    Kind(
        "*-against-time",
        fronts.against_time,
        lambda m, seeds: (
            f"{title(m)} against the time of a training step; the number beside a mark is K. The "
            "grey line is the Pareto front of the means. Open marks: fewer than "
            f"{PROVISIONAL} seeds. Only runs that had a device of one model to themselves."
        ),
    ),
    Kind(
        "learning-curves",
        figures.learning_curves,
        lambda m, seeds: (
            f"{title(m)} after every epoch, a panel per K: the mean over seeds thick, {seeds}."
        ),
        "The baseline is in every panel.",
    ),
    Kind(
        "*-over-depth",
        figures.over_depth,
        lambda m, seeds: (
            f"{title(m)} of every module’s own head at the last epoch: the mean over seeds with "
            f"marks, {seeds}. Heads that make no prediction have no mark."
        ),
        "The baseline is the horizontal line.",
    ),
    Kind(
        "gradient-angles",
        angles.over_epochs,
        lambda m, seeds: (
            "Angle between the gradient that a module learns by and that of end-to-end "
            "backpropagation for the same weights, on the run’s first batch, before training and "
            "after every epoch; a panel per recipe and K, with its number of seeds, a line per "
            "module. 0 degrees: the direction of backpropagation; dashed, 90: nothing in common; "
            "more: the net’s own loss rises. The mean over seeds with marks, every seed thin."
        ),
        needs="angles",
    ),
)


class Chosen(NamedTuple):
    """The figures that a report draws."""

    parts: frozenset[tuple[str, ...]]
    """Kind, data set, network, settings and number of the part, of each."""
    all: bool
    """Whether these are all."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Kinds of files of each: no PDFs where figures are too many."""
        return ("svg", "pdf") if self.all else ("svg",)


def choose(frame: Frame, everything: bool) -> Chosen:
    """All figures, or the first `MOST` of them, kind by kind.

    Args:
        frame: the runs.
        everything: whether to draw all of them, however many.
    """
    groups = frame.done.groupby([*SECTION, "settings"], sort=False)
    places = [
        (runs, (*map(str, key), str(part)))
        for key, runs in groups
        for part, _ in enumerate(figures.parts(runs, frame), 1)
    ]
    parts = [
        (kind.name, *place) for kind in KINDS for runs, place in places if kind.wanted(runs, frame)
    ]
    few = everything or len(parts) <= MOST
    return Chosen(frozenset(parts if few else parts[:MOST]), few)


def of_section(
    frame: Frame, mine: pd.DataFrame, number: int, chosen: Chosen, files: dict[str, bytes]
) -> Iterator[dict[str, Any]]:
    """The figures of one data set and network; adds their files.

    Args:
        frame: the runs.
        mine: of `stats.headline`, one data set and network.
        number: of the section, for ids that are unique in the page.
        chosen: what to draw.
        files: path in the report's folder -> content.
    """
    dataset, network = mine["dataset"].iloc[0], mine["network"].iloc[0]
    metric = frame.metric(dataset)
    done = frame.done.query("dataset == @dataset and network == @network")
    several = mine["settings"].nunique() > 1
    for setting, settings in enumerate(mine["settings"].unique()):
        runs = done[done["settings"] == settings]
        parts, seeds = figures.parts(runs, frame), figures.seeds_shown(runs)
        for kind, (part, recipes) in product(KINDS, enumerate(parts, 1)):
            if (kind.name, dataset, network, settings, str(part)) not in chosen.parts:
                continue
            name, caption = kind.name.replace("*", metric.name), kind.caption(metric, seeds)
            if kind.baseline and frame.baseline in set(runs["recipe"]):
                caption += f" {kind.baseline}"
            if len(parts) > 1:
                names = ", ".join(frame.labels[r] for r in recipes)
                caption = f"Part {part} of {len(parts)}: {names}. {caption}"
            words = (str(setting + 1) * several, f"part{part}" * (len(parts) > 1))
            stem = "_".join(w for w in (name, dataset, network, *words) if w)
            shown = {"caption": caption, "settings": settings}
            make, prefix = (
                partial(kind.draw, runs, frame, recipes),
                f"s{number}-{setting}-{part}-{name}",
            )
            made = figure(make, stem, prefix, files, chosen.suffixes)
            yield from map(shown.__or__, made)


def figure(
    make: Callable[[], Figure],
    stem: str,
    prefix: str,
    files: dict[str, bytes],
    suffixes: tuple[str, ...] = ("svg", "pdf"),
) -> Iterator[dict[str, Any]]:
    """A figure as the page shows it, or why it is not drawn. Adds its files.

    Args:
        make: draws it.
        stem: name of its files.
        prefix: of its ids in the page.
        files: path in the report's folder -> content.
        suffixes: kinds of its files, `svg` among them.
    """
    try:
        made = drawing.files(make, suffixes)
    except NotDrawn as error:
        empty = isinstance(error, Nothing)
        if not empty:
            log.warning(f"{stem} not drawn: {error}")
        yield {"stem": stem, "failed": str(error), "empty": empty}
        return
    files |= {f"figures/{stem}.{suffix}": content for suffix, content in made.items()}
    svg, pdf = drawing.inline(made["svg"], prefix), "pdf" in made
    yield {"stem": stem, "failed": "", "svg": Markup(svg), "half": drawing.is_half(svg), "pdf": pdf}


def lighten(shown: Iterable[dict[str, Any]]) -> int:
    """Leave figures in the page as long as they take no more than `INLINE` bytes; the page loads
    the others from their files when they come into sight. Returns the number of those.

    Args:
        shown: figures, in the page's order; changed in place.
    """
    left, outside = INLINE, 0
    for one in shown:
        left -= drawing.weight(one.get("svg", ""))
        if left < 0 and "svg" in one:
            one["svg"] = Markup(
                '<a href="figures/{0}.svg"><img loading="lazy" src="figures/{0}.svg" '
                'alt="figures/{0}.svg, beside this page"></a>'
            ).format(one["stem"])
            outside += 1
    return outside
