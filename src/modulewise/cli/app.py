"""The command line: `modulewise VERB`. Every other file of this folder holds one verb, the function
of its name."""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import sys
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from modulewise import logs
from modulewise.errors import InvalidInput, resource

log = logging.getLogger(__name__)

VERBS = [f.name for f in pkgutil.iter_modules([str(Path(__file__).parent)]) if f.name != "app"]


class Verbs(TyperGroup):
    """Verbs, each loaded from its file when it is asked for: what the others import costs it no
    time."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = dict.fromkeys(VERBS)  # type: ignore[assignment]  # loaded when asked for

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A verb by its name; `None` if there is no such verb."""
        if cmd_name not in VERBS:
            return None
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        module = importlib.import_module(f"modulewise.cli.{cmd_name}")
        alone.command(cmd_name)(getattr(module, cmd_name))
        return typer.main.get_command(alone)


app = typer.Typer(
    cls=Verbs, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False
)


@app.callback()
def _root() -> None:
    """Train deep nets module by module, and compare every way of doing so under one trainer."""


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
