"""`modulewise study`: measure something on the weights of a finished run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from modulewise.cli import _complete
from modulewise.cli._options import WHICH, Data, Device, Runs, Threads, alone
from modulewise.config.dataset import Dataset, Datasets
from modulewise.config.loading import read_json, read_yaml
from modulewise.config.options import names, options_model
from modulewise.config.study import StudyOrder
from modulewise.errors import InvalidInput, choose, parse
from modulewise.files import place
from modulewise.runs.find import RUNS, find
from modulewise.units import duration

log = logging.getLogger(__name__)


def study(
    ctx: typer.Context,
    run: Annotated[
        str,
        typer.Option(
            help=WHICH,
            autocompletion=_complete.runs,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(names('studies'))}", autocompletion=_complete.studies),
    ] = None,
    options: Annotated[str, typer.Option(help="options of the study, as JSON")] = "{}",
    order: Annotated[
        str | None, typer.Option(help="name, options and data sets as JSON, instead of the above")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="file to write; study~NAME.json in the run's folder")
    ] = None,
    config: Annotated[Path, typer.Option(help="folder of datasets.yaml")] = Path("config"),
    data: Data = Path("data"),
    runs: Runs = RUNS,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Measure something on a finished run's weights.

    Weights are kept where a sweep names a study, or with `modulewise train --keep-weights`.
    docs/studies.md says what can be measured.

    Examples:
        modulewise study --run d0768ac3 --name labels
        modulewise study --run d0768ac3 --name probe --options '{"epochs": 2}'
    """
    if order is not None:
        alone(ctx, "--order", ("name", "options"))
        what = parse(StudyOrder, read_json(order, "--order"), "--order")
    else:
        what = _order(name, options, config)
    from modulewise import studies
    from modulewise.engine import device as device_module

    folder = find(run, runs)
    target = place(out or folder / f"study~{what.study}.json")
    found = studies.make(what, folder, data, device_module.begin(device, threads))
    found.save(target)
    log.info(f"{what.study}  {duration(found.seconds)}  {target}")


def _order(name: str | None, options: str, config: Path) -> StudyOrder:
    """What to measure, by name; data sets are looked up in `datasets.yaml`."""
    if name is None:
        raise InvalidInput(f"study: give --name, one of {', '.join(names('studies'))}, or --order")
    if name not in names("studies"):
        raise choose(name, names("studies"), "study", "--name")
    given = read_json(options, "--options")
    taken = parse(options_model("studies", name), given, "--options")
    entries: dict[str, Dataset] = {}
    if targets := getattr(taken, "targets", ()):
        file = config / "datasets.yaml"
        known = parse(Datasets, read_yaml(file), str(file)).datasets
        for target in targets:
            if target not in known:
                raise choose(target, known, "data set", "--options: targets")
            entries[target] = known[target]
    return StudyOrder(study=name, options=given, datasets=entries)
