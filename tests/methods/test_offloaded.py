"""Saved tensors leave the device and come back as they were."""

from __future__ import annotations

import pytest
import torch

from modulewise import methods, models
from modulewise.method import Batch, Method
from modulewise.models.network import cut
from modulewise.tasks.classification import Classification


def made(method: str, side: int = 8) -> Method:
    torch.manual_seed(0)
    network = models.build("resnet8", (3, side, side), 5)
    return methods.build(method, cut(network, [], Classification(5)), {}).train()


def batch(n: int = 6, side: int = 8, device: str = "cpu") -> Batch:
    torch.manual_seed(1)
    x, y = torch.rand(n, 3, side, side, device=device), torch.arange(n, device=device) % 5
    return Batch(x, y, x, y)


def test_what_the_forward_pass_saves_goes_through_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many tensors come back as went, and the gradients are those of backpropagation."""
    counts = {"there": 0, "back": 0}
    plain = torch.autograd.graph.save_on_cpu.__init__

    def counting(self: torch.autograd.graph.save_on_cpu, pin_memory: bool = False) -> None:
        plain(self, pin_memory)
        pack, unpack = self.pack_hook, self.unpack_hook

        def there(t: torch.Tensor) -> object:
            counts["there"] += 1
            return pack(t)

        def back(packed: object) -> torch.Tensor:
            counts["back"] += 1
            return unpack(packed)

        self.pack_hook, self.unpack_hook = there, back

    monkeypatch.setattr(torch.autograd.graph.save_on_cpu, "__init__", counting)
    gradients = []
    for name in ("offloaded", "backprop"):
        method = made(name)
        for loss in method.losses(batch()):
            loss.value.backward()
        gradients.append([p.grad for p in method.parameters()])
    assert counts["there"] == counts["back"] > 50
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.gpu
def test_between_the_passes_a_gpu_keeps_nearly_nothing() -> None:
    kept = []
    for name in ("offloaded", "backprop"):
        method = made(name, side=32).cuda()
        for _ in range(2):  # the first holds libraries' first allocations
            before = torch.cuda.memory_allocated()
            losses = list(method.losses(batch(64, 32, "cuda")))
            kept.append(torch.cuda.memory_allocated() - before)
            del losses
    assert kept[1] < 0.1 * kept[3]
