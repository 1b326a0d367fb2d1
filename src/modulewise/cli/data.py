"""`modulewise data`: fetch and verify a data set."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Annotated

import typer

from modulewise.config.dataset import Dataset, Datasets
from modulewise.config.loading import read_json, read_yaml
from modulewise.errors import InvalidInput, choose, parse
from modulewise.files import write_atomic
from modulewise.units import disk

log = logging.getLogger(__name__)


def data(
    dataset: Annotated[str, typer.Option(help="name in datasets.yaml")],
    entry: Annotated[
        str | None, typer.Option(help="its entry as JSON, instead of the one in datasets.yaml")
    ] = None,
    config: Annotated[Path, typer.Option(help="folder of datasets.yaml")] = Path("config"),
    root: Annotated[
        Path, typer.Option("--data", envvar="MODULEWISE_DATA", help="folder of downloaded data")
    ] = Path("data"),
    mark: Annotated[Path | None, typer.Option(help="write what was found to this file")] = None,
) -> None:
    """Download a data set if it is not there, and check it.

    Says how many images it holds, and of what shape. Of a data set whose pictures are decoded as
    they are needed it looks at every file's name and size, and at the width and height of pictures
    and maps of classes; images of ImageNet are not opened.

    Examples:
        modulewise data --dataset digits
        modulewise data --dataset cifar10 --data /scratch/data
    """
    if entry is None:
        file = config / "datasets.yaml"
        entries = parse(Datasets, read_yaml(file), str(file)).datasets
        if dataset not in entries:
            raise choose(dataset, entries, "data set", str(file))
        found = entries[dataset]
    else:
        found = parse(Dataset, read_json(entry, "--entry"), f"data set {dataset}")
    if not sys.stderr.isatty():
        os.environ.setdefault(
            "TQDM_DISABLE", "1"
        )  # torchvision's bar, which a log would hold a thousand times
    from modulewise.data import sources

    try:
        if sources.streamed(found):
            line = _checked(found, root)
        else:
            line = _fetched(dataset, found, root)
    except InvalidInput as error:
        raise InvalidInput(f"data set {dataset}: {error}") from None
    except MemoryError as error:
        raise InvalidInput(f"data set {dataset}: too little memory to hold it: {error}") from None
    if mark:
        mark.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(mark, line + "\n")
    print(f"{dataset}: {line}")


def _fetched(dataset: str, found: Dataset, root: Path) -> str:
    """Download a data set if need be, and read it whole; what is said of it."""
    from modulewise.data import sources

    with growing(dataset, root / (found.torchvision_class or ""), sys.stderr.isatty()):
        made = sources.arrays(found, root, download=True)
    sources.check_fit(found, made[0].shape[1:])
    return sources.describe(made)


def _checked(found: Dataset, root: Path) -> str:
    """Look at every file of a data set whose pictures are decoded as they are needed; what is said
    of it."""
    from modulewise.data import sources
    from modulewise.data.files import digest
    from modulewise.data.scenes import check_sizes

    assert found.shape
    sources.check_fit(found, found.shape)
    parts = sources.files(found, root)
    hashed = digest(parts)
    for part in parts:
        if part.maps:
            check_sizes(part, getattr(sources.source(found), "PICTURE", None))
    numbers = {name: len(part) for name, part in zip(("train", "test"), parts, strict=True)}
    return json.dumps({**numbers, "classes": found.classes, "digest": hashed})


@contextmanager
def growing(name: str, folder: Path, terminal: bool, every: float = 30.0) -> Iterator[None]:
    """While a download goes on, say in a log now and then how much there is; on a terminal
    torchvision shows a bar.

    Args:
        name: of the data set.
        folder: that the files appear in.
        terminal: whether somebody watches.
        every: seconds between two lines.
    """
    done = Event()

    def say() -> None:
        while not done.wait(every):
            size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
            log.info(f"{name}: at work, {disk(size)} in {folder}")

    teller = Thread(target=say, daemon=True)
    if not terminal:
        teller.start()
    try:
        yield
    finally:
        done.set()
        if not terminal:
            teller.join()
