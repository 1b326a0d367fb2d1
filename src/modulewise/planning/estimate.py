"""What the cells of a sweep that are still to run will cost: time, disk, files. No torch."""

from __future__ import annotations

import statistics
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modulewise.config.cell import Cell
from modulewise.config.limits import Limits
from modulewise.runs.state import run_state
from modulewise.units import disk, time

FILES = 7
"""That a finished run leaves: record, log, cell, result; the workflow's log and benchmark of it;
Snakemake's own note."""
HELD = 2
"""More while it runs: the checkpoint, and for a moment the next one."""
TEXT, EPOCH, HEAD = 6_000, 320, 60
"""Bytes of these files, about: of each run, more for every epoch, and in it for every module."""


@dataclass
class Expected:
    """Of all cells that are still to run."""

    cells: int = 0
    hours: float = 0.0
    by: Counter[str] = field(default_factory=Counter)
    """Cells by what their time was taken from."""
    left: float = 0.0
    """Bytes that the finished runs leave."""
    held: float = 0.0
    """Bytes of checkpoints at most: if all of them ran at the same time."""
    files: int = 0

    def check(self, limits: Limits, where: str) -> None:
        """Refuse what is above a limit.

        Raises:
            InvalidInput: names the limit, the expectation and how to raise it.
        """
        limits.hold("gpu_hours", self.hours, where, self.basis())
        limits.hold(
            "disk_gb",
            (self.left + self.held) / 1e9,
            where,
            "checkpoints of all runs at once included",
        )
        limits.hold("files", self.files, where, "checkpoints of all runs at once included")

    def basis(self) -> str:
        """What the hours rest on, and for how many cells."""
        return ", ".join(f"{n} of {self.cells} cells {what}" for what, n in self.by.items())

    def lines(self, width: int = 80) -> list[str]:
        """For people."""
        if not self.cells:
            return ["  to run   nothing"]
        said = [
            f"to run   {self.cells} cells: about {time(3600 * self.hours)} of one device, a run at a "
            f"time ({self.basis()})",
            f"disk     {disk(self.left)} stay, at most {disk(self.held)} of checkpoints "
            f"meanwhile; at most {self.files} files",
        ]
        return [
            x
            for s in said
            for x in textwrap.wrap(s, width, initial_indent="  ", subsequent_indent=" " * 11)
        ]


def finished(cells: Sequence[Cell], runs: Path, most: int = 3) -> dict[str, tuple[float, str]]:
    """Median seconds of finished runs from their first word to their last, and the device, by
    configuration.

    Args:
        cells: those that have a result.
        runs: folder of the runs.
        most: runs of a configuration that are looked at.
    """
    took: dict[str, list[tuple[float, str]]] = {}
    for cell in cells:
        mine = took.setdefault(cell.configuration, [])
        if len(mine) < most and (found := _took(cell, runs)):
            mine.append(found)
    return {
        name: (statistics.median(s for s, _ in found), found[-1][1])
        for name, found in took.items()
        if found
    }


def _took(cell: Cell, runs: Path) -> tuple[float, str] | None:
    """Wall time in seconds and device of a run that is done and has a record."""
    found = run_state(cell, runs)
    if found.state != "done" or not found.result or not found.cost.starts:
        return None
    return found.cost.ran, found.result.origin.device


def expect(
    cells: Sequence[Cell],
    ran: dict[str, tuple[float, str]],
    profile: dict[str, Any],
    flops: Callable[[Cell], float],
    state: Callable[[Cell], tuple[int, int]],
    tflops: float,
    keep_weights: bool,
) -> Expected:
    """Add up what the cells will cost: as finished runs of the same configuration did, else as
    measured, else as estimated.

    Args:
        cells: those that are still to run.
        ran: seconds and device of finished runs, by configuration.
        profile: content of a profile file.
        flops: of a whole run, about.
        state: bytes of a cell's weights, and of its checkpoint.
        tflops: 10^12 FLOPs a second that a device is taken to do.
        keep_weights: whether the weights stay.
    """
    out = Expected()
    for cell in cells:
        name = cell.configuration
        measured = profile["cells"].get(name, {})
        epochs = cell.training.epochs
        if name in ran:
            seconds, source = ran[name][0], f"as finished runs on {ran[name][1]}"
        elif "seconds" in measured:
            seconds, source, epochs = (
                measured["seconds"],
                f"measured on {profile.get('device')}",
                measured["epochs"],
            )
        elif cell.training.seconds and not cell.training.step_seconds:
            seconds, source = cell.training.seconds, "by their budget of seconds"
        elif "status" in measured:
            seconds, source = 0.0, f"without room on {profile.get('device')}"
        else:
            seconds, source = (
                flops(cell) / (tflops * 1e12),
                f"estimated from FLOPs at {tflops:g} TFLOP/s",
            )
        weights, checkpoint = state(cell)
        out.cells += 1
        out.hours += seconds / 3600
        out.by[source] += 1
        out.left += TEXT + epochs * (EPOCH + HEAD * cell.modules) + (weights if keep_weights else 0)
        out.held += HELD * checkpoint
        out.files += FILES + HELD + keep_weights
    return out
