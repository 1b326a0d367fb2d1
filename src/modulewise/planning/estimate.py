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
from modulewise.units import disk, time, work

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
    """What is known of a run's time."""

    seconds: float | None
    """Seconds of the whole run; `None` if nothing was measured."""
    epochs: int
    """Number of epochs."""
    source: str = ""
    """What the time was taken from, in words."""


@dataclass(frozen=True)
class Times:
    """What is known of run times."""

    ran: dict[str, tuple[float, str]]
    """Seconds and device of finished runs, by configuration."""
    profile: dict[str, Any]
    """Content of a profile file."""

    def of(self, cell: Cell, costs: Costs) -> RunTime:
        """Time of a cell's run: as finished runs of its configuration took, else as measured, else
        its budget in seconds, else unknown: a speed that nobody measured can be wrong by a factor
        of a hundred."""
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
        return RunTime(None, epochs)


@dataclass
class Expected:
    """Expected costs of all cells that are still to run."""

    cells: int = 0
    """Number of these cells."""
    hours: float = 0.0
    """Hours of one device, a run at a time, of the cells whose time is known."""
    by: Counter[str] = field(default_factory=Counter)
    """Number of these cells by what their time was taken from."""
    unmeasured: int = 0
    """Number of the other cells."""
    flops: float = 0.0
    """What those compute, about."""
    left: float = 0.0
    """Bytes that the finished runs leave."""
    held: float = 0.0
    """Bytes of checkpoints at most: if all of them ran at the same time."""
    files: int = 0
    """Number of files at most."""

    def check(self, limits: Limits, where: str) -> None:
        """Refuse what is above a limit; hours of cells that were not measured count as none.

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

    def rows(self, limits: Limits) -> list[tuple[str, str]]:
        """Titles and texts, for people.

        Args:
            limits: of the sweep.
        """
        if not self.cells:
            return [("to run", "nothing")]
        return [
            ("to run", self._to_run()),
            *self._limit(limits),
            (
                "disk",
                f"{disk(self.left)} stay, at most {disk(self.held)} of checkpoints meanwhile; at "
                f"most {self.files} files",
            ),
        ]

    def _to_run(self) -> str:
        """How many cells, and what is known of their time."""
        if not self.unmeasured:
            return f"{self.cells} cells: {self._hours()}"
        unknown = f"time not measured: about {work(self.flops)}"
        if not self.by:
            return f"{self.cells} cells, {unknown}"
        return f"{self.cells} cells: {self._hours()}; {self.unmeasured}, {unknown}"

    def _hours(self) -> str:
        return f"about {time(3600 * self.hours)} of one device, a run at a time ({self.basis()})"

    def _limit(self, limits: Limits) -> list[tuple[str, str]]:
        """That a limit of hours does not hold for all cells."""
        if not (limits.gpu_hours and self.unmeasured):
            return []
        held = self.cells - self.unmeasured
        text = f"gpu_hours: {limits.gpu_hours:g} holds for the {held} of {self.cells} cells whose "
        return [("limit", text + "time is known")]


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
        if took.seconds is None:
            out.unmeasured += 1
            out.flops += costs.flops(cell)
        else:
            out.hours += took.seconds / 3600 * cell.training.devices
            out.by[took.source] += 1
        out.left += TEXT + took.epochs * (EPOCH + HEAD * cell.modules) + weights * kept
        out.held += HELD * checkpoint
        out.files += FILES + HELD + kept
    return out
