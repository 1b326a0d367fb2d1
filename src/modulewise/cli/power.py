"""`modulewise power`: what a sweep's planned contrasts can detect."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from modulewise.cli._options import Sweep
from modulewise.config.plan import load_plan
from modulewise.errors import InvalidInput


def power(
    sweep: Sweep = Path("config/sweep.yaml"),
    root: Annotated[
        Path, typer.Option(help="folder that the sweep's relative paths start from")
    ] = Path(),
    sd: Annotated[
        float | None,
        typer.Option(help="standard deviation over seeds; the sweep's if not given"),
    ] = None,
) -> None:
    """Say what a sweep's contrasts can detect with its seeds.

    The smallest true effect, and the smallest margin of an equivalence, that 80 % of repetitions
    show.

    Examples:
        modulewise power --sweep config/evidence/cifar10-resnet14.yaml
    """
    if sd is not None and not 0 < sd < math.inf:
        raise InvalidInput(f"--sd: a number above 0, got {sd:g}")
    plan = load_plan(sweep, root)
    analysis = plan.sweep.analysis
    if analysis is None:
        raise InvalidInput(f"{sweep}: no analysis is planned; give analysis: {{n, primary}}")
    assumed = analysis.sd if sd is None else sd
    if assumed is None:
        raise InvalidInput(f"{sweep}: analysis.sd: missing; give it, or --sd")
    from rich.console import Console
    from rich.table import Table

    from modulewise.detection import POWER
    from modulewise.planning.power import detectable

    table = Table(box=None, pad_edge=False)
    for name in ("family", "contrast", "level"):
        table.add_column(name)
    for name in ("standard error", f"shown at {POWER:.0%}"):
        table.add_column(name, justify="right")
    for it in detectable(plan, analysis, assumed):
        effect = f"{'± ' if it.contrast.equivalence else ''}{it.effect:.2f}"
        table.add_row(it.family, it.contrast.name, f"{it.level:.4g}", f"{it.error:.2f}", effect)
    console = Console(markup=False, highlight=False, emoji=False)
    console.print(table)
    source = "" if sd is not None else f" ({analysis.sd_source})" if analysis.sd_source else ""
    print(f"n = {analysis.n} seeds; standard deviation of a cell over seeds {assumed:g}{source}")
