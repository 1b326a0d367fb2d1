"""`modulewise tune`: choose every recipe's settings by what its trials reach on held-out images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modulewise.config import trials
from modulewise.config.resolve import load_sweep, sweep_argument
from modulewise.errors import InvalidInput
from modulewise.planning import choose


def tune(
    sweep: Annotated[
        str, typer.Option(help="path of a sweep, or its JSON text")
    ] = "config/sweep.yaml",
    runs: Annotated[Path, typer.Option(help="folder of the runs")] = Path("results/runs"),
    out: Annotated[
        Path | None, typer.Option(help="file to write; results/tuned/SWEEP.json if not given")
    ] = None,
    root: Annotated[
        Path, typer.Option(help="folder that the sweep's relative paths start from")
    ] = Path(),
) -> None:
    """Read the results of a sweep's trials and write what each recipe is to be trained with."""
    config, where = sweep_argument(sweep)
    what, catalog, _ = load_sweep(config, root, where)
    if what.tune is None:
        raise InvalidInput(f"{where}: has no tune")
    target = out or trials.FOLDER / f"{what.sweep}.json"
    tuned = choose.judge(catalog.trials, runs)
    choose.write(tuned, target)
    for choice in tuned.choices:
        best = choice.trials[choice.chosen]
        changes = (
            ", ".join(f"{k}={v}" for k, v in (best.training | best.options).items())
            or "the recipe as it stands"
        )
        print(
            f"{choice.place.dataset} {choice.place.network} {choice.place.recipe} "
            f"K={choice.place.modules}: {changes}"
        )
        print(f"  validation {best.validation:.2f}, the best of {len(choice.trials)} trials")
    print(target)
