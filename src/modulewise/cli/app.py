"""The command line: `modulewise VERB`. Every other file of this folder holds one verb, the function
of its name."""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import sys
from pathlib import Path

import typer

from modulewise import logs
from modulewise.errors import InvalidInput, resource

log = logging.getLogger(__name__)

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def _root() -> None:
    """Train deep nets module by module, and compare every way of doing so under one trainer."""


for _file in pkgutil.iter_modules([str(Path(__file__).parent)]):
    if _file.name != "app":
        app.command(_file.name)(
            getattr(importlib.import_module(f"modulewise.cli.{_file.name}"), _file.name)
        )


def main() -> None:
    """Run a verb; wrong input ends with one line and exit status 2, a full or read-only disk with
    one line and 1."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with logs.terminal():
        try:
            app()
        except InvalidInput as error:
            log.error(error)
            sys.exit(2)
        except OSError as error:
            if (line := resource(error)) is None:
                raise
            log.error(line)
            sys.exit(1)
