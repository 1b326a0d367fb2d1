"""The cells that a planned contrast is about."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from modulewise.config.analysis import Analysis, Term
from modulewise.config.resolve import GridCell
from modulewise.errors import InvalidInput

Groups = Mapping[int, tuple[GridCell, ...]]
"""Cells by their K."""


def cells_of(term: Term, cells: Iterable[GridCell], where: str) -> Groups:
    """The cells that a term is about, by K, rising.

    Raises:
        InvalidInput: there are none, or of several grids, data sets or networks.
    """
    named = [it for it in cells if it.cell.recipe == term.recipe]
    found = [
        it
        for it in named
        if term.grid in (None, it.grid) and term.modules in (None, it.cell.modules)
    ]
    if not found:
        valid = sorted({(it.grid, it.cell.modules) for it in named})
        said = ", ".join(f"grid {grid} K={k}" for grid, k in valid) or "no cell of this recipe"
        raise InvalidInput(f"{where}: the sweep has no such cells; valid: {said}")
    for what, values in (
        ("grid", {it.grid for it in found}),
        ("data set", {it.cell.dataset for it in found}),
        ("network", {it.cell.network for it in found}),
    ):
        if len(values) > 1:
            many = ", ".join(sorted(map(str, values)))
            raise InvalidInput(f"{where}: cells of more than one {what}: {many}; name one grid")
    groups: dict[int, list[GridCell]] = {}
    for it in found:
        groups.setdefault(it.cell.modules, []).append(it)
    return {k: tuple(groups[k]) for k in sorted(groups)}


def check(
    analysis: Analysis, cells: Iterable[GridCell], experimental: Collection[str], where: str
) -> None:
    """Refuse contrasts of cells that the sweep does not have or that cannot be paired.

    Args:
        analysis: the plan.
        cells: of the sweep.
        experimental: recipes that stand in no family of verdicts.
        where: name of the sweep's file.

    Raises:
        InvalidInput: one line that says which.
    """
    cells = tuple(cells)
    for family, contrast in analysis.contrasts():
        here = f"{where}: analysis.{family}: {contrast.name}"
        seeds, datasets = set[frozenset[int]](), set[str]()
        for term in contrast.terms:
            groups = cells_of(term, cells, here)
            if term.recipe in experimental:
                raise InvalidInput(f"{here}: {term.recipe} is experimental: it gets no verdict")
            if not contrast.slope and len(groups) > 1:
                raise InvalidInput(f"{here}: {term.recipe} has K = {_list(groups)}; give modules")
            if contrast.slope and len(groups) < 3:
                raise InvalidInput(
                    f"{here}: a slope needs three values of K, {term.recipe} has {_list(groups)}"
                )
            for group in groups.values():
                if len(group) != analysis.n:
                    raise InvalidInput(
                        f"{here}: {term.recipe} has {len(group)} seeds, n is {analysis.n}"
                    )
                seeds.add(frozenset(it.cell.seed for it in group))
                datasets |= {it.cell.dataset for it in group}
        for what, values in (("seeds", seeds), ("data sets", datasets)):
            if len(values) > 1:
                raise InvalidInput(f"{here}: its cells have different {what}; valid: the same")


def _list(groups: Groups) -> str:
    return ", ".join(map(str, groups))
