"""Snakemake's caches, below the logs: not every site's nodes see, or may write, a user's home."""

import os
import shutil
import uuid
from pathlib import Path

CACHE = ".cache"
"""Name of the folder below that of the logs."""


def publish(sources: Path, logdir: Path) -> Path:
    """Copy the workflow's files, as the controller has read them, to where its jobs see them.

    Args:
        sources: the controller's folder of them.
        logdir: folder of the logs.

    Returns:
        The folder of the copies, of this controller alone.
    """
    place = logdir / CACHE / f"sources-{uuid.uuid4().hex[:12]}"
    shutil.copytree(sources, place)
    return place


def remove(logdir: Path) -> None:
    """Remove what controllers have left; none may run, nor any job of theirs."""
    shutil.rmtree(logdir / CACHE, ignore_errors=True)


def environment(instead: Path) -> dict[str, str]:
    """Variables for a job: none, or another cache if the user's cannot be written here.

    Args:
        instead: folder of the other cache.
    """
    try:
        usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = usual / "snakemake" / "snakemake" / "source-cache"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return {}
    except (OSError, RuntimeError):  # no such place, or no home at all
        pass
    return {"XDG_CACHE_HOME": str(instead)}
