"""The configuration that Snakemake merged of its files and options, as a file of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from modulewise.config.loading import read_yaml
from modulewise.config.sweep import Sweep
from modulewise.errors import InvalidInput, parse
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
    read = [(path, read_yaml(path)) for path in map(_short, files)]
    content = _plain(merged)
    if len(read) == 1 and _plain(read[0][1]) == content:
        return read[0][0]
    sweep = parse(Sweep, content, "configuration")
    path, text = folder / f"{sweep.sweep}.yaml", yaml.safe_dump(content, sort_keys=False)
    if not path.exists() or path.read_text() != text:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text)
    return path


def _plain(content: Any) -> Any:
    """Content as JSON has it. A date, which Snakemake makes of a word of `--config`, becomes text
    again.

    Raises:
        InvalidInput: a key that is no text, or content within itself.
    """
    try:
        return json.loads(json.dumps(content, default=str))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"configuration: {error}") from None


def _short(path: Path) -> Path:
    """The path as the user would give it: relative, if it lies below the working folder."""
    path, here = Path(path), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
