"""The command line: `modulewise VERB`. Every other file of this folder holds one verb, the function
of its name; the first line of its docstring is what the list of verbs shows, and `Examples:` ends
it."""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import os
import pkgutil
import platform
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

import modulewise
from modulewise import logs
from modulewise.errors import InvalidInput, resource
from modulewise.runs.checkout import git_commit

log = logging.getLogger(__name__)
FOLDER = Path(__file__).parent
VERBS = [
    f.name for f in pkgutil.iter_modules([str(FOLDER)]) if f.name != "app" and f.name[0] != "_"
]


class Verbs(TyperGroup):
    """Verbs, each loaded from its file when it is called; lists and completion read the first line
    of its docstring and load none."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = dict.fromkeys(VERBS)  # type: ignore[assignment]  # loaded when called

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Name and line of a verb; `None` if there is no such verb."""
        return TyperCommand(cmd_name, help=_line(cmd_name)) if cmd_name in VERBS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that is called, with its options, and the words that follow it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load(str(name)), rest


def load(verb: str) -> Any:
    """A verb with its options, from its file."""
    function = getattr(importlib.import_module(f"modulewise.cli.{verb}"), verb)
    text, _, examples = (inspect.getdoc(function) or "").partition("\n\nExamples:\n")
    words = "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
    lines = "\n".join(["\b", "Examples:", *examples.splitlines()])  # \b: lines stay as they are
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(verb, help=words, epilog=escape(lines) if examples else None)(function)
    return typer.main.get_command(alone)


@cache
def _line(verb: str) -> str:
    """The first line of a verb's docstring."""
    nodes = ast.parse((FOLDER / f"{verb}.py").read_text()).body
    function = next(n for n in nodes if isinstance(n, ast.FunctionDef) and n.name == verb)
    return (ast.get_docstring(function) or "").partition("\n")[0]


app = typer.Typer(cls=Verbs, no_args_is_help=True, pretty_exceptions_enable=False)


def _version(asked: bool) -> None:
    """Say which modulewise this is, and end."""
    if not asked:
        return
    parts = [f"Python {platform.python_version()}", f"torch {version('torch')}"]
    if commit := git_commit():
        parts.insert(0, f"commit {commit}")
    print(f"modulewise {modulewise.__version__} ({', '.join(parts)})")
    raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="say the version")
    ] = False,
) -> None:
    """Train deep nets module by module, and compare every way of doing so under one trainer."""


def main() -> None:
    """Run a verb; wrong input ends with one line and exit status 2, a full or read-only disk with
    one line and 1."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with logs.terminal():
        try:
            app(prog_name="modulewise")
        except InvalidInput as error:
            log.error(error)
            sys.exit(2)
        except OSError as error:
            if (line := resource(error)) is None:
                raise
            log.error(line)
            sys.exit(1)
