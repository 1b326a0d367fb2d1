"""Trained modules of another run as the first modules of this one.

The trunk's modules are reused, and of the same method with the same options their helpers too, but
not what a method keeps of earlier steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from modulewise.config.cell import Cell
from modulewise.engine import kept
from modulewise.engine.checkpoint import misfit
from modulewise.errors import InvalidInput
from modulewise.method import Method
from modulewise.runs.result import FILE, ReusedFrom


@dataclass(frozen=True)
class Reused:
    """Weights of the run that modules come from."""

    weights: dict[str, Tensor]
    cell: Cell
    origin: ReusedFrom


def read(cell: Cell, runs: Path) -> Reused | None:
    """The weights that a cell reuses; `None` if it reuses none.

    Args:
        cell: the cell.
        runs: folder of the runs.

    Raises:
        InvalidInput: the source has no result or no weights, or they are not of the cell that is
            meant.
    """
    if cell.reuse is None:
        return None
    folder, where = runs / cell.reuse.source, f"{cell}: reuse: "
    again = f"remove {folder / FILE} and train the source again: it keeps its weights then"
    found = kept.read(folder, "train the source first", again, where)
    made = found.result.cell
    if made.id != cell.reuse.id:
        raise InvalidInput(f"{where}{folder}: weights of another cell; {again}")
    origin = ReusedFrom(cell=made.id, weights=found.digest, source=found.result.origin.source)
    return Reused(found.weights, made, origin)


def put(method: Method, cell: Cell, reused: Reused) -> None:
    """Give the first modules of a method the weights that its cell reuses.

    Raises:
        InvalidInput: a module of the source has other parts or shapes.
    """
    assert cell.reuse
    same = (cell.method, cell.options) == (reused.cell.method, reused.cell.options)
    alike = same and not method.history

    def taken(name: str) -> bool:
        kind, _, rest = name.partition(".")
        number = rest.partition(".")[0]
        first = number.isdigit() and int(number) < cell.reuse.modules  # type: ignore[union-attr]
        return first and (alike or kind == "trunk")

    mine = {name: value for name, value in method.state_dict().items() if taken(name)}
    theirs = {name: value for name, value in reused.weights.items() if taken(name)}
    if found := misfit(mine, theirs):
        raise InvalidInput(f"{cell}: reuse: the modules of {reused.cell} do not fit: {found}")
    method.load_state_dict(theirs, strict=False)
