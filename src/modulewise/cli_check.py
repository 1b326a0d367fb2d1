"""`modulewise check`: validate a whole sweep before its first job."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from . import references
from .config import Cell, load_sweep, sweep_argument
from .errors import InvalidInput


def check(
    sweep: Annotated[str, typer.Option(help="path of a sweep, or its JSON text")] = "config/sweep.yaml",
    root: Annotated[Path, typer.Option(help="folder that the sweep's relative paths start from")] = Path(),
    data: Annotated[Path, typer.Option(envvar="MODULEWISE_DATA", help="folder of downloaded data")] = Path("data"),
    runs: Annotated[Path, typer.Option(help="folder of the runs")] = Path("results/runs"),
) -> None:
    """Build every distinct net and method of a sweep without data: a bad option dies in seconds, not after the first jobs."""
    config, where = sweep_argument(sweep)
    made, book, cells = load_sweep(config, root, where)
    references.load(book.recipes_file.with_name(references.FILE))
    distinct: dict[tuple[object, ...], Cell] = {}
    for cell in cells:
        key = (cell.dataset, cell.network, cell.recipe, cell.modules, cell.training.schedule, cell.training.train_images)
        distinct.setdefault(key, cell)
    from . import preflight

    shapes = {}
    for name, cell in {c.dataset: c for c in distinct.values()}.items():
        try:
            shapes[name] = preflight.image(cell, data)
        except InvalidInput as error:
            raise InvalidInput(f"{root / made.datasets}: datasets.{name}: {error}") from None
    for cell in distinct.values():
        try:
            preflight.subset(cell)
            preflight.build(cell, *shapes[cell.dataset])
        except InvalidInput as error:
            raise InvalidInput(f"{where}: {error}") from None
    done = sum((runs / c.path / "result.json").exists() for c in cells)
    print(f"sweep {made.sweep}: {len(cells)} cells, {done} finished, {len(distinct)} distinct configurations checked")
    for axis in ("dataset", "network", "recipe", "modules", "seed"):
        counts = Counter(str(getattr(c, axis)) for c in cells)
        print(f"  {axis:<8} {', '.join(f'{name} ({n})' for name, n in counts.items())}")
