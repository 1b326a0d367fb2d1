"""How a sweep's report lays its cells out as a published table: which axes are rows, which are
columns, which numbers stand beside ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from modulewise.config.cell import Cell
from modulewise.config.references import COSTS, one_of, schema_of
from modulewise.config.types import Frozen
from modulewise.errors import InvalidInput

Axis = Literal["dataset", "network", "recipe", "modules", "settings"]
"""`settings` are those that a sweep's grids add."""
OTHERS = ("epochs", *COSTS)
Metric = Annotated[str, AfterValidator(lambda value: one_of(value, OTHERS)), schema_of(OTHERS)]
"""`test_` and the name of a data set's primary metric (`test_error`) or of a secondary one; epochs
trained; peak memory in 10^9 bytes; the others in percent of the baseline's."""


class Exhibit(Frozen):
    """A table of a paper; data, no code."""

    title: str
    """Name as in the paper, such as `InfoPro, table 2`."""
    sources: tuple[str, ...] = ()
    """Sources in `references.csv`; of several that have a number for a cell, the first counts."""
    rows: Annotated[tuple[Axis, ...], Field(min_length=1)]
    """Axes of the rows; an axis with several values must be a row or a column."""
    columns: tuple[Axis, ...] = ()
    """Axes of the columns."""
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)] = ("test_error",)
    """Metrics in every column; one on the test set only where the data set has it."""
    note: str | None = None
    """Remark for readers of the table."""

    @model_validator(mode="after")
    def _each_once(self) -> Exhibit:
        for names in ((*self.rows, *self.columns), self.metrics):
            if twice := next((n for n in names if names.count(n) > 1), None):
                raise ValueError(f"duplicate {twice}")
        return self


def check(exhibit: Exhibit, cells: Iterable[Cell], where: str) -> None:
    """Refuse a layout that puts different cells in one place.

    Raises:
        InvalidInput: an axis with several values is neither row nor column, or grids differ in
            settings and these are neither.
    """
    axes = [
        a
        for a in ("dataset", "network", "recipe", "modules")
        if a not in (*exhibit.rows, *exhibit.columns)
    ]
    seen: dict[tuple[object, ...], Cell] = {}
    for cell in cells:
        place = tuple(
            getattr(cell, a) for a in (*exhibit.rows, *exhibit.columns) if a != "settings"
        )
        other = seen.setdefault(place, cell)
        for axis in axes:
            if getattr(cell, axis) != getattr(other, axis):
                both = f"{getattr(other, axis)} and {getattr(cell, axis)}"
                raise InvalidInput(
                    f"{where}: exhibit: {both} would stand in one place; name {axis} in rows or "
                    f"columns"
                )
        if "settings" not in (*exhibit.rows, *exhibit.columns) and cell.training != other.training:
            both = ", ".join(
                k
                for k in type(cell.training).model_fields
                if getattr(cell.training, k) != getattr(other.training, k)
            )
            which = str(cell).rpartition(" ")[0]
            raise InvalidInput(
                f"{where}: exhibit: {which} of different {both} would stand in one place; name "
                f"settings in rows or columns"
            )
