"""`modulewise check`: validate a whole sweep before its first job."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from modulewise.config import references
from modulewise.config.cell import Cell
from modulewise.config.plan import load_plan
from modulewise.data import sources
from modulewise.errors import InvalidInput, choose
from modulewise.planning import estimate, timings
from modulewise.runs import result

Key = tuple[str, str, str, int, str, int | None]


def check(
    sweep: Annotated[Path, typer.Option(help="path of the sweep")] = Path("config/sweep.yaml"),
    root: Annotated[
        Path, typer.Option(help="folder that the sweep's relative paths start from")
    ] = Path(),
    data: Annotated[
        Path, typer.Option(envvar="MODULEWISE_DATA", help="folder of downloaded data")
    ] = Path("data"),
    runs: Annotated[Path, typer.Option(help="folder of the runs")] = Path("results/runs"),
    profile: Annotated[
        Path, typer.Option(help="folder of what `modulewise profile` measured")
    ] = Path("results/profile"),
    tflops: Annotated[
        float,
        typer.Option(
            envvar="MODULEWISE_TFLOPS",
            min=1e-6,
            help="10^12 FLOPs a second, where nothing is measured",
        ),
    ] = 5.0,
) -> None:
    """Build every distinct net and method of a sweep without data, and say what its runs will cost:
    mistakes die in seconds."""
    plan = load_plan(sweep, root)
    made, catalog, cells, where = plan.sweep, plan.catalog, plan.cells, plan.where
    published = {r.source for r in references.load(catalog.recipes_file.with_name(references.FILE))}
    named = made.exhibit.sources if made.exhibit else ()
    if named and published and published.isdisjoint(named):
        raise choose(
            named[0], published, f"source of {references.FILE}", f"{where}: exhibit.sources"
        )
    distinct: dict[Key, Cell] = {}
    for cell in cells:
        distinct.setdefault(_key(cell), cell)
    from modulewise.planning import preflight

    shapes = {}
    for name, cell in {c.dataset: c for c in distinct.values()}.items():
        try:
            shapes[name] = preflight.image(cell, data)
        except InvalidInput as error:
            raise InvalidInput(f"{root / made.datasets}: datasets.{name}: {error}") from None

    @cache
    def images(dataset: str) -> tuple[int, int]:
        return sources.sizes(catalog.datasets[dataset], data)

    methods, networks = {}, preflight.Networks()
    for key, cell in distinct.items():
        try:
            preflight.subset(cell, images(cell.dataset)[0])
            methods[key] = preflight.build(cell, *shapes[cell.dataset], networks)
        except InvalidInput as error:
            raise InvalidInput(f"{where}: {error}") from None
    done = [c for c in cells if result.exists(runs / c.path)]
    print(
        f"sweep {made.sweep}: {len(cells)} cells, {len(done)} finished, {len(distinct)} distinct "
        f"configurations checked"
    )
    for axis in ("dataset", "network", "recipe", "modules", "seed"):
        counts = Counter(str(getattr(c, axis)) for c in cells)
        print("\n".join(_wrapped(axis, ", ".join(f"{name} ({n})" for name, n in counts.items()))))
    if made.tune:
        after = f"these are trials; the {len(plan.reported)} reported cells are for the second run of the same command"
        print(
            "\n".join(
                _wrapped(
                    "tuning",
                    after if plan.tuning else "done: these are the reported cells, as tuned",
                )
            )
        )

    @cache
    def counted(key: Key) -> float:
        cell = distinct[key]
        train = images(cell.dataset)[0]
        return preflight.step_flops(methods[key], cell, shapes[cell.dataset][0], train)

    def flops(cell: Cell) -> float:
        if cell.training.flops:
            return cell.training.flops
        t, (train, test) = cell.training, images(cell.dataset)
        used = min(t.train_images or train, train)
        epochs = t.epochs
        if t.seconds and t.step_seconds:
            epochs = max(1, int(t.seconds / (math.ceil(used / t.batch_size) * t.step_seconds)))
        alike = {
            key[3]: key for key in distinct if key[:3] + key[4:] == _key(cell)[:3] + _key(cell)[4:]
        }
        least, most = min(alike), max(alike)
        low, high = (
            counted(alike[least]),
            counted(alike[most]),
        )  # between the ends, about linear in K
        per_image = low + (high - low) * (cell.modules - least) / max(1, most - least)
        return epochs * per_image * (used + test / 3)

    finished = {c.path for c in done}
    todo = [c for c in cells if c.path not in finished]
    ran, known = estimate.finished(done, runs), timings.read(profile / timings.MEASURED)
    states = {key: preflight.state_bytes(methods[key], cell) for key, cell in distinct.items()}
    expected = estimate.expect(
        todo, ran, known, flops, lambda c: states[_key(c)], tflops, made.keep_weights == "last"
    )
    print("\n".join(expected.lines()))
    expected.check(made.limits, where)


def _wrapped(word: str, text: str, width: int = 80) -> list[str]:
    """A line of the summary, and more below it where it is long."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=f"  {word:<8} ",
        subsequent_indent=" " * 11,
        break_on_hyphens=False,
    )


def _key(cell: Cell) -> Key:
    """Cells of the same key are built alike."""
    return (
        cell.dataset,
        cell.network,
        cell.recipe,
        cell.modules,
        cell.training.schedule,
        cell.training.train_images,
    )
