"""`modulewise data`: fetch and verify a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .config import Dataset, Datasets
from .errors import InvalidInput, choose, parse
from .reading import read_json, read_yaml


def data(
    dataset: Annotated[str, typer.Option(help="name in datasets.yaml")],
    entry: Annotated[str | None, typer.Option(help="its entry as JSON, instead of the one in datasets.yaml")] = None,
    config: Annotated[Path, typer.Option(help="folder of datasets.yaml")] = Path("config"),
    root: Annotated[Path, typer.Option("--data", envvar="MODULEWISE_DATA", help="folder of downloaded data")] = Path("data"),
    mark: Annotated[Path | None, typer.Option(help="write what was found to this file")] = None,
) -> None:
    """Download a data set if it is not there, check it, and say what it holds."""
    if entry is None:
        file = config / "datasets.yaml"
        entries = parse(Datasets, read_yaml(file), str(file)).datasets
        if dataset not in entries:
            raise choose(dataset, entries, "data set", str(file))
        found = entries[dataset]
    else:
        found = parse(Dataset, read_json(entry, "--entry"), f"data set {dataset}")
    from . import sources

    try:
        made = sources.arrays(found, root, download=True)
        sources.check_fit(found, made[0].shape[1:])
    except InvalidInput as error:
        raise InvalidInput(f"data set {dataset}: {error}") from None
    line = sources.describe(made)
    if mark:
        mark.parent.mkdir(parents=True, exist_ok=True)
        aside = mark.with_name(mark.name + ".tmp")
        aside.write_text(line + "\n")
        aside.replace(mark)
    print(f"{dataset}: {line}")
