"""What a method does and costs, found by running and counting it: nothing here is typed by hand."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modulewise import tasks
from modulewise.config.cell import Cell
from modulewise.config.resolve import Catalog
from modulewise.config.training import TrainConfig
from modulewise.engine import flops
from modulewise.engine.build import build
from modulewise.errors import InvalidInput
from modulewise.method import Batch, Method
from modulewise.planning import preflight
from modulewise.runs.provenance import source_hash

DATASET, K = "cifar10", 4
NETWORKS = ("resnet32", "revnet38", "mlp4x500-relu")
"""The first that a recipe can be trained on is its standard setting."""
MAPS = ("cityscapes", "deeplabv3-resnet101", 2)
"""Data set, network and K of recipes that can be trained on none of these."""
WEIGHTS = ("lambda1", "lambda2", "tau", "temperature", "objective", "beta")
"""Options that change no number of operations, nor of parameters."""
SMALL = ("resnet8", "revnet14", "mlp4x32-relu")
"""The same, small enough for a step."""


@dataclass(frozen=True)
class Cost:
    """Of a recipe at its standard setting."""

    dataset: str
    network: str
    modules: int
    batch: int
    helper_parameters: int
    helper_share: float
    """Of a training step's operations."""
    macs_ratio: float
    """Multiply-accumulates of a prediction, over those of the trunk alone."""
    parameters_ratio: float
    """Parameters at inference, over those of the trunk."""


@dataclass(frozen=True)
class Helper:
    """What a module has beside its stages: name, learns by gradient, stays at inference."""

    name: str
    learns: bool
    stays: bool


@dataclass(frozen=True)
class Flow:
    """One step of a method with three modules, or with one.

    Attributes:
        method: that made the step.
        helpers: of every module.
        losses: names, and the parameter groups that each reaches.
        passes: forward passes that the trunk's layers make in a step, the least and the most.
        predicting: the most that a prediction takes.
    """

    method: Method
    helpers: list[list[Helper]]
    losses: list[tuple[str, tuple[str, ...]]]
    passes: tuple[float, float]
    predicting: float


class Counted:
    """Costs of recipes, kept in a file between builds.

    Args:
        catalog: recipes and data sets.
        kept: the file.
    """

    def __init__(self, catalog: Catalog, kept: Path) -> None:
        self._catalog, self._kept = catalog, kept
        self._known: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
        self._networks: preflight.Networks = {}
        self._cells: dict[str, Cell] = {}
        self._alone: dict[str, float] = {}

    def cell(self, recipe: str) -> Cell:
        """A recipe's standard setting: the first network that it can be trained on."""
        if recipe not in self._cells:
            self._cells[recipe] = self._first(recipe)
        return self._cells[recipe]

    def _first(self, recipe: str) -> Cell:
        one = self._catalog.recipes.recipes[recipe].modules == "one"
        for dataset, network, k in [*((DATASET, name, K) for name in NETWORKS), MAPS]:
            cell = self._catalog.cell(dataset, network, recipe, 1 if one else k, 0)
            try:
                preflight.build(cell, *_image(cell), self._networks)
            except InvalidInput:
                continue
            return cell
        raise ValueError(f"{recipe}: neither one of {NETWORKS} nor {MAPS} can be trained")

    def cost(self, recipe: str) -> Cost:
        """Count a recipe's standard setting, or read what was counted."""
        cell = self.cell(recipe)
        work = {
            "dataset": cell.dataset,
            "network": cell.network,
            "method": cell.method,
            "options": {k: v for k, v in cell.options.items() if k not in WEIGHTS},
            "partition": cell.model_dump(mode="json")["partition"],
            "modules": cell.modules,
            "batch": cell.training.batch_size,
            "source": source_hash(cell.model_copy(update={"training": TrainConfig()})),
        }
        key = json.dumps(work, sort_keys=True)
        if key not in self._known:
            self._known[key] = asdict(self._count(cell))
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            self._kept.write_text(json.dumps(self._known, indent=1))
        return Cost(**self._known[key])

    def _count(self, cell: Cell) -> Cost:
        method = preflight.build(cell, *_image(cell), self._networks)
        _still(method)
        batch, image = cell.training.batch_size, _image(cell)[0]
        counted = flops.flops(method, image, batch)
        trunk, all_ = flops.parameters([method.trunk]), flops.parameters([method])
        if cell.network not in self._alone:
            plain = self._catalog.cell(cell.dataset, cell.network, "backprop", 1, 0)
            net = preflight.build(plain, *_image(cell), self._networks)
            _still(net)
            self._alone[cell.network] = flops.flops(net, image, 1).inference_macs
        return Cost(
            cell.dataset,
            cell.network,
            cell.modules,
            batch,
            all_ - trunk,
            counted.helpers / (counted.helpers + counted.trunk),
            counted.inference_macs / self._alone[cell.network],
            flops.parameters(method.deployed()) / trunk,
        )


