"""The configuration that Snakemake merged of its files and options, as a file of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from modulewise.config.loading import read_yaml
from modulewise.config.sweep import Sweep
from modulewise.errors import parse
from modulewise.files import write_atomic


def sweep_file(files: Sequence[Path], merged: Mapping[str, Any], folder: Path) -> Path:
    """File that holds a sweep as Snakemake merged it: the one that it was read from, if there is
    one, else a new one.

    Args:
        files: every configuration file that Snakemake read. Each is read strictly: Snakemake itself
            takes the last of two equal keys.
        merged: what Snakemake made of them and of `--config`, or what a `module:` was given.
        folder: of new files; one that is up to date keeps its time.

    Raises:
        InvalidInput: a file that cannot be read or gives a key twice, or a merged configuration
            that is no sweep.
    """
    content = json.loads(json.dumps(merged))
    read = [(path, read_yaml(path)) for path in map(_short, files)]
    if len(read) == 1 and read[0][1] == content:
        return read[0][0]
    sweep = parse(Sweep, content, "configuration")
    path, text = folder / f"{sweep.sweep}.yaml", yaml.safe_dump(content, sort_keys=False)
    if not path.exists() or path.read_text() != text:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text)
    return path


def _short(path: Path) -> Path:
    """The path as the user would give it: relative, if it lies below the working folder."""
    path, here = Path(path), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
