"""What a step asks of its device: no number comes back, weights are cast once, layouts stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from cases import BACKPROP, TRAINING, Case, Row, data_with, rows
from modulewise import schedules
from modulewise.config.training import TrainConfig
from modulewise.engine import device
from modulewise.optim import ModuleOptimizers

ASKS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2"}
"""Operations after which the host waits for the device."""


class Operations(TorchDispatchMode):
    """Notes the name and the first tensor of every operation."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[tuple[str, Any, dict[str, Any]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run it."""
        self.ran.append((func.name(), args[0] if args else None, kwargs or {}))
        return func(*args, **(kwargs or {}))


def operations(row: Row, **training: Any) -> tuple[list[tuple[str, Any, dict[str, Any]]], Any]:
    """Those of the second step, its batch included; and the method."""
    method = row.build()
    config = TrainConfig(**(TRAINING | training))
    if config.channels_last:
        method.to(memory_format=torch.channels_last)
    optimizers = ModuleOptimizers(method, config)
    joint = schedules.build(config, method.k, 1, 0)
    joint.begin(method, 0, 1)
    batches = data_with(config).batches(1)
    precision = device.precision(config, "cpu")
    joint.step(method, next(batches), optimizers, precision)
    with Operations() as found:
        joint.step(method, next(batches), optimizers, precision)
    return found.ran, method


@rows(lambda row: row.graphable, one_a_method=True)
def test_a_step_asks_the_device_for_no_number(row: Row) -> None:
    names = {name for name, _, _ in operations(row)[0]}
    assert len(names) > 20
    assert not names & ASKS


def test_asking_is_found() -> None:
    with Operations() as found:
        float(torch.ones(2).sum())
    assert {name for name, _, _ in found.ran} & ASKS


@pytest.mark.parametrize(
    "row",
    [BACKPROP, Row(Case("dgl", {"feature_dim": 16}), "resnet8")],
    ids=lambda row: row.case.method,
)
def test_weights_are_cast_to_bf16_once_a_step(row: Row) -> None:
    with torch.backends.mkldnn.flags(enabled=False):  # see test_isolation.py
        ran, method = operations(row, precision="bf16")
    cast = [
        x.data_ptr()
        for name, x, kwargs in ran
        if name == "aten::_to_copy" and kwargs.get("dtype") == torch.bfloat16
    ]
    layers = [m for m in method.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [cast.count(layer.weight.data_ptr()) for layer in layers] == [1] * len(layers)


def test_bf16_and_channels_last_go_together() -> None:
    """What enters and leaves every convolution lies in the order N H W C, and leaves it in bf16."""
    method = BACKPROP.build().to(memory_format=torch.channels_last)
    config = TrainConfig(**TRAINING, precision="bf16", channels_last=True)
    seen: list[tuple[torch.dtype, bool, bool]] = []

    def look(layer: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
        seen.append((y.dtype, channels_last(inputs[0]), channels_last(y)))

    layers = [m for m in method.modules() if isinstance(m, nn.Conv2d)]
    for layer in layers:
        layer.register_forward_hook(look)
    with device.precision(config, "cpu")(), torch.no_grad():
        method.predict(next(data_with(config).batches(1)).x)
    assert seen == [(torch.bfloat16, True, True)] * len(layers)


def channels_last(x: Tensor) -> bool:
    """Whether x lies in the order N H W C."""
    return x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_one_kernel_updates_the_weights_on_a_gpu(optimizer: str) -> None:
    method = BACKPROP.build().cuda()
    made = ModuleOptimizers(method, TrainConfig(optimizer=optimizer))
    assert made.inner[0].param_groups[0]["fused"] is True