def _still(method: Method) -> None:
    """No BatchNorm looks at its batch: half the time, and neither way has products to count."""
    for norm in (m for m in method.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)):
        norm.eval()


def _image(cell: Cell) -> tuple[tuple[int, int, int], int]:
    assert cell.data.shape and cell.data.classes
    return cell.data.shape, cell.data.classes


def flow(method: str, options: dict[str, Any], cuts: bool, content: dict[str, Any]) -> Flow:
    """Run a step and a prediction on noise.

    Args:
        method: its name.
        options: of the method.
        cuts: whether it cuts the network: into three.
        content: data set and training settings of a cell.
    """
    image, classes = (3, 8, 8), 10
    for network in SMALL:
        given = {"network": network, "recipe": "any", "modules": 3 if cuts else 1, "seed": 0}
        cell = Cell.model_validate({**content, **given, "method": method, "options": options})
        try:
            made, _ = build(cell, image, tasks.build("classification", classes))
        except InvalidInput:
            continue
        return _step(made.train(), image)
    raise ValueError(f"{method}: none of {SMALL} can be trained")


def _step(method: Method, image: tuple[int, int, int]) -> Flow:
    x, y = torch.rand(4, *image), torch.tensor([0, 1, 0, 1])
    method.trace(x)
    seen: dict[int, float] = {}
    leaves = [m for m in method.trunk.modules() if list(m.parameters(recurse=False))]

    def count(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        seen[id(module)] = seen.get(id(module), 0) + len(given[0])

    hooks = [leaf.register_forward_pre_hook(count) for leaf in leaves]
    losses = []
    for loss in method.losses(Batch(x, y, x, y, lambda: x.flip(3))):
        losses.append((loss.name, loss.groups))
        loss.value.backward()
    passes = [seen.get(id(leaf), 0) / len(x) for leaf in leaves]
    seen.clear()
    with torch.no_grad():
        method.eval().predict(x[:1])
    predicting = max(seen.values(), default=1)
    for hook in hooks:
        hook.remove()
    helpers = [_helpers(method, k) for k in range(method.k)]
    return Flow(method, helpers, losses, (min(passes), max(passes)), predicting)


def _helpers(method: Method, k: int) -> list[Helper]:
    """Parts of module k beside its stages: those that learn, and those of buffers alone."""
    stay = {id(p) for part in method.deployed() for p in part.parameters()}
    groups = {name: params for name, params in method.groups().items() if name.endswith(f"/{k}")}
    out = []
    for name, params in groups.items():
        if not name.startswith("trunk/"):
            out.append(Helper(name.split("/")[0], True, id(params[0]) in stay))
    for name, child in method.named_children():
        part = child[k] if isinstance(child, nn.ModuleList) and k < len(child) else None
        fixed = part is not None and not list(part.parameters()) and list(part.buffers())
        if name != "trunk" and fixed:
            out.append(Helper(name, False, False))
    return out
