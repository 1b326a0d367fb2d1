"""`modulewise tune`: choose every recipe's settings by what its trials reach on held-out images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modulewise.cli._options import Runs, Sweep
from modulewise.config import trials
from modulewise.config.plan import load_plan
from modulewise.errors import InvalidInput
from modulewise.planning import choose


def tune(
    sweep: Sweep = Path("config/sweep.yaml"),
    runs: Runs = Path("results/runs"),
    out: Annotated[
        Path | None, typer.Option(help="file to write; results/tuned/SWEEP.json if not given")
    ] = None,
    root: Annotated[
        Path, typer.Option(help="folder that the sweep's relative paths start from")
    ] = Path(),
) -> None:
    """Choose each recipe's settings from a sweep's trials.

    Reads what the trials reached on held-out images, and writes what each recipe is to be trained
    with.

    Examples:
        modulewise tune --sweep config/papers/tuned-resnet32.yaml
    """
    plan = load_plan(sweep, root)
    if plan.sweep.tune is None:
        raise InvalidInput(f"{plan.where}: has no key tune")
    target = out or trials.FOLDER / f"{plan.sweep.sweep}.json"
    tuned = choose.judge(plan.trials, runs)
    choose.write(tuned, target)
    for choice in tuned.choices:
        best = choice.trials[choice.chosen]
        changes = (
            ", ".join(f"{k}={v}" for k, v in (best.training | best.options).items())
            or "the recipe as it stands"
        )
        print(
            f"{choice.point.dataset} {choice.point.network} {choice.point.recipe} "
            f"K={choice.point.modules}: {changes}"
        )
        print(f"  validation {best.validation:.2f}, the best of {len(choice.trials)} trials")
    print(target)
