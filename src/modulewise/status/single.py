"""One run, read from its folder wherever that lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from modulewise.config.cell import Cell
from modulewise.errors import InvalidInput
from modulewise.runs import find, jobs, record, result
from modulewise.runs.files import CELL
from modulewise.runs.state import RunState, path_state

"""Name of the file in a run's folder that says what it was asked for."""


@dataclass(frozen=True)
class Run:
    """A run and its state."""

    folder: Path
    cell: Cell | None
    """What was run; `None` if neither its result nor its `cell.json` can be read."""
    state: RunState

    @property
    def name(self) -> str:
        """What was run, in words, with the cell's id."""
        return f"{self.cell}  {self.cell.id}" if self.cell else self.folder.name


def read(folder: Path) -> Run:
    """The run in a folder.

    Raises:
        InvalidInput: there is none.
    """
    runs, path = find.placed(folder)
    state = path_state(runs, path, job=jobs.read(runs.parent / jobs.FILE).get(path))
    cell = state.result.cell if state.result else _cell(folder)
    if cell is None and state.state == "waiting":
        raise InvalidInput(f"{folder}: no run: neither {result.FILE} nor {record.FILE}")
    return Run(folder, cell, state)


def _cell(folder: Path) -> Cell | None:
    """What a run was asked for."""
    try:
        return Cell.model_validate_json((folder / CELL).read_text())
    except (OSError, ValidationError, UnicodeDecodeError):
        return None
