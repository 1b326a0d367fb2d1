"""Where every recipe's settings come from: tuned by so many trials, published, or neither."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from ..config import Book, Cell, Sweep
from ..search import Trial
from .frame import Frame
from .tables import NONE, Item, Table, number

PUBLISHED = "published weights"


class Origin(NamedTuple):
    """Of a recipe's settings at some place."""

    dataset: str
    network: str
    recipe: str
    mark: str
    trials: int
    chosen: str
    error: float | None


def show(sweep: Sweep, book: Book, cells: list[Cell], frame: Frame) -> Table:
    """Recipes with their trials; values of K that agree share a row.

    Args:
        sweep: the sweep.
        book: its recipes, and what tuning chose.
        cells: the reported cells.
        frame: their runs, for labels.
    """
    found: dict[Origin, dict[int, None]] = {}
    for cell in cells:
        for origin in _origins(book, cell):
            found.setdefault(origin, {})[cell.modules] = None
    titles = [("Data set", "l"), ("Network", "l"), ("Recipe", "l"), ("K", "l"), ("Settings", "l"), ("Trials", "r")]
    titles += [("Chosen", "l"), ("Validation error,\u00a0%", "r")] * (sweep.tune is not None)
    table = Table(titles, [])
    for origin, modules in found.items():
        words = (origin.dataset, origin.network, frame.labels[origin.recipe], ", ".join(map(str, modules)))
        note = book.recipes.recipes[origin.recipe].note if origin.mark.startswith(PUBLISHED) else None
        items = [*map(Item, words), Item(origin.mark, (note,) if note else ()), Item(str(origin.trials))]
        if sweep.tune:
            items += [Item(origin.chosen), Item(NONE if origin.error is None else number(origin.error))]
        table.rows.append(items)
    return table


def _origins(book: Book, cell: Cell) -> list[Origin]:
    place = (cell.dataset, cell.network, cell.recipe)
    if book.tuned:
        mine = [c for c in book.tuned.choices if c.place[1:] == (*place, cell.modules)]
        return [Origin(*place, "tuned", len(c.trials), _changes(c.trials[c.chosen]), c.trials[c.chosen].validation_error) for c in mine]
    sources = book.weights(cell)
    return [Origin(*place, f"{PUBLISHED}: {'; '.join(sources)}" if sources else "untuned", 0, "", None)]


def trials(book: Book) -> pd.DataFrame:
    """Every trial that was spent, one per row."""
    rows = []
    for choice in book.tuned.choices if book.tuned else ():
        for n, trial in enumerate(choice.trials):
            row = choice.place._asdict() | {"trial": n, "settings": _changes(trial), "validation_error": trial.validation_error}
            rows.append(row | {"chosen": n == choice.chosen, "runs": " ".join(trial.cells)})
    return pd.DataFrame(rows)


def _changes(trial: Trial) -> str:
    """What a trial changes, in words."""
    changes = trial.training | trial.options
    return ", ".join(f"{k}={v}" for k, v in changes.items()) or "the recipe as it stands"
