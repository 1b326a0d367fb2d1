"""The one file a run resumes from: written aside and renamed, read with tensors and plain values
only."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from modulewise.data.base import Data
from modulewise.errors import InvalidInput, memory_short
from modulewise.files import patiently, remove_unfinished, write_atomic
from modulewise.runs.files import CHECKPOINT, WEIGHTS

FORMAT = 3
"""Number that changes with what a checkpoint holds."""


class Every:
    """Says when it is time to save again.

    Args:
        seconds: between two saves, or after the beginning.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.done()

    def done(self) -> None:
        """Saved now."""
        self.last = time.monotonic()

    def due(self) -> bool:
        """Whether so many seconds have passed."""
        return time.monotonic() - self.last > self.seconds


def save(folder: Path, content: dict[str, Any], name: str = CHECKPOINT) -> None:
    """Write atomically: a process killed at any moment, or a full disk, leaves the old file or the
    new one.

    Raises:
        OSError: the disk is full, read-only or away; nothing of the new file is left.
    """
    remove_unfinished(folder / name)
    write_atomic(folder / name, partial(torch.save, content))


class Inputs(NamedTuple):
    """What a trained network is given, and how much it gives.

    Attributes:
        image: shape of one image (C, H, W).
        outputs: number of scores.
        mean: per channel, of images in [0, 1] (C 1 1).
        std: likewise.
    """

    image: tuple[int, int, int]
    outputs: int
    mean: Tensor
    std: Tensor


def inputs_of(data: Data) -> Inputs | None:
    """What a network trained on these data is given; `None` of data without mean and std."""
    mean, std = getattr(data, "mean", None), getattr(data, "std", None)
    if mean is None or std is None:
        return None
    return Inputs(data.image, data.task.outputs, mean.cpu(), std.cpu())


def keep(folder: Path, cell: str, method: dict[str, Any], data: Data) -> None:
    """Write a finished run's weights, and what the network is given.

    Args:
        folder: of the run.
        cell: as JSON.
        method: its state.
        data: that it was trained on.
    """
    inputs = inputs_of(data)
    content = {"method": method, "cell": cell, "inputs": inputs and inputs._asdict()}
    save(folder, content, WEIGHTS)


def put(method: nn.Module, weights: dict[str, Tensor], path: Path, again: str) -> None:
    """Give a method the weights that were read from a file.

    Args:
        method: the method.
        weights: its state.
        path: the file.
        again: what to do if they do not fit.

    Raises:
        InvalidInput: the method or its network has other parts now than when they were written.
    """
    try:
        method.load_state_dict(weights)
    except RuntimeError as error:
        if (found := misfit(method.state_dict(), weights)) is None:
            raise
        raise InvalidInput(
            f"{path}: its weights do not fit the code as it is now: {found}; {again}"
        ) from error


def misfit(here: dict[str, Tensor], there: dict[str, Tensor]) -> str | None:
    """The first tensor that two states do not both have in one shape, in words."""
    for name in sorted(here.keys() | there.keys()):
        shapes = [tuple(found[name].shape) if name in found else None for found in (here, there)]
        if shapes[0] != shapes[1]:
            mine, its = ("missing" if shape is None else str(shape) for shape in shapes)
            return f"{name} is {mine} here and {its} there"
    return None


def remove(folder: Path) -> None:
    """Remove the checkpoint of a run that has its result."""
    patiently(partial((folder / CHECKPOINT).unlink, missing_ok=True), folder / CHECKPOINT)


def belongs(folder: Path, state: dict[str, Any], cell: str, data: str, reused: str | None) -> None:
    """Refuse a checkpoint that the run cannot go on from.

    Args:
        folder: of the run.
        state: what `load` gave.
        cell: id of the run's cell.
        data: digest of its images.
        reused: that of the weights it begins with, if there are any.

    Raises:
        InvalidInput: the checkpoint is of another cell, other images or other weights.
    """
    if state["cell"] != cell:
        raise InvalidInput(
            f"{folder}: holds the checkpoint of another cell ({state['cell']}); train {cell} "
            f"elsewhere"
        )
    if state["data"] != data:
        raise InvalidInput(
            f"{folder}: the images have changed since the run began; remove the folder to train "
            f"from the start"
        )
    if reused and state["reused"] != reused:
        raise InvalidInput(
            f"{folder}: the reused weights have changed since the run began; remove the folder to "
            f"train from the start"
        )


def load(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """Read the checkpoint of a run, if there is one.

    Raises:
        InvalidInput: the file is damaged, or of another format.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(content, dict) or not {"cell", "progress", "method"} <= content.keys():
            raise ValueError
    except Exception as error:
        if isinstance(error, OSError) or memory_short(error):  # the file may well be sound
            raise
        raise InvalidInput(
            f"{path}: damaged ({type(error).__name__}); remove it to train this cell from the start"
        ) from None
    if content.get("format") != FORMAT:
        raise InvalidInput(
            f"{path}: written by another version of modulewise; remove it to train this cell from "
            f"the start"
        )
    return content
