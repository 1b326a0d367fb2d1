"""`modulewise report`: make a sweep's report of whatever runs exist."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from modulewise.cli._options import Runs, Sweep
from modulewise.config.plan import Plan, load_plan
from modulewise.errors import InvalidInput
from modulewise.runs import result


def report(
    sweep: Sweep = Path("config/sweep.yaml"),
    runs: Runs = Path("results/runs"),
    out: Annotated[
        Path | None, typer.Option(help="where to write; results/reports/SWEEP if not given")
    ] = None,
    root: Annotated[
        Path, typer.Option(help="folder that the sweep's relative paths start from")
    ] = Path(),
    all_figures: Annotated[
        bool, typer.Option("--all-figures", help="draw all figures of a sweep that has very many")
    ] = False,
    rerun: Annotated[
        str | None,
        typer.Option(
            envvar="MODULEWISE_RERUN", help="the command that trains a cell again, for the page"
        ),
    ] = None,
) -> None:
    """Write a sweep's report of whatever runs exist.

    Writes report.html, tables/ and figures/; runs that are missing, going on or failed are shown as
    such.

    Examples:
        modulewise report
        modulewise report --sweep config/demo.yaml --out /tmp/demo
    """
    plan = load_plan(sweep, root)
    if plan.tuning:
        done = sum(result.exists(runs / c.path) for c in plan.cells)
        print(
            f"{done} of {len(plan.cells)} runs of trials done; the report is made of what they "
            f"choose"
        )
        return
    from modulewise.report import brief, build

    target = out or Path("results/reports") / plan.sweep.sweep
    try:
        page = build(plan, runs, target, all_figures, rerun or _rerun(plan, sweep, runs))
    except OSError as error:
        raise InvalidInput(f"{error.filename or target}: {error.strerror or error}") from None
    for line in brief(page.parent):
        print(line)
    print(page)


def _rerun(plan: Plan, sweep: Path, runs: Path) -> str:
    """The command for a page that is made by hand."""
    if not plan.cells:
        return ""
    target = str(runs / plan.cells[0].path / result.FILE)
    base = ["snakemake", "--profile", "profiles/local", "--configfile", str(sweep)]
    return shlex.join([*base, "--forcerun", target])
