"""`modulewise train`: run one cell."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from modulewise import logs
from modulewise.cli import _complete
from modulewise.cli._options import Data, Device, Threads, Workers, alone
from modulewise.config.cell import Cell
from modulewise.config.loading import read_json
from modulewise.errors import InvalidInput, memory_short, parse, resource
from modulewise.runs import lock, stops
from modulewise.runs.files import CHECKPOINT
from modulewise.runs.logs import TRAIN_LOG
from modulewise.runs.result import FILE, Result, exists
from modulewise.units import duration

log = logging.getLogger(__name__)
RESUME_LATER = 75
"""Exit status of a run that saved its state because it was asked to stop."""


OF_A_CELL = ("dataset", "network", "recipe", "modules", "seed", "epochs", "set_")
"""Options that say what to train, which a whole cell says by itself."""


def train(
    ctx: typer.Context,
    dataset: Annotated[
        str | None, typer.Option(help="name in datasets.yaml", autocompletion=_complete.datasets)
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help="such as resnet32, mlp3, vgg8b", autocompletion=_complete.networks),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="name in recipes.yaml", autocompletion=_complete.recipes)
    ] = None,
    modules: Annotated[int, typer.Option(help="K, number of gradient-isolated modules")] = 1,
    seed: Annotated[int, typer.Option(help="of all random streams")] = 0,
    epochs: Annotated[int | None, typer.Option(help="instead of the recipe's")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="instead of the recipe's: training.lr=0.05; several",
            autocompletion=_complete.settings,
        ),
    ] = None,
    cell: Annotated[
        str | None, typer.Option(help="a whole cell as JSON, instead of the options above")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the run's folder, or its result.json")] = None,
    config: Annotated[Path, typer.Option(help="folder of recipes.yaml and datasets.yaml")] = Path(
        "config"
    ),
    data: Data = Path("data"),
    results: Annotated[Path, typer.Option(help="folder that runs/ lies in")] = Path("results"),
    device: Device = "auto",
    threads: Threads = None,
    workers: Workers = None,
    save_every: Annotated[
        float, typer.Option(envvar="MODULEWISE_SAVE_EVERY", help="seconds between checkpoints")
    ] = 300.0,
    keep_weights: Annotated[bool, typer.Option(help="leave weights.pt beside the result")] = False,
    sources: Annotated[
        Path | None, typer.Option(help="folder of the runs whose modules are reused")
    ] = None,
) -> None:
    r"""Train one cell.

    Interrupted by SIGTERM, SIGINT or SIGUSR2 it saves, leaves with status 75 and resumes when
    started again. --set takes what a sweep may override: training.KEY, options.KEY (of the
    method), partition.

    Examples:
        modulewise train --dataset digits --network mlp3 --recipe dgl --modules 2
        modulewise train --dataset digits --network mlp3 --recipe greedy \
            --epochs 5 --set training.lr=0.05 --set training.batch_size=64
    """
    if cell is not None:
        alone(ctx, "--cell", OF_A_CELL)
    what = _cell(cell, config, dataset, network, recipe, modules, seed, epochs, set_ or ())
    folder = out.parent if out and out.name == FILE else out or results / "runs" / what.path
    if exists(folder):
        log.info(f"{what}  finished already: {folder / FILE}; remove it to train again")
        return
    devices = what.training.devices
    if devices > 1:
        from modulewise.engine import distributed

        if not distributed.started():
            sys.exit(_start(what, device))
        device = distributed.local_device(device, devices)
    leads = devices == 1 or os.environ["RANK"] == "0"
    from modulewise.engine import device as device_module

    on = device_module.begin(device, threads)
    if workers is not None:
        os.environ["MODULEWISE_WORKERS"] = str(workers)
    try:
        sources = sources or _runs(folder, what) or results / "runs"
        with _among_ranks(folder, on) if devices > 1 else nullcontext(folder) as place:
            status = _run(what, place, data, on, save_every, keep_weights and leads, sources)
    except OSError as error:
        if (line := resource(error, folder)) is None:
            raise
        again = (
            "the run resumes from its last checkpoint"
            if (folder / CHECKPOINT).exists()
            else "the run begins anew when started again"
        )
        log.error(f"{what}: {line}; {again}")
        sys.exit(1)
    if status:
        sys.exit(status)
    if out is None and leads:  # else the caller knows
        print(folder / FILE)


def _start(cell: Cell, device: str) -> int:
    """Train a cell in a process for each of its devices, by this same command; the exit status."""
    from modulewise.engine.ranks import Ranks, check_devices

    devices = cell.training.devices
    check_devices(device, devices)
    with Ranks([sys.executable, "-m", "modulewise", *sys.argv[1:]], devices) as ranks:
        for name in stops.STOPS:
            signal.signal(name, ranks.ask)
        status, said = ranks.wait(RESUME_LATER)
        stops.ignore()
    if said:
        log.error(f"{cell}: {said}; started again it goes on from its last checkpoint")
    return status


@contextmanager
def _among_ranks(folder: Path, on: Any) -> Iterator[Path]:
    """Inside, this process is one of the run's ranks; gives the folder that it writes into. Rank 0
    speaks and writes the run's; the others have one that is thrown away, where they find the run's
    checkpoint, and tell of errors only."""
    from modulewise.engine import distributed

    distributed.end_with_parent()
    with distributed.joined(on), tempfile.TemporaryDirectory() as name:
        if distributed.rank():
            (Path(name) / CHECKPOINT).symlink_to((folder / CHECKPOINT).resolve())
            folder = Path(name)
            logging.disable(logging.INFO)
        yield folder


def _run(
    cell: Cell,
    folder: Path,
    data: Path,
    on: Any,
    save_every: float,
    keep_weights: bool,
    sources: Path,
) -> int:
    """Train a cell in its folder, with a log; the exit status."""
    from modulewise.data.load import load
    from modulewise.data.staging import staged
    from modulewise.engine import distributed, reuse
    from modulewise.engine.stop import Interrupted, Stop
    from modulewise.engine.trainer import Trainer

    stop = Stop()

    def ask(*_: Any) -> None:
        stop.asked = True

    for name in stops.STOPS:
        signal.signal(name, ask)
    try:
        loaded = load(*staged(cell.data, data), cell.training, cell.seed)
        reused = reuse.read(cell, sources)
        trainer = Trainer(cell, loaded, folder, on, save_every, stop, keep_weights, reused)
    except InvalidInput as error:
        raise InvalidInput(
            str(error).replace("--dataset NAME", f"--dataset {cell.dataset}")
        ) from None
    except (RuntimeError, MemoryError) as error:
        if (short := memory_short(error)) is None:
            raise
        log.error(f"{cell}: too little memory to hold the data and the net: {short}")
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    with lock.held(folder, lambda: stop.asked), logs.training(folder / TRAIN_LOG):
        if any(distributed.agree(exists(folder))):  # made by another process since
            return 0
        try:
            result = trainer.fit()
        except Interrupted:
            stops.ignore()
            log.info(f"{cell}  asked to stop; saved, resumes when started again")
            return RESUME_LATER
        stops.ignore()
        log.info(f"{cell}  {_said(result)}")
    # Of several ranks another may have had room: this one's end is no result of the run.
    return int(distributed.rank() > 0 and result.status == "out_of_memory")


def _runs(folder: Path, cell: Cell) -> Path | None:
    """The folder of all runs, if a run's folder lies in it as the workflow places it."""
    place = Path(cell.path)
    inside = folder.parts[-len(place.parts) :] == place.parts
    return Path(*folder.parts[: -len(place.parts)]) if inside else None


