"""Where every value of a recipe comes from, and the page of all published values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from generator.markdown import code, plain, table
from modulewise.config.cell import Cell
from modulewise.config.options import options_model
from modulewise.config.recipes import Override, Recipe, Recipes
from modulewise.config.resolve import BUDGETS, Catalog


class Value(NamedTuple):
    """A value of a cell, and what it was taken from."""

    part: str
    """`options` of the method, `partition` or `training`."""
    key: str
    value: object
    source: str


def of_cell(catalog: Catalog, cell: Cell) -> list[Value]:
    """Every option and training setting of a cell with its source: a publication, the recipe, or a
    default. Settings at their default of which no file speaks are left out.

    Args:
        catalog: recipes.
        cell: with nothing but its recipe's settings.
    """
    recipes, recipe = catalog.recipes, catalog.recipes.recipes[cell.recipe]
    shared = recipes.training[recipe.training]
    own = f"the recipe ({recipe.paper})" if recipe.paper else "the recipe"
    model = options_model("methods", cell.method)
    default = "the method's default"
    options = {k: Value("options", k, f.default, default) for k, f in model.model_fields.items()}
    options |= {k: Value("options", k, v, own) for k, v in recipe.options.items()}
    training = {k: Value("training", k, v, shared.source) for k, v in shared.set.items()}
    cuts = Value(
        "partition", "partition", recipe.partition, own if recipe.partition != "even" else "default"
    )
    for override in (*shared.overrides, *overrides(recipes, recipe)):
        if not override.when.holds(cell.dataset, cell.network, cell.modules):
            continue
        source, set_ = override.source, override.set
        options |= {k: Value("options", k, v, source) for k, v in set_.options.items()}
        if BUDGETS & set(set_.training):
            training = {k: v for k, v in training.items() if k not in BUDGETS}
        training |= {k: Value("training", k, v, source) for k, v in set_.training.items()}
        if set_.partition:
            cuts = Value("partition", "partition", set_.partition, source)
    return [*options.values(), *([cuts] if cell.modules > 1 else []), *training.values()]


def overrides(recipes: Recipes, recipe: Recipe) -> Iterator[Override]:
    """A recipe's overrides, those of its tables included, in order."""
    for item in recipe.overrides:
        yield from [item] if isinstance(item, Override) else recipes.tables[item]


def page(catalog: Catalog) -> str:
    """All shared training settings and tables, value by value, each with its source."""
    recipes = catalog.recipes
    out = "# Published values\n\nWhat `config/recipes.yaml` holds for several recipes: training "
    out += "settings, and tables of overrides, which apply where data set, network and K match. "
    out += "Each value has its source.\n\n## Training settings\n"
    for name, shared in recipes.training.items():
        out += f"\n### {name}\n\n{shared.source}\n\n"
        out += table(("setting", "value"), ((code(k), code(v)) for k, v in shared.set.items()))
        if shared.overrides:
            out += "\n" + _table(shared.overrides)
    out += "\n## Tables of overrides\n"
    for name, items in recipes.tables.items():
        used = [r for r, recipe in recipes.recipes.items() if name in recipe.overrides]
        out += f"\n### {name}\n\nOf {', '.join(f'`{r}`' for r in used)}.\n\n{_table(items)}"
    return out


def _table(items: tuple[Override, ...]) -> str:
    rows = []
    for item in items:
        when = item.when.model_dump(exclude_none=True)
        set_ = item.set.model_dump(exclude_none=True, exclude_defaults=True, mode="json")
        values = {**set_.pop("options", {}), **set_.pop("training", {}), **set_}
        rows.append(
            (
                ", ".join(f"{k} {plain(v)}" for k, v in when.items()) or "always",
                ", ".join(f"`{k}: {plain(v)}`" for k, v in values.items()),
                item.source,
            )
        )
    return table(("where", "values", "source"), rows)
