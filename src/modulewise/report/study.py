"""The page of a study: what was found on the runs of a sweep."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment
from matplotlib.figure import Figure

from modulewise.config.cell import Cell
from modulewise.config.plan import Plan
from modulewise.report import alone, gallery, tables
from modulewise.report.frame import Frame
from modulewise.report.stats import SECTION
from modulewise.runs import study
from modulewise.runs.provenance import study_hash


@dataclass(frozen=True)
class Found:
    """What was found on one run."""

    cell: Cell
    found: dict[str, Any]
    """Measurements, as the study returned them."""
    seconds: float


@dataclass
class Block:
    """A part of a page: a heading, paragraphs, a table, figures; each may be absent."""

    title: str = ""
    text: list[str] = field(default_factory=list)
    table: tables.Table | None = None
    stem: str = ""
    """First part of the names of the table's files."""
    figures: list[dict[str, Any]] = field(default_factory=list)


class Page:
    """What a page's author is given.

    Attributes:
        name: of the study.
        found: on the runs that count, in the sweep's order.
        frame: the sweep's runs.
        plan: the sweep.
        options: of the study, those that differ from their defaults.
        settings: a cell's path -> what its grid sets, in words.
    """

    def __init__(self, name: str, plan: Plan, frame: Frame, runs: Path) -> None:
        self.name, self.plan, self.frame = name, plan, frame
        self.options = plan.sweep.studies[name].options
        self.settings = dict(zip(frame.runs["path"], frame.runs["settings"], strict=True))
        self.files: dict[str, bytes] = {}
        mine = [s for s in plan.studies if s.name == name]
        self.total, self.stale, self.found = len(mine), 0, list[Found]()
        counts = frozenset(frame.done["path"])
        for one in mine:
            result = study.read(runs / one.path)
            if result and result.found and one.cell.path in counts:
                self.stale += result.source != study_hash(name, one.cell)
                self.found.append(Found(one.cell, result.found, result.seconds))

    def table(
        self, stem: str, table: tables.Table, numbers: pd.DataFrame, title: str = "", *text: str
    ) -> Block:
        """A block with a table; adds its files.

        Args:
            stem: of the names of its files, after the study's name.
            table: as the page shows it.
            numbers: with all digits.
            title: of the block.
            text: paragraphs before the table.
        """
        stem = "_".join(filter(None, [self.name, stem]))
        self.files[f"tables/{stem}.csv"] = tables.to_csv(numbers)
        self.files[f"tables/{stem}.tex"] = tables.to_latex(table)
        return Block(title, list(text), table, stem)

    def figure(
        self,
        stem: str,
        make: Callable[[], Figure],
        caption: str,
        title: str = "",
        *text: str,
    ) -> Block:
        """A block with a figure; adds its files.

        Args:
            stem: of the names of its files, after the study's name.
            make: draws it.
            caption: below it.
            title: of the block.
            text: paragraphs before the figure.
        """
        stem = "_".join(filter(None, [self.name, stem]))
        made = gallery.figure(make, stem, stem.replace("_", "-"), self.files)
        return Block(title, list(text), figures=[{"caption": caption} | one for one in made])


def sections(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """The rows of every data set, network and settings: first part of names of files, title, rows.
    Settings are told apart where there are several.

    Args:
        table: `dataset`, `network`, `settings` and more.
    """
    many = table["settings"].nunique() > 1
    for place, (key, rows) in enumerate(table.groupby([*SECTION, "settings"], sort=False), 1):
        dataset, network, settings = map(str, key)
        stem = f"{dataset}_{network}" + (f"_{place}" if many else "")
        title = ", ".join(filter(None, [dataset, network, settings if many else ""]))
        yield stem, title, rows


def pages(
    plan: Plan, frame: Frame, runs: Path, env: Environment, made: str, files: dict[str, bytes]
) -> Iterator[dict[str, Any]]:
    """Every study's page; adds its files, and gives what the report says of it.

    Args:
        plan: the sweep.
        frame: its runs.
        runs: folder that the cells' paths start from.
        env: of the templates.
        made: when.
        files: path in the report's folder -> content.
    """
    for name in plan.sweep.studies if not plan.tuning else ():
        page = Page(name, plan, frame, runs)
        author = importlib.import_module(f"modulewise.report.studies.{name}")
        said = {
            "title": author.TITLE,
            "measured": len(page.found),
            "total": page.total,
            "stale": page.stale,
        }
        inside = alone.can_be(page.files)
        content = said | {
            "alone": inside,
            "blocks": list(author.blocks(page)) if page.found else [],
            "sweep": plan.sweep,
            "made": made,
            "options": ", ".join(f"{k}={v}" for k, v in page.options.items()),
        }
        files |= page.files
        text = env.get_template("study.html.j2").render(content)
        files[f"{name}.html"] = (alone.made(text, page.files) if inside else text).encode()
        yield said | {"name": name}
