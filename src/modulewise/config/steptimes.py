"""What a sweep takes from a file of `modulewise profile`: the time of a training step."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from modulewise.config.cell import Cell
from modulewise.config.loading import read_yaml
from modulewise.config.types import Positive
from modulewise.errors import InvalidInput, parse

MEASURE = "write one with modulewise profile --out FILE, of this sweep without the key profile"


class Measured(BaseModel):
    """Entry of a profile file, as far as it is needed here."""

    steps: str = ""
    """Id that cells with the same training steps share: `Cell.steps`."""
    step_seconds: Positive | None = None
    """Seconds of a training step; none if the configuration had no room on the device."""
    exclusive: bool = True
    """Whether nobody else used the device meanwhile; files of earlier versions do not say it."""


class StepTimes(BaseModel):
    """A file of `modulewise profile`."""

    device: str
    """Name of the device that was measured."""
    cells: dict[str, Measured]
    """Entries by `Cell.configuration`."""

    @property
    def step_seconds(self) -> dict[str, float]:
        """Seconds of a training step, by `Cell.steps`."""
        return {c.steps: c.step_seconds for c in self.cells.values() if c.step_seconds is not None}

    @property
    def exclusive(self) -> set[str]:
        """`Cell.steps` of those that had the device to themselves."""
        return {c.steps for c in self.cells.values() if c.exclusive}

    def timed(self, cell: Cell, where: str) -> Cell:
        """The cell with its measured step time, if its budget is in seconds.

        Raises:
            InvalidInput: its steps were not measured, or while others used the device.
        """
        if cell.training.seconds is None:
            return cell
        found = self.step_seconds.get(cell.steps)
        if found is None:
            raise InvalidInput(f"{where}: {cell}: no step time in the profile file; {MEASURE}")
        if cell.steps not in self.exclusive:
            raise InvalidInput(
                f"{where}: {cell}: its step was timed while others used the device; run the same "
                f"modulewise profile again when it is idle"
            )
        training = cell.training.model_copy(update={"step_seconds": found})
        return cell.model_copy(update={"training": training})


def load(path: Path, where: str) -> StepTimes:
    """Read a profile file.

    Args:
        path: the file.
        where: name of the sweep's file, for the message.

    Raises:
        InvalidInput: the file is missing or not as it must be.
    """
    if not path.exists():
        raise InvalidInput(f"{where}: profile: {path}: No such file; {MEASURE}")
    return parse(StepTimes, read_yaml(path), str(path))
