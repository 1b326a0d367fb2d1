"""A finished run's method with its weights, frozen, and its data."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from modulewise.config.cell import Cell
from modulewise.config.dataset import Dataset
from modulewise.data.base import Data, Part
from modulewise.data.load import load as load_data
from modulewise.data.staging import staged
from modulewise.engine import checkpoint, device, kept
from modulewise.engine.build import build
from modulewise.engine.deployed import last_linear
from modulewise.errors import InvalidInput
from modulewise.method import Method
from modulewise.runs.files import WEIGHTS
from modulewise.runs.result import FILE, Result


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        cell: what was run.
        method: with the run's weights, in eval mode, on the device; nothing of it learns.
        data: what it was trained on.
        on: the device.
        digest: short hash of the weights.
        root: folder that downloads lie in.
        entries: data sets that the study's option `targets` names, by name.
        result: of the run.
    """

    cell: Cell
    method: Method
    data: Data
    on: torch.device
    digest: str
    root: Path
    result: Result
    entries: dict[str, Dataset] = field(default_factory=dict)

    def other(self, name: str) -> Data:
        """One of the data sets that the study names, on the device; batches as the run's own."""
        entry = self.entries[name]
        data = load_data(*staged(entry, self.root), self.cell.training, self.cell.seed)
        return data.to(self.on)

    def untrained(self) -> Method:
        """The same method before any training, with the random weights of the run's seed, frozen;
        modules that the run reused are random too."""
        return _frozen(build(self.cell, self.data.image, self.data.task)[0]).to(self.on)

    @torch.no_grad()
    def features(self, data: Data, part: Part, of: Method | None = None) -> tuple[Tensor, Tensor]:
        """What enters the net's last linear layer (N D), and the targets (N), of a part in order,
        without augmentation.

        Args:
            data: on the device.
            part: of it.
            of: another method of the same network; the run's own if not given.
        """
        method = of or self.method
        caught: list[Tensor] = []
        last = last_linear(method)
        with last.register_forward_pre_hook(lambda _, given: caught.append(given[0])):
            targets = []
            for x, y in data.eval_batches(part):
                method.entering(method.k, x)  # not `predict`, which a method may do its own way
                targets.append(y)
        return torch.cat(caught), torch.cat(targets)


@torch.no_grad()
def stage_outputs(method: Method, x: Tensor) -> list[Tensor]:
    """Output of every stage of the network, in order, for normalised images (B C H W); the head's
    is left out."""
    stages = [stage for module in method.trunk for stage in module.children()][:-1]
    caught: list[Tensor] = []
    # A copy, for the next stage may change its input in place.
    hooks = [
        stage.register_forward_hook(lambda _, __, out: caught.append(out.clone()))
        for stage in stages
    ]
    try:
        method.entering(method.k, x)
    finally:
        for hook in hooks:
            hook.remove()
    return caught


def load(
    folder: Path, root: Path, on: torch.device, entries: dict[str, Dataset] | None = None
) -> Trained:
    """A finished run's method and data.

    Args:
        folder: of the run.
        root: folder that downloads lie in.
        on: the device.
        entries: further data sets.

    Raises:
        InvalidInput: the run has no result or no weights, or its images have changed.
    """
    again = (
        f"remove {folder / FILE} and train again: a studied run keeps its weights, and so does "
        f"modulewise train --keep-weights"
    )
    found = kept.read(folder, "a study needs a finished run", again)
    cell, origin = found.result.cell, found.result.origin
    device.set_numerics(cell.training.tf32, cell.training.deterministic)
    data = load_data(*staged(cell.data, root), cell.training, cell.seed)
    if origin.data not in (None, data.digest):
        raise InvalidInput(f"{folder}: the images have changed since the run was made")
    method = build(cell, data.image, data.task)[0]
    checkpoint.put(method, found.weights, folder / WEIGHTS, again)
    return Trained(
        cell=cell,
        method=_frozen(method).to(on),
        data=data.to(on),
        on=on,
        digest=found.digest,
        root=root,
        result=found.result,
        entries=entries or {},
    )


def _frozen(method: Method) -> Method:
    method = copy.deepcopy(method).eval()
    return method.requires_grad_(False)
