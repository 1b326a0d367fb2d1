"""`modulewise report`: make a sweep's report of whatever runs exist."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modulewise.config.resolve import load_sweep, sweep_argument
from modulewise.errors import InvalidInput


def report(
    sweep: Annotated[
        str, typer.Option(help="path of a sweep, or its JSON text")
    ] = "config/sweep.yaml",
    runs: Annotated[Path, typer.Option(help="folder of the runs")] = Path("results/runs"),
    out: Annotated[
        Path | None, typer.Option(help="where to write; results/reports/SWEEP if not given")
    ] = None,
    root: Annotated[
        Path, typer.Option(help="folder that the sweep's relative paths start from")
    ] = Path(),
) -> None:
    """Write report.html, tables/ and figures/; runs that are missing, going on or failed are shown
    as such."""
    config, where = sweep_argument(sweep)
    what, catalog, cells = load_sweep(config, root, where)
    if what.tune and catalog.tuned is None:
        done = sum((runs / c.path / "result.json").exists() for c in cells)
        print(f"{done} of {len(cells)} runs of trials done; the report is made of what they choose")
        return
    from modulewise.report import build

    target = out or Path("results/reports") / what.sweep
    try:
        page = build(what, catalog, cells, runs, target)
    except OSError as error:
        raise InvalidInput(f"{error.filename or target}: {error.strerror or error}") from None
    print(page)