def _said(result: Result) -> str:
    """How a run ended, for a line."""
    metric, value = result.metric, result.test_last
    figure = f"no {metric.name}" if value is None else metric.text(value)
    reason = f"({result.reason})" if result.reason else ""
    parts = [result.status, figure, duration(result.cost.train_seconds or 0), reason]
    return "  ".join(filter(None, parts))


def _cell(
    cell: str | None,
    config: Path,
    dataset: str | None,
    network: str | None,
    recipe: str | None,
    modules: int,
    seed: int,
    epochs: int | None,
    changes: Sequence[str],
) -> Cell:
    if cell is not None:
        return parse(Cell, read_json(cell, "--cell"), "--cell")
    if not (dataset and network and recipe):
        raise InvalidInput("train: give --dataset, --network and --recipe, or --cell")
    from modulewise.config.assigned import change
    from modulewise.config.resolve import Catalog

    if epochs is not None:
        changes = [f"training.epochs={epochs}", *changes]
    given = change(changes, "train: --set")
    catalog = Catalog(config / "recipes.yaml", config / "datasets.yaml")
    made = catalog.cell(
        dataset,
        network,
        recipe,
        modules,
        seed,
        given.training,
        "train",
        given.options,
        given.partition,
    )
    if given.partition and made.partition != given.partition:
        raise InvalidInput(f"train: --set partition: recipe {recipe} does not cut the network")
    return made
