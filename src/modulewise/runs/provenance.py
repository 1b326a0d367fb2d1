"""Hash of the source files that decide one cell's numbers; a result with another hash is stale.

They are the trainer, the loading of data, and the files that the cell names: its method, network,
schedule, task and source of data; and whatever these import inside the package. So a new method, or
an edit in another network, leaves a finished result as it is. Nothing is imported to find out: the
import statements are read.
"""

from __future__ import annotations

import ast
import hashlib
import re
from functools import cache
from pathlib import Path

from modulewise.config.cell import Cell

PACKAGE = Path(__file__).parents[1]
SHARED = ("engine/trainer.py", "data/load.py")
"""Files that every run uses."""
LEFT_OUT = frozenset(
    [
        "__init__",
        "cli",
        "errors",
        "files",
        "logs",
        "planning",
        "report",
        "runs",
        "status",
        "tracking",
        "units",
    ]
)
"""Modules and folders that record, word, plan or show: no number of a training depends on them."""


def source_hash(cell: Cell, package: Path = PACKAGE) -> str:
    """Twelve hexadecimal digits over names and contents of the files that decide a cell's numbers.

    Args:
        cell: names the method, the network, the schedule, the task and the source of data.
        package: folder of the package's source.
    """
    return _hash(package, (*_seen(cell, package), f"schedules/{cell.training.schedule}.py"))


def study_hash(study: str, cell: Cell, package: Path = PACKAGE) -> str:
    """Likewise of the files that decide what a study finds on a run of the cell: its own, and those
    that the net's outputs depend on."""
    return _hash(package, (*_seen(cell, package), f"studies/{study}.py"))


def _seen(cell: Cell, package: Path) -> tuple[str, ...]:
    """Files that the net's outputs depend on, once it has its weights."""
    named = {
        "methods": cell.method,
        "tasks": cell.data.task,
        "data/sources": cell.data.source,
        "models": _family(package, cell.network),
    }
    return tuple(f"{room}/{name}.py" for room, name in named.items())


@cache
def _hash(package: Path, named: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for path in sorted(_with_imports(package, {package / name for name in (*SHARED, *named)})):
        name = path.relative_to(package).as_posix()
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _with_imports(package: Path, files: set[Path]) -> set[Path]:
    """The files and all that they import, directly or through others, but for what is left out."""
    found: set[Path] = set()
    while files:
        file = files.pop()
        room = file.relative_to(package).parts[0].removesuffix(".py")
        if file not in found and room not in LEFT_OUT and file.is_file():
            found.add(file)
            files |= _imports(package, file)
    return found


@cache
def _imports(package: Path, file: Path) -> frozenset[Path]:
    """Files of the package that a file's import statements name, wherever they stand."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(
        path
        for name in names
        if name.startswith(f"{package.name}.")
        for path in _files(package, name.split(".")[1:])
    )


def _files(package: Path, parts: list[str]) -> set[Path]:
    """Files that `import package.part.part` runs; the last parts may name something in a file."""
    folders = [package.joinpath(*parts[:n]) for n in range(1, len(parts) + 1)]
    files = {path for f in folders for path in (f / "__init__.py", f.with_suffix(".py"))}
    return {file for file in files if file.is_file()}


def _family(package: Path, network: str) -> str:
    """Name of the file in `models` that builds a network, by its `PATTERN`; empty if none does."""
    matches = (n for n, pattern in _patterns(package).items() if re.fullmatch(pattern, network))
    return next(matches, "")


@cache
def _patterns(package: Path) -> dict[str, str]:
    return {
        file.stem: ast.literal_eval(node.value)
        for file in sorted((package / "models").glob("*.py"))
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == "PATTERN" for t in node.targets)
    }
