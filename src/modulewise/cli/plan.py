"""`modulewise plan`: the fastest way to train a network within a memory budget."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from modulewise.cli._options import Data, Device, Threads
from modulewise.config.resolve import Catalog
from modulewise.errors import InvalidInput, memory_short
from modulewise.units import enough, memory, memory_bytes, time

if TYPE_CHECKING:
    import torch

    from modulewise.planning.budget_plan import Arm

log = logging.getLogger(__name__)
RECIPES = "backprop,checkpoint-blocks,checkpoint-sqrt,checkpoint-cuts,greedy,dgl,infopro"
AFFORDABLE = 60.0
"""Seconds that a step of the chosen way may be expected to take to be made at the full batch."""


def plan(
    network: Annotated[str, typer.Option(help="name of the network")],
    memory_: Annotated[str, typer.Option("--memory", help="budget, such as 4GiB")],
    batch: Annotated[int, typer.Option(min=4, help="images in a step")] = 1024,
    dataset: Annotated[str, typer.Option(help="name of the data set")] = "cifar10",
    recipes: Annotated[str, typer.Option(help="to choose from, with commas")] = RECIPES,
    precisions: Annotated[str, typer.Option(help="to choose from, with commas")] = "fp32,bf16",
    modules: Annotated[
        str, typer.Option(help="values of K to choose from, with commas; several if not given")
    ] = "",
    config: Annotated[Path, typer.Option(help="folder of recipes.yaml and datasets.yaml")] = Path(
        "config"
    ),
    data: Data = Path("data"),
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Choose recipe, K, cuts and precision within a memory budget.

    The fastest training step whose peak memory stays within the budget: docs/plan.md.

    Examples:
        modulewise plan --network resnet110 --memory 4GiB
        modulewise plan --network resnet32 --memory 500MiB --batch 256
    """
    try:
        budget = memory_bytes(memory_)
    except ValueError as error:
        raise InvalidInput(f"--memory: {error}") from None
    numbers = [n.strip() for n in modules.split(",") if n.strip()]
    if not all(n.isdigit() and int(n) > 1 for n in numbers):
        raise InvalidInput(f"--modules: whole numbers above 1 with commas, got {modules!r}")
    catalog = Catalog(config / "recipes.yaml", config / "datasets.yaml")
    from modulewise.engine import device as device_module
    from modulewise.planning import budget_plan

    on = device_module.begin(device, threads)
    several = tuple(map(int, numbers)) or budget_plan.MODULES
    arms = budget_plan.Arms(catalog, dataset, network, batch, data, on, several)
    found: list[Arm] = []
    for precision in precisions.split(","):
        for recipe in recipes.split(","):
            try:
                ways = arms.of(recipe.strip(), precision.strip(), budget)
            except (RuntimeError, MemoryError) as error:
                if (short := memory_short(error)) is None:
                    raise
                what = f"{recipe.strip()} {precision.strip()}"
                raise InvalidInput(
                    f"plan: {what}: too little memory on {device_module.describe(on)} to time its "
                    f"parts: {short}"
                ) from None
            for arm in ways:
                log.info(f"{_words(arm)}  {memory(arm.peak)}  {time(arm.seconds)} a step")
                found.append(arm)
    _show(found, budget)
    if not (fit := list(budget_plan.fastest(found, budget))):
        best = min(found, key=lambda arm: arm.peak)
        raise InvalidInput(
            f"--memory: nothing fits {memory(budget)}; the least possible is {enough(best.peak)}, "
            f"of {_words(best)}"
        )
    for arm in fit:
        peak, said = _made(arm, data, on)
        print(f"\n{_words(arm)}: {said} on {device_module.describe(on)}")
        if peak is not None and peak <= budget:
            _yaml(arm)
            return
        print(f"  more than {'there is' if peak is None else 'the budget'}: the next")
    raise InvalidInput(f"--memory: nothing that was measured stays within {memory(budget)}")


def _made(arm: Arm, data: Path, on: torch.device) -> tuple[int | None, str]:
    """The peak of an arm's step, `None` if the device has too little memory for it; and what to
    say of it."""
    from modulewise.engine.device import tidy
    from modulewise.planning import budget_plan

    try:
        if arm.seconds <= AFFORDABLE:
            peak, seconds = budget_plan.measured(arm.cell, data, on)
            return peak, f"{memory(peak)} and {time(seconds)}, measured"
        peak = budget_plan.smaller(arm.cell, data, on)
        return peak, f"{memory(peak)}, from steps of an eighth and a quarter of the batch"
    except (RuntimeError, MemoryError) as error:
        if memory_short(error) is None:
            raise
        return None, "out of memory"
    finally:
        tidy(on)


def _words(arm: Arm) -> str:
    cell = arm.cell
    return f"{cell.recipe} K={cell.modules} {cell.training.precision}{_parts(arm)}"


def _parts(arm: Arm) -> str:
    parts = arm.cell.training.accumulate
    return f" in {parts} micro-batches" if parts > 1 else ""


def _show(arms: list[Arm], budget: int) -> None:
    """Print a row an arm, the fastest first, those that do not fit last."""
    plain = next((arm.seconds for arm in arms if _plain(arm)), None)
    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading in ("recipe", "K", "cuts after", "", "peak", "step", "x plain", "fits"):
        left = heading in ("recipe", "cuts after", "")
        table.add_column(
            heading, justify="left" if left else "right", no_wrap=heading != "cuts after"
        )
    for arm in sorted(arms, key=lambda arm: (arm.peak > budget, arm.seconds)):
        cell, training = arm.cell, arm.cell.training
        table.add_row(
            cell.recipe + (f" /{training.accumulate}" if training.accumulate > 1 else ""),
            str(cell.modules),
            _short(cell.partition),
            training.precision,
            memory(arm.peak),
            time(arm.seconds),
            f"{arm.seconds / plain:.2f}" if plain else "",
            "yes" if arm.peak <= budget else "no",
        )
    Console(markup=False, highlight=False, emoji=False, width=80).print(table)


def _plain(arm: Arm) -> bool:
    t = arm.cell.training
    return arm.cell.recipe == "backprop" and t.precision == "fp32" and t.accumulate == 1


def _short(cuts: object) -> str:
    """The names of at most four cuts."""
    if not isinstance(cuts, tuple):
        return ""
    return " ".join(cuts if len(cuts) <= 4 else (*cuts[:2], "..", cuts[-1]))


def _yaml(arm: Arm) -> None:
    """Print the grid that trains it."""
    cell, training = arm.cell, arm.cell.training
    settings = {"batch_size": training.batch_size, "precision": training.precision}
    if training.accumulate > 1:
        settings["accumulate"] = training.accumulate
    words = ", ".join(f"{name}: {value}" for name, value in settings.items())
    print("\ngrids:")
    print(f"  - datasets: [{cell.dataset}]")
    print(f"    networks: [{cell.network}]")
    print(f"    recipes: [{cell.recipe}]")
    print(f"    modules: [{cell.modules}]")
    print("    seeds: 3")
    if isinstance(cell.partition, tuple) and cell.partition:
        print("    partition: [" + ", ".join(f'"{name}"' for name in cell.partition) + "]")
    print(f"    training: {{{words}}}")
