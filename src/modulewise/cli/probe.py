"""`modulewise probe`: what every stage of a finished run's net says of label and image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from modulewise.cli._options import Data, Device, Run, Runs, Threads
from modulewise.config.loading import read_json
from modulewise.config.study import StudyOrder
from modulewise.errors import parse
from modulewise.runs.find import RUNS, find

COLUMNS = {
    "stage": ("stage", "d"),
    "linear_error": ("linear\nerror, %", ".2f"),
    "reconstruction": ("reconstruction\nloss, nats", ".4f"),
    "auxiliary_error": ("auxiliary\nerror, %", ".2f"),
    "auxiliary_loss": ("auxiliary\nloss, nats", ".4f"),
}
"""What the study finds -> its heading, and how its numbers are written."""


def probe(
    run: Run,
    runs: Runs = RUNS,
    options: Annotated[str, typer.Option(help="options of the study probe, as JSON")] = "{}",
    data: Data = Path("data"),
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Probe every stage of a finished run's network.

    Prints a table, and writes study~probe.json beside the result. The run must have kept its
    weights.

    Examples:
        modulewise probe d0768ac3
    """
    order = parse(StudyOrder, {"study": "probe", "options": read_json(options, "--options")}, "")
    from modulewise import studies
    from modulewise.engine import device as device_module

    folder = find(run, runs)
    found = studies.make(order, folder, data, device_module.begin(device, threads))
    target = folder / "study~probe.json"
    found.save(target)
    if found.found:
        _show(found.found)
    else:
        print("the run is not done: there is nothing to probe")
    print(target)


def _show(found: Mapping[str, Any]) -> None:
    """Print a row a stage, and what reconstructions range between."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading, _ in COLUMNS.values():
        table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    for row in zip(*(found[name] for name in COLUMNS), strict=True):
        kinds = (kind for _, kind in COLUMNS.values())
        table.add_row(*(f"{value:{kind}}" for value, kind in zip(row, kinds, strict=True)))
    console = Console(markup=False, highlight=False, emoji=False)
    console.print(table)
    print(
        f"\nreconstruction: {found['rebuilt_blind']:.4f} of the mean training image, "
        f"{found['rebuilt_best']:.4f} of the image itself\n"
    )
