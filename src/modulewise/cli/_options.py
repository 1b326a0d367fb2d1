"""Arguments and options that several verbs take, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modulewise.cli import _complete

WHICH = "a run's folder, its result.json, or the beginning of its id or path"

Run = Annotated[str, typer.Argument(help=WHICH, autocompletion=_complete.runs)]
Runs = Annotated[Path, typer.Option(help="folder of the runs")]
Data = Annotated[Path, typer.Option(envvar="MODULEWISE_DATA", help="folder of downloaded data")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        envvar="MODULEWISE_WORKERS",
        help="processes that decode pictures; one less than CPUs",
    ),
]
Sweep = Annotated[Path, typer.Option(help="path of the sweep")]
