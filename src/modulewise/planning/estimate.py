"""What the cells of a sweep that are still to run will cost: time, disk, files."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

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


class Costs(Protocol):
    """Costs of runs that can be counted beforehand."""

    def flops(self, cell: Cell) -> float:
        """FLOPs of a cell's whole run, about."""

    def epochs(self, cell: Cell) -> int:
        """Epochs of a cell's whole run; of a budget in FLOPs, about."""

    def state_bytes(self, cell: Cell) -> tuple[int, int]:
        """Bytes of a cell's weights, and of its checkpoint."""


class RunTime(NamedTuple):
    """Expected time of a run."""

    seconds: float
    """Seconds of the whole run."""
    epochs: int
    """Number of epochs."""
    source: str
    """What the time was taken from, in words."""


@dataclass(frozen=True)
class Times:
    """What is known of run times."""

    ran: dict[str, tuple[float, str]]
    """Seconds and device of finished runs, by configuration."""
    profile: dict[str, Any]
    """Content of a profile file."""
    tflops: float
    """Speed that a device is taken to have where nothing is measured, in 10^12 FLOPs a second."""

    def of(self, cell: Cell, costs: Costs) -> RunTime:
        """Time of a cell's run: as finished runs of its configuration took, else as measured, else
        by its budget in seconds, else from its FLOPs."""
        name, device = cell.configuration, self.profile.get("device")
        measured, t = self.profile["cells"].get(name, {}), cell.training
        epochs = costs.epochs(cell)
        if name in self.ran:
            seconds, device = self.ran[name]
            return RunTime(seconds, epochs, f"as finished runs on {device}")
        if "seconds" in measured:
            return RunTime(measured["seconds"], measured["epochs"], f"measured on {device}")
        if t.seconds and not t.step_seconds:
            return RunTime(t.seconds, epochs, "by their budget of seconds")
        if "status" in measured:
            return RunTime(0.0, epochs, f"out of memory on {device}")
        speed = f"estimated from FLOPs at {self.tflops:g} TFLOP/s"
        return RunTime(costs.flops(cell) / (self.tflops * 1e12), epochs, speed)


@dataclass
class Expected:
    """Expected costs of all cells that are still to run."""

    cells: int = 0
    """Number of these cells."""
    hours: float = 0.0
    """Hours of one device, a run at a time."""
    by: Counter[str] = field(default_factory=Counter)
    """Number of cells by what their time was taken from."""
    left: float = 0.0
    """Bytes that the finished runs leave."""
    held: float = 0.0
    """Bytes of checkpoints at most: if all of them ran at the same time."""
    files: int = 0
    """Number of files at most."""

    def check(self, limits: Limits, where: str) -> None:
        """Refuse what is above a limit.

        Raises:
            InvalidInput: names the limit, the expectation and how to raise it.
        """
        disk_gb, meanwhile = (self.left + self.held) / 1e9, "with the checkpoints of all runs"
        limits.hold("gpu_hours", self.hours, where, self.basis())
        limits.hold("disk_gb", disk_gb, where, meanwhile)
        limits.hold("files", self.files, where, meanwhile)

    def basis(self) -> str:
        """What the hours rest on, and for how many cells."""
        return ", ".join(f"{n} of {self.cells} cells {what}" for what, n in self.by.items())

    def rows(self) -> list[tuple[str, str]]:
        """Titles and texts, for people."""
        if not self.cells:
            return [("to run", "nothing")]
        return [
            (
                "to run",
                f"{self.cells} cells: about {time(3600 * self.hours)} of one device, a run at a "
                f"time ({self.basis()})",
            ),
            (
                "disk",
                f"{disk(self.left)} stay, at most {disk(self.held)} of checkpoints meanwhile; at "
                f"most {self.files} files",
            ),
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
    cells: Sequence[Cell], times: Times, costs: Costs, keeps_weights: Callable[[Cell], bool]
) -> Expected:
    """Add up what the cells will cost.

    Args:
        cells: those that are still to run.
        times: what is known of run times.
        costs: what can be counted.
        keeps_weights: whether the weights of a cell stay.
    """
    out = Expected()
    for cell in cells:
        took = times.of(cell, costs)
        weights, checkpoint = costs.state_bytes(cell)
        kept = keeps_weights(cell)
        out.cells += 1
        out.hours += took.seconds / 3600
        out.by[took.source] += 1
        out.left += TEXT + took.epochs * (EPOCH + HEAD * cell.modules) + weights * kept
        out.held += HELD * checkpoint
        out.files += FILES + HELD + kept
    return out
