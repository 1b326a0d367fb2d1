"""Cells of a sweep that would train the very same: one of them is trained, all are shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from modulewise.config.cell import Cell
from modulewise.config.options import options_model
from modulewise.config.recipes import Recipe, Recipes
from modulewise.errors import parse

Place = tuple[str, str, str, int, int]


def trained_as(cells: Iterable[Cell], recipes: Recipes) -> dict[str, Cell]:
    """Which cells need no training, because recipes say (`same_as`) that another cell is the same.

    The two differ in nothing but the recipe and the options that their recipes give differently;
    an override or a choice of tuning that makes them differ in more keeps both.

    Args:
        cells: of a sweep.
        recipes: their recipes.

    Returns:
        Path of such a cell -> the cell that is trained for both.
    """
    at: dict[Place, list[Cell]] = {}
    cells = tuple(cells)
    for cell in cells:
        at.setdefault(_place(cell, cell.recipe), []).append(cell)
    out: dict[str, Cell] = {}
    for cell in cells:
        for name, modules in recipes.recipes[cell.recipe].same_as.items():
            if cell.modules in modules:
                found = (c for c in at.get(_place(cell, name), ()) if _alike(cell, c, recipes))
                other = next(found, None)
                if other and _last(other, out) is not cell:  # recipes may name each other
                    out[cell.path] = other
                    break
    return {path: _last(cell, out) for path, cell in out.items()}


def _place(cell: Cell, recipe: str) -> Place:
    return cell.dataset, cell.network, recipe, cell.modules, cell.seed


def _last(cell: Cell, out: dict[str, Cell]) -> Cell:
    """The cell that is trained for this one, itself if none is."""
    while cell.path in out:
        cell = out[cell.path]
    return cell


def _alike(one: Cell, other: Cell, recipes: Recipes) -> bool:
    """Whether two cells differ in nothing but their recipes' own options."""
    named = {"recipe": other.recipe, "options": other.options}
    if one.model_copy(update=named) != other:
        return False
    given, theirs = (_own(recipes.recipes[cell.recipe]) for cell in (one, other))
    differ = {k for k in given | theirs if given.get(k) != theirs.get(k)}
    for cell, own in ((one, given), (other, theirs)):
        if any(cell.options.get(k) != own.get(k) for k in differ):
            return False
    return all(one.options.get(k) == other.options.get(k) for k in one.options if k not in differ)


def _own(recipe: Recipe) -> dict[str, Any]:
    """The options that a recipe gives, but for defaults, as cells have them."""
    given = parse(options_model("methods", recipe.method), recipe.options, "options")
    return given.model_dump(mode="json", exclude_defaults=True)
