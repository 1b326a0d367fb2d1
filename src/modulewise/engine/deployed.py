"""A finished run's network as it is deployed: what `modulewise.load` gives, and what `modulewise
export` writes."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from modulewise import models, tasks
from modulewise.data.augment import in_unit_range
from modulewise.data.load import load as load_data
from modulewise.data.staging import staged
from modulewise.engine import device, kept
from modulewise.engine.build import build
from modulewise.engine.checkpoint import Inputs, inputs_of, put
from modulewise.errors import InvalidInput
from modulewise.method import Method
from modulewise.rng import fork
from modulewise.runs.files import WEIGHTS
from modulewise.runs.find import RUNS, find
from modulewise.runs.result import FILE, Result
from modulewise.task import Task

UNKEPT = f"train it again with `modulewise train --keep-weights`, its {FILE} removed"
PLAIN = {"recompute": "none", "compile": "off", "cuda_graphs": False, "step_in_backward": False}
"""Training settings that change how numbers are computed, and not which."""


class TrainedNetwork(nn.Module):
    """A trained network with the normalisation of its data, in eval mode, frozen; the parts that
    its method keeps at inference are in it, and its helpers are not used.

    Calling it computes what the run's own evaluation did, in the precision of the run: in the same
    batches on the same device the same scores. Weights learn again after `requires_grad_()`.

    Attributes:
        result: of the run, with its cell.
        method: the method with its weights: `method.trunk` are the K modules.
        mean: per channel, of images in [0, 1] (C 1 1).
        std: likewise.
        image: shape of one image (C, H, W).
        outputs: number of scores.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, result: Result, method: Method, inputs: Inputs) -> None:
        super().__init__()
        self.result, self.method = result, method
        self.image, self.outputs = inputs.image, inputs.outputs
        self.register_buffer("mean", inputs.mean)
        self.register_buffer("std", inputs.std)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (B classes) of images (B C H W), as `normalise` takes them."""
        with self._precision(images):
            return self.method.predict(self.normalise(images))

    def normalise(self, images: Tensor) -> Tensor:
        """What the network is given for images (B C H W): uint8 from 0 to 255, or floats in
        [0, 1]."""
        unit = images if images.is_floating_point() else in_unit_range(images)
        x = (unit - self.mean).div_(self.std)
        last = self.result.cell.training.channels_last
        return x.contiguous(memory_format=torch.channels_last) if last else x

    def features(self, images: Tensor, module: int | None = None) -> Tensor:
        """The feature that leaves a module for images (B C H W), as `normalise` takes them.

        Args:
            images: the images.
            module: number of the module, counted from 0; if not given, what enters the network's
                last linear layer (B D).

        Raises:
            ValueError: there is no such module, or it gives scores.
        """
        x = self.normalise(images)
        if module is not None and not 0 <= module < self.method.k - 1:
            raise ValueError(f"module {module}: valid: 0 to {self.method.k - 2}, or None")
        with self._precision(images):
            if module is not None:
                return self.method.entering(module + 1, x)[0]
            caught: list[Tensor] = []
            last = last_linear(self.method)
            with last.register_forward_pre_hook(lambda _, given: caught.append(given[0])):
                self.method.entering(self.method.k, x)
            return caught[0]

    def _precision(self, images: Tensor) -> Any:
        return device.precision(self.result.cell.training, images.device.type)()


def load(
    run: str | Path,
    runs: str | Path = RUNS,
    data: str | Path | None = None,
    device: str | torch.device = "cpu",
) -> TrainedNetwork:
    """The trained network of a finished run that kept its weights.

    Args:
        run: its folder, its `result.json`, or the beginning of its cell's id or of its path.
        runs: folder of the runs, for such a beginning.
        data: folder of downloaded data; `MODULEWISE_DATA`, or `data`, if not given. Images are read
            only if the weights were kept by a version that did not write their statistics down.
        device: to put it on.

    Returns:
        The network in eval mode, frozen. It takes images (B C H W), uint8 or floats in [0, 1], and
        gives scores (B classes).

    Raises:
        InvalidInput: there is no such run, or it has no result or no weights.
    """
    folder = find(str(run), Path(runs))
    found = kept.read(folder, "the run is not finished", UNKEPT)
    cell = found.result.cell
    root = Path(data or os.environ.get("MODULEWISE_DATA", "data"))
    inputs = found.inputs or _inputs(found.result, folder, root)
    task = tasks.build(cell.data.task, inputs.outputs)
    method = _method(found.result, inputs, task)
    put(method, found.weights, folder / WEIGHTS, UNKEPT)
    net = TrainedNetwork(found.result, method, inputs).eval().requires_grad_(False)
    if cell.training.channels_last:
        net.to(memory_format=torch.channels_last)
    return net.to(device)


def last_linear(method: Method) -> nn.Linear:
    """The last linear layer of a method's network: its output are the scores.

    Raises:
        InvalidInput: there is none.
    """
    layers = [m for m in method.trunk[-1].modules() if isinstance(m, nn.Linear)]
    if not layers:
        raise InvalidInput("the network has no linear layer at its end")
    return layers[-1]


def program(net: TrainedNetwork) -> ExportedProgram:
    """The network as a program that needs no modulewise: floats in [0, 1] (B C H W), any number B
    of them, become scores (B classes). What helpers weigh is not in it."""
    made = _traced(net)
    signature = made.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    idle = [names[n.name] for n in made.graph.nodes if n.name in names and not n.users]
    lean = copy.deepcopy(net)
    for name in idle:
        owner, _, last = name.rpartition(".")
        setattr(lean.get_submodule(owner), last, None)
    return _traced(lean)


def _traced(net: TrainedNetwork) -> ExportedProgram:
    images = torch.rand(2, *net.image, device=net.mean.device)
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        return torch.export.export(net, (images,), dynamic_shapes=({0: batch},))


def network_state(net: TrainedNetwork) -> dict[str, Tensor]:
    """The `state_dict` of `modulewise.models.build(network, image, outputs)`, without the method:
    of normalised images it computes the same scores.

    Raises:
        InvalidInput: the method computes something else than its network at inference.
    """
    cell = net.result.cell
    plain = models.build(cell.network, net.image, net.outputs).to(net.mean.device).eval()
    trained = [stage for module in net.method.trunk for stage in module.children()]
    try:
        for part, weights in zip([*plain.stages, plain.head], trained, strict=True):
            part.load_state_dict(weights.state_dict())
        x = torch.rand(4, *net.image, device=net.mean.device)
        with torch.no_grad():
            same = torch.allclose(plain(x), net.method.predict(x), rtol=1e-4, atol=1e-5)
    except (RuntimeError, ValueError):
        same = False
    if not same:
        raise InvalidInput(
            f"{cell}: {cell.method} computes more than its network at inference: a plain "
            f"state_dict would give other scores; export the program (--to)"
        )
    return plain.state_dict()


def _method(result: Result, inputs: Inputs, task: Task) -> Method:
    """The method of a run, cut where the run was cut."""
    cell = result.cell
    with fork(cell.seed, "trunk"):
        network = models.build(cell.network, inputs.image, inputs.outputs, str(cell))
    cuts = tuple(network.names[cut - 1] for cut in result.cuts)
    training = cell.training.model_copy(update=PLAIN)
    plain = cell.model_copy(update={"training": training, "partition": cuts})
    return build(plain, inputs.image, task, network)[0]


def _inputs(result: Result, folder: Path, root: Path) -> Inputs:
    """What a run's network is given, from the data themselves.

    Raises:
        InvalidInput: the data have changed, or normalise in a way of their own.
    """
    cell = result.cell
    data = load_data(*staged(cell.data, root), cell.training, cell.seed)
    if result.origin.data not in (None, data.digest):
        raise InvalidInput(f"{folder}: the images have changed since the run was made")
    if (inputs := inputs_of(data)) is None:
        raise InvalidInput(
            f"{folder}: data of source {cell.data.source} are normalised in a way of their own"
        )
    return inputs
