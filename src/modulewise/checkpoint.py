"""The one file a run resumes from: written aside and renamed, read with tensors and plain values only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from .errors import InvalidInput

FILE = "checkpoint.pt"
WEIGHTS = "weights.pt"


def save(folder: Path, content: dict[str, Any], name: str = FILE) -> None:
    """Write atomically: a process killed at any moment leaves the old file or the new one."""
    tmp = folder / (name + ".tmp")
    with tmp.open("wb") as f:
        torch.save(content, f)
        f.flush()
        os.fsync(f.fileno())
    tmp.replace(folder / name)


def load(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """Read the checkpoint of a run, if there is one.

    Raises:
        InvalidInput: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise InvalidInput(f"{path}: damaged ({type(error).__name__}); remove it to train this cell from the start") from None
