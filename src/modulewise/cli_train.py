"""`modulewise train`: run one cell."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from .config import Book, Cell
from .errors import InvalidInput, parse

RESUME_LATER = 75
"""Exit status of a run that saved its state because it was asked to stop."""


def train(
    dataset: Annotated[str | None, typer.Option(help="name in datasets.yaml")] = None,
    network: Annotated[str | None, typer.Option(help="such as resnet32, mlp3, vgg8b")] = None,
    recipe: Annotated[str | None, typer.Option(help="name in recipes.yaml")] = None,
    modules: Annotated[int, typer.Option(help="K, number of gradient-isolated modules")] = 1,
    seed: Annotated[int, typer.Option(help="of all random streams")] = 0,
    epochs: Annotated[int | None, typer.Option(help="instead of the recipe's")] = None,
    cell: Annotated[str | None, typer.Option(help="a whole cell as JSON, instead of the options above")] = None,
    out: Annotated[Path | None, typer.Option(help="the run's folder, or its result.json")] = None,
    config: Annotated[Path, typer.Option(help="folder of recipes.yaml and datasets.yaml")] = Path("config"),
    data: Annotated[Path, typer.Option(envvar="MODULEWISE_DATA", help="folder of downloaded data")] = Path("data"),
    results: Annotated[Path, typer.Option(help="folder that runs/ lies in")] = Path("results"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads")] = None,
    save_every: Annotated[float, typer.Option(envvar="MODULEWISE_SAVE_EVERY", help="seconds between checkpoints")] = 300.0,
    keep_weights: Annotated[bool, typer.Option(help="leave weights.pt beside the result")] = False,
) -> None:
    """Train one cell; interrupted by SIGTERM, SIGINT or SIGUSR2 it saves, leaves with status 75 and resumes when started again."""
    what = _cell(cell, config, dataset, network, recipe, modules, seed, epochs)
    folder = out.parent if out and out.name == "result.json" else out or results / "runs" / what.path
    if (folder / "result.json").exists():
        print(f"{what}  finished already: {folder / 'result.json'}; remove it to train again")
        return
    from . import data as data_module
    from . import device as device_module
    from .trainer import Interrupted, Stop, Trainer, clock

    import torch  # isort: skip

    if threads:
        torch.set_num_threads(threads)
    stop = Stop()

    def ask(*_: Any) -> None:
        stop.asked = True

    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(name, ask)
    loaded = data_module.load(what.data, data, what.training, what.seed)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "train.log").open("a", buffering=1) as log:
        say = Speaker(log)
        trainer = Trainer(what, loaded, folder, device_module.pick(device), save_every, say, stop, keep_weights)
        try:
            result = trainer.fit()
        except Interrupted:
            say(f"{what}  asked to stop; saved, resumes when started again", always=True)
            sys.exit(RESUME_LATER)
        took = clock(result.cost.train_seconds or 0)
        error = "no error" if result.test_last is None else f"error {result.test_last:.2f} %"
        say(f"{what}  {result.status}  {error}  {took}" + (f"  ({result.reason})" if result.reason else ""), always=True)


class Speaker:
    """Prints every line to the log and, at most one in a few seconds, to the terminal.

    Args:
        log: an open text file.
        every: seconds between two lines on the terminal.
    """

    def __init__(self, log: Any, every: float = 5.0) -> None:
        self.log, self.every, self.last = log, every, 0.0

    def __call__(self, line: str, always: bool = False) -> None:
        """Say a line."""
        print(time.strftime("%Y-%m-%d %H:%M:%S "), line, file=self.log)
        now = time.monotonic()
        if always or now - self.last >= self.every:
            self.last = now
            print(line, flush=True)


def _cell(
    cell: str | None,
    config: Path,
    dataset: str | None,
    network: str | None,
    recipe: str | None,
    modules: int,
    seed: int,
    epochs: int | None,
) -> Cell:
    if cell:
        try:
            return parse(Cell, Cell.model_validate_json(cell), "--cell")
        except ValueError as error:
            raise InvalidInput(f"--cell: {' '.join(str(error).split())}") from None
    if not (dataset and network and recipe):
        raise InvalidInput("train: give --dataset, --network and --recipe, or --cell")
    book = Book(config / "recipes.yaml", config / "datasets.yaml")
    return book.cell(dataset, network, recipe, modules, seed, {"epochs": epochs} if epochs else {}, "train")
