"""A copy of a data set on the node's own disk, made by the first run there that needs it."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from filelock import FileLock

from modulewise.config.dataset import Dataset
from modulewise.data.sources import location
from modulewise.errors import InvalidInput

STAGE = "MODULEWISE_STAGE"
"""Folder on the node's own disk; unset: data sets are read where they are."""


def staged(config: Dataset, root: Path) -> tuple[Dataset, Path]:
    """The entry and the folder of downloads to read a data set by: as given, or of its copy on this
    node.

    The copy is named by where the original lies and when it, or a file in it, was changed; runs
    that start together wait for the one that copies.

    Args:
        config: the data set's entry.
        root: folder that downloads lie in.

    Raises:
        InvalidInput: there is no room for the copy, or the folder cannot be written.
    """
    stage = os.environ.get(STAGE)
    source = location(config, root)
    if not stage or source is None or not source.exists():
        return config, root
    home = Path(stage)
    try:
        what = f"{source.resolve()} {_version(source)}"
        home /= hashlib.sha256(what.encode(errors="surrogateescape")).hexdigest()[:12]
        copy = home / source.name
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / "lock"):
            if not copy.exists():
                aside = home / "copying"
                shutil.rmtree(aside, ignore_errors=True)
                aside.unlink(missing_ok=True)
                _ = (
                    shutil.copytree(source, aside)
                    if source.is_dir()
                    else shutil.copy2(source, aside)
                )
                aside.rename(copy)
    except (OSError, shutil.Error) as error:
        raise InvalidInput(f"{STAGE}={stage}: cannot hold a copy of {source}: {error}") from None
    if config.torchvision_class:
        return config, home
    return config.model_copy(update={"path": str(copy)}), root


def _version(source: Path) -> str:
    """When a file was changed; of a folder, when and how large each file in it is."""
    if source.is_file():
        return str(source.stat().st_mtime_ns)
    whole = hashlib.sha256()
    for place, _, names in sorted(os.walk(source, followlinks=True)):
        for file in (Path(place, name) for name in sorted(names)):
            stat = file.stat()
            line = f"{file.relative_to(source)} {stat.st_size} {stat.st_mtime_ns}\n"
            whole.update(line.encode(errors="surrogateescape"))
    return whole.hexdigest()
