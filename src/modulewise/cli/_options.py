"""Arguments and options that several verbs take, each said once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from modulewise.cli import _complete
from modulewise.errors import InvalidInput

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


def alone(ctx: typer.Context, option: str, others: Iterable[str]) -> None:
    """Refuse options that would not be looked at.

    Args:
        ctx: of the verb.
        option: that says everything.
        others: names of the arguments that it says.

    Raises:
        InvalidInput: one of them is given too.
    """
    # By its name: typer may have a click of its own.
    sources = {name: ctx.get_parameter_source(name) for name in others}
    if given := [name for name, source in sources.items() if source and source.name != "DEFAULT"]:
        words = ", ".join(f"--{name.strip('_').replace('_', '-')}" for name in given)
        raise InvalidInput(
            f"{ctx.info_name}: {option} says everything; leave out {words}, or leave out {option}"
        )
