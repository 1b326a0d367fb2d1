"""`modulewise check`: validate a whole sweep before its first job."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from modulewise.cli._options import Data, Runs, Sweep
from modulewise.config import references
from modulewise.config.plan import Plan, load_plan
from modulewise.errors import InvalidInput
from modulewise.planning import estimate, timings
from modulewise.runs import result
from modulewise.runs.files import WEIGHTS


def check(
    sweep: Sweep = Path("config/sweep.yaml"),
    root: Annotated[
        Path, typer.Option(help="folder that the sweep's relative paths start from")
    ] = Path(),
    data: Data = Path("data"),
    runs: Runs = Path("results/runs"),
    profile: Annotated[
        Path, typer.Option(help="folder of what `modulewise profile` measured")
    ] = Path("results/profile"),
) -> None:
    """Validate a sweep and say what it takes.

    Every model is built without data, so that mistakes show before the first job; then what is
    known of run time, and disk and files, of the cells that are still to run.

    Examples:
        modulewise check
        modulewise check --sweep config/demo.yaml
    """
    plan = load_plan(sweep, root)
    exhibit = plan.sweep.exhibit
    references.check_sources(
        plan.catalog.recipes_file.with_name(references.FILE),
        exhibit.sources if exhibit else (),
        f"{plan.where}: exhibit.sources",
    )
    from modulewise.planning.preflight import Preflight

    built = Preflight(plan, data)
    done = [c for c in plan.cells if result.exists(runs / c.path)]
    print(
        f"sweep {plan.sweep.sweep}: {len(plan.cells)} cells, {len(done)} finished, "
        f"{len(built.distinct)} distinct configurations checked"
    )
    _show([*_axes(plan), *_studies(plan, runs)])
    finished = {c.path for c in done}
    left = [c for c in plan.cells if c.path not in finished]
    times = estimate.Times(estimate.finished(done, runs), timings.read(profile / timings.MEASURED))
    expected = estimate.expect(left, times, built, plan.keeps_weights)
    _show(expected.rows(plan.sweep.limits))
    if expected.unmeasured:
        print("  measure ", shlex.join(["modulewise", "profile", "--sweep", str(sweep)]))
    expected.check(plan.sweep.limits, plan.where)


def _axes(plan: Plan) -> list[tuple[str, str]]:
    """What the cells are, a row an axis; and whether they are trials."""
    rows = []
    for axis in ("dataset", "network", "recipe", "modules", "seed"):
        counts = Counter(str(getattr(cell, axis)) for cell in plan.cells)
        rows.append((axis, ", ".join(f"{name} ({n})" for name, n in counts.items())))
    several = Counter(cell.training.devices for cell in plan.cells)
    if several.keys() != {1}:
        rows.append(("devices", ", ".join(f"{d} ({n})" for d, n in sorted(several.items()))))
    known = plan.catalog.recipes.recipes
    if apart := [r for r in dict.fromkeys(c.recipe for c in plan.cells) if known[r].experimental]:
        said = "the report shows them in a section of their own"
        rows.append(("experimental", f"{', '.join(apart)}: {said}"))
    rows += _baseline(plan)
    if plan.same and not plan.tuning:
        rows.append(("same", f"{', '.join(_same(plan))}: trained once, shown in both rows"))
    if plan.tuning:
        after = (
            f"the {len(plan.reported)} reported cells are for the second run of the same command"
        )
        rows.append(("tuning", f"these are trials; {after}"))
    elif plan.sweep.tune:
        rows.append(("tuning", "done: these are the reported cells, as tuned"))
    return rows


def _same(plan: Plan) -> list[str]:
    """Recipes whose training at some K is another's, such as `contsup-r1e K=2 as contsup-e`."""
    pairs = [(cell, plan.run_of(cell)) for _, cell in plan.rows if cell.path in plan.same]
    found = (f"{cell.recipe} K={cell.modules} as {run.recipe}" for cell, run in pairs)
    return list(dict.fromkeys(found))


def _baseline(plan: Plan) -> list[tuple[str, str]]:
    """Where the report has nothing to compare with; no row if there is a baseline everywhere."""
    baseline = plan.catalog.baseline(dict.fromkeys(cell.recipe for _, cell in plan.rows))
    places: dict[str, bool] = {}
    for _, cell in plan.reported:
        place = f"{cell.dataset} {cell.network}"
        places[place] = places.get(place, False) or cell.recipe == baseline
    bare = [place for place, has in places.items() if not has]
    of = f" for {', '.join(bare)}" if len(bare) < len(places) else ""
    said = f"none{of}: the report has no gaps, costs as they are; add {baseline or 'backprop'}"
    return [("baseline", said)] * bool(bare)


def _studies(plan: Plan, runs: Path) -> list[tuple[str, str]]:
    """How many measurements there are, and how many are made.

    Raises:
        InvalidInput: a study refuses its options, or cannot be made of a run that is finished.
    """
    from modulewise import studies

    for name, config in plan.sweep.studies.items():
        studies.build(name, config.options, f"{plan.where}: studies.{name}")
    left = [s for s in plan.studies if not (runs / s.path).exists()]
    bare = {s.cell.path for s in left if result.exists(runs / s.cell.path)}
    bare = {path for path in bare if not (runs / path / WEIGHTS).exists()}
    if bare:
        raise InvalidInput(
            f"{plan.where}: studies: {len(bare)} finished run{'s' if len(bare) > 1 else ''} kept "
            f"no weights, such as {runs / min(bare)}; remove {result.FILE} there to train again"
        )
    made = Counter(s.name for s in plan.studies if s not in left)
    counts = Counter(s.name for s in plan.studies)
    texts = (
        f"{name} ({n}{f', {made[name]} made' * (made[name] > 0)})" for name, n in counts.items()
    )
    return [("studies", ", ".join(texts))] if counts else []


def _show(rows: list[tuple[str, str]]) -> None:
    """Print titles and texts, which are wrapped."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True, min_width=len("modules "))
    table.add_column()
    for title, text in rows:
        table.add_row(title, text)
    console = Console(markup=False, highlight=False, emoji=False)
    console.print(Padding(table, (0, 0, 0, 2)))
