"""Where every recipe's settings come from: tuned by so many trials, published, or neither."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from modulewise.config.cell import Cell
from modulewise.config.plan import Plan
from modulewise.config.trials import Trial
from modulewise.report.frame import Frame
from modulewise.report.naming import digits, with_unit, without_test
from modulewise.report.tables import NONE, Item, Table, number

PUBLISHED = "published weights"


class Origin(NamedTuple):
    """Of a recipe's settings at some place."""

    dataset: str
    network: str
    recipe: str
    mark: str
    trials: int
    chosen: str
    value: float | None
    """Primary metric on the held-out images."""


def show(plan: Plan, frame: Frame) -> Table:
    """Recipes with their trials; values of K that agree share a row.

    Args:
        plan: the sweep.
        frame: its runs, for labels.
    """
    found: dict[Origin, dict[int, None]] = {}
    for _, cell in plan.rows:
        for origin in _origins(plan, cell):
            found.setdefault(origin, {})[cell.modules] = None
    titles = [
        ("Data set", "l"),
        ("Network", "l"),
        ("Recipe", "l"),
        ("K", "l"),
        ("Settings", "l"),
        ("Trials", "r"),
    ]
    titles += [("Chosen", "l"), (_validation(frame), "r")] * (plan.sweep.tune is not None)
    table = Table(titles, [])
    for origin, modules in found.items():
        words = (
            origin.dataset,
            origin.network,
            frame.labels[origin.recipe],
            ", ".join(map(str, modules)),
        )
        note = (
            plan.catalog.recipes.recipes[origin.recipe].note
            if origin.mark.startswith(PUBLISHED)
            else None
        )
        items = [
            *map(Item, words),
            Item(origin.mark, (note,) if note else ()),
            Item(str(origin.trials)),
        ]
        if plan.sweep.tune:
            items += [
                Item(origin.chosen),
                Item(
                    NONE
                    if origin.value is None
                    else number(origin.value, digits(frame.metric(origin.dataset)))
                ),
            ]
        table.rows.append(items)
    return table


def _validation(frame: Frame) -> str:
    """The title of the column of what the chosen trials reached."""
    first, *others = frame.primary
    return "Validation" if others else with_unit(f"Validation {without_test(first)}", first)


def _origins(plan: Plan, cell: Cell) -> list[Origin]:
    place = (cell.dataset, cell.network, cell.recipe)
    if plan.tuned:
        mine = [c for c in plan.tuned.choices if c.point[1:] == (*place, cell.modules)]
        return [
            Origin(
                *place,
                "tuned",
                len(c.trials),
                _changes(c.trials[c.chosen]),
                c.trials[c.chosen].validation,
            )
            for c in mine
        ]
    sources = plan.catalog.weights(cell)
    return [
        Origin(*place, f"{PUBLISHED}: {'; '.join(sources)}" if sources else "untuned", 0, "", None)
    ]


def trials(plan: Plan) -> pd.DataFrame:
    """Every trial that was spent, one per row."""
    rows = []
    for choice in plan.tuned.choices if plan.tuned else ():
        for n, trial in enumerate(choice.trials):
            row = choice.point._asdict() | {
                "trial": n,
                "settings": _changes(trial),
                "validation_value": trial.validation,
            }
            rows.append(row | {"chosen": n == choice.chosen, "runs": " ".join(trial.cells)})
    return pd.DataFrame(rows)


def _changes(trial: Trial) -> str:
    """What a trial changes, in words."""
    changes = trial.training | trial.options
    return ", ".join(f"{k}={v}" for k, v in changes.items()) or "the recipe as it stands"
