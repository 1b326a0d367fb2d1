"""A budget decides what the compiler keeps, of one net as of another; the gradients stay those of
backpropagation."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from modulewise import methods, models
from modulewise.engine import flops
from modulewise.errors import InvalidInput
from modulewise.method import Batch, Method
from modulewise.models.network import cut
from modulewise.tasks.classification import Classification

TASK = Classification(5)


def made(method: str, network: str = "resnet8", **options: Any) -> Method:
    torch.manual_seed(0)
    net = models.build(network, (3, 8, 8), 5)
    return methods.build(method, cut(net, [], TASK), options).train()


def loss_of(method: Method, images: int = 6) -> Tensor:
    torch.manual_seed(1)
    x, y = torch.rand(images, 3, 8, 8), torch.arange(images) % 5
    (loss,) = method.losses(Batch(x, y, x, y))
    return loss.value


def gradients(method: Method) -> Tensor:
    return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])


@pytest.mark.parametrize("budget", [0.0, 1.0])
def test_gradients_and_statistics_are_those_of_backpropagation(budget: float) -> None:
    mine, its = made("budgeted", budget=budget), made("backprop")
    for method in (mine, its):
        loss_of(method).backward()
    assert (gradients(mine) - gradients(its)).abs().max() < 1e-5 * gradients(its).abs().max()
    for a, b in zip(mine.buffers(), its.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def kept(method: Method) -> int:
    """Bytes that the graph of a loss holds on to: those of the saved tensors that are no
    parameters."""
    loss_of(method).backward()
    own = {p.untyped_storage().data_ptr() for p in method.parameters()}
    found: dict[int, int] = {}
    todo, seen = [loss_of(method).grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for t in getattr(node, "saved_tensors", None) or ():
            if isinstance(t, Tensor) and t.untyped_storage().data_ptr() not in own:
                found[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        todo += [above for above, _ in node.next_functions]
    return sum(found.values())


def test_a_smaller_budget_keeps_less() -> None:
    """Side by side in one process: no net runs what was compiled for another. At 0 the input is
    left, and the scores that the loss keeps for itself."""
    most, half, none = (kept(made("budgeted", budget=b)) for b in (1.0, 0.5, 0.0))
    assert half < 0.55 * most
    assert none <= 6 * (3 * 8 * 8 + 5) * 4 + 64
    assert none < 0.1 * half


def test_what_is_computed_again_is_counted() -> None:
    """With all kept nothing; with nothing kept every product of the forward pass but the
    classifier's."""
    f = {b: flops.flops(made("budgeted", budget=b), (3, 8, 8), 4) for b in (0.0, 1.0)}
    assert f[1.0].helpers == 0
    assert f[0.0].helpers == 2 * (f[0.0].inference_macs - 64 * 5)
    assert f[0.0].trunk == f[1.0].trunk


def test_any_number_of_batch_sizes() -> None:
    """More than torch compiles for one piece of code."""
    method = made("budgeted", "mlp1x8")
    for images in range(2, 12):
        assert loss_of(method, images).isfinite()


def test_a_copy_of_a_net_that_was_compiled_is_a_net_of_its_own() -> None:
    first = made("budgeted", "mlp1x8")
    loss_of(first).backward()
    other = copy.deepcopy(first)
    before = gradients(first).clone()
    other.zero_grad()
    with torch.no_grad():
        next(other.parameters()).mul_(2)
    loss_of(other).backward()
    assert torch.equal(gradients(first), before)
    assert not torch.equal(gradients(other), before)


@pytest.mark.parametrize("stage", ["start", "graph"])
def test_where_torch_cannot_compile_nothing_runs(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiler(*args: Any, **more: Any) -> Any:
        from torch._dynamo.exc import Unsupported

        if stage == "start":
            raise RuntimeError("torch.compile is not supported on this Python\nmore")

        def run(*given: Any) -> Tensor:
            raise Unsupported("no compiler here\nmore")

        return run

    monkeypatch.setattr(torch, "compile", compiler)
    with pytest.raises(InvalidInput, match=r"needs torch\.compile, which fails here: ") as error:
        loss_of(made("budgeted", "mlp1x8"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("budget", [-0.1, 1.1])
def test_a_budget_is_a_share(budget: float) -> None:
    from modulewise.config.options import options_model

    with pytest.raises(ValueError, match="budget"):
        options_model("methods", "budgeted")(budget=budget)
