"""`modulewise track`: make MLflow equal to the run folders."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from modulewise import logs
from modulewise.tracking import mirror

log = logging.getLogger(__name__)


def track(
    runs: Annotated[Path, typer.Option(help="folder that run folders lie in")] = Path(
        "results/runs"
    ),
    uri: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI", help="MLflow server or database; beside RUNS if not given"
        ),
    ] = None,
    sweep: Annotated[
        str | None, typer.Option(help="tag runs that belong to no sweep yet with this name")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="repeat until interrupted")] = False,
    every: Annotated[
        float, typer.Option(min=0.1, help="seconds between two passes of --follow")
    ] = 15.0,
) -> None:
    """Make MLflow equal to the run folders.

    Exit status 1 means that not everything could be sent; run it again.

    Examples:
        modulewise track
        modulewise track --follow --uri http://mlflow.example.org:5000
    """
    place, artifacts = mirror.address(runs, uri)
    try:
        if follow:
            keep_tracking(runs, place, artifacts, sweep, every)
        else:
            counts = mirror.mirror(runs, place, artifacts, sweep)
    except KeyboardInterrupt:
        return
    except mirror.Unreachable as error:
        log.error(error)
        sys.exit(1)
    print(counts)
    sys.exit(1 if counts.failed else 0)


def keep_tracking(
    runs: Path,
    uri: str,
    artifacts: Path | None,
    sweep: str | None,
    every: float,
    before: Callable[[], None] | None = None,
) -> NoReturn:
    """Mirror again and again; print a line for each pass that did something and for each new error.

    Args:
        runs: folder of the run folders.
        uri: where to, see `tracking.address`.
        artifacts: folder of artifacts, see there.
        sweep: tag runs that belong to no sweep yet with this name.
        every: seconds between two passes.
        before: called before every pass; what it raises ends it.
    """
    passes: Iterator[mirror.Counts] | None = None
    with logs.once(log, mirror.log) as once:
        while True:
            if before:
                before()
            passes = passes or mirror.passes(runs, uri, artifacts, sweep)
            try:
                counts = next(passes)
                if counts.reports or counts.unchanged + counts.failed < counts.runs:
                    print(time.strftime("%H:%M:%S "), counts, flush=True)
                if not counts.failed:
                    once.forget()
            except mirror.StoreDeleted:
                raise
            except mirror.Unreachable as error:
                passes = None
                log.warning(f"{error}; trying again every {every:g} s")
            time.sleep(every)
