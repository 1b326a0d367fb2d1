"""The command line: `modulewise VERB`. Every file `cli_<verb>.py` holds one verb, the function of that name."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys

import typer

import modulewise

from .errors import InvalidInput, resource

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def _root() -> None:
    """Train deep nets module by module, and compare every way of doing so under one trainer."""


for _file in pkgutil.iter_modules(modulewise.__path__):
    if _file.name.startswith("cli_"):
        _verb = _file.name.removeprefix("cli_")
        app.command(_verb)(getattr(importlib.import_module(f"modulewise.{_file.name}"), _verb))


def main() -> None:
    """Run a verb; wrong input ends with one line and exit status 2, a full or read-only disk with one line and 1."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        app()
    except InvalidInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if (line := resource(error)) is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(1)
