"""`modulewise probe`: what every stage of a finished run's net says of label and image, or how far
its modules' gradients point away from backpropagation's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from modulewise.cli._options import Data, Device, Run, Runs, Threads
from modulewise.config.loading import read_json
from modulewise.config.study import StudyOrder
from modulewise.errors import parse
from modulewise.runs import record
from modulewise.runs.find import RUNS, find

COLUMNS = {
    "stage": ("stage", "d"),
    "linear_error": ("linear\nerror, %", ".2f"),
    "reconstruction": ("reconstruction\nloss, nats", ".4f"),
    "auxiliary_error": ("auxiliary\nerror, %", ".2f"),
    "auxiliary_loss": ("auxiliary\nloss, nats", ".4f"),
}
"""What the study finds -> its heading, and how its numbers are written."""
SHOWN = 4
"""Number of recorded epochs that the table of angles has at most, between start and end."""


def probe(
    run: Run,
    runs: Runs = RUNS,
    gradients: Annotated[
        bool,
        typer.Option("--gradients", help="angles of its gradients to backpropagation's instead"),
    ] = False,
    options: Annotated[str, typer.Option(help="options of the study probe, as JSON")] = "{}",
    data: Data = Path("data"),
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Probe every stage of a finished run's network.

    Prints a table, and writes study~probe.json beside the result, or with --gradients
    study~gradients.json. The run must have kept its weights.

    Examples:
        modulewise probe d0768ac3
        modulewise probe --gradients d0768ac3
    """
    name = "gradients" if gradients else "probe"
    order = parse(StudyOrder, {"study": name, "options": read_json(options, "--options")}, "")
    from modulewise import studies
    from modulewise.engine import device as device_module

    folder = find(run, runs)
    found = studies.make(order, folder, data, device_module.begin(device, threads))
    target = folder / f"study~{name}.json"
    found.save(target)
    if found.found and gradients:
        _show_angles(found.found, folder)
    elif found.found:
        _show(found.found)
    else:
        print("the run is not done: there is nothing to probe")
    print(target)


def _show(found: Mapping[str, Any]) -> None:
    """Print a row a stage, and what reconstructions range between."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading, _ in COLUMNS.values():
        table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    for row in zip(*(found[name] for name in COLUMNS), strict=True):
        kinds = (kind for _, kind in COLUMNS.values())
        table.add_row(*(f"{value:{kind}}" for value, kind in zip(row, kinds, strict=True)))
    _print(table)
    print(
        f"\nreconstruction: {found['rebuilt_blind']:.4f} of the mean training image, "
        f"{found['rebuilt_best']:.4f} of the image itself\n"
    )


def _show_angles(found: Mapping[str, Any], folder: Path) -> None:
    """Print a row a module: at the start, at some of the epochs that were recorded, at the end."""
    columns = {"start": list(zip(found["angle_start"], found["ratio_start"], strict=True))}
    columns |= _recorded(folder, len(found["module"]))
    columns["end"] = list(zip(found["angle_end"], found["ratio_end"], strict=True))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("module", *columns):
        table.add_column(heading, justify="right", no_wrap=True)
    for place, module in enumerate(found["module"]):
        table.add_row(f"{module}", *(_angle(*column[place]) for column in columns.values()))
    _print(table)
    print(
        "\nangle to backpropagation's gradient (0°: its direction, 90°: nothing in common);\n"
        "below it the ratio of their lengths\n"
    )


def _recorded(folder: Path, k: int) -> dict[str, list[tuple[float | None, float | None]]]:
    """Angle and ratio of every module after epochs within the run, evenly chosen."""
    settled = record.read(folder).settled()
    epochs = sorted({e for name, e in settled if name.startswith("gradient_angle/")})[1:-1]
    n = min(SHOWN, len(epochs))
    chosen = [epochs[(i + 1) * (len(epochs) + 1) // (n + 1) - 1] for i in range(n)]
    nothing = (None, 0)
    return {
        f"epoch {epoch}": [
            (
                settled.get((f"gradient_angle/module_{j}", epoch), nothing)[0],
                settled.get((f"gradient_norm_ratio/module_{j}", epoch), nothing)[0],
            )
            for j in range(k)
        ]
        for epoch in chosen
    }


def _angle(angle: float | None, ratio: float | None) -> str:
    """An angle and a ratio, one below the other.

    Example:
        >>> _angle(57.234, 0.3111), _angle(None, None)
        ('57.2°\\n0.311×', '–')
    """
    return "–" if angle is None or ratio is None else f"{angle:.1f}°\n{ratio:.3g}×"


def _print(table: Table) -> None:
    Console(markup=False, highlight=False, emoji=False).print(table)
