"""The heart of the contract: a loss reaches its own groups and nothing else, and nothing crosses a
cut but detached tensors."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from cases import Row, a_batch, rows
from modulewise.config.training import TrainConfig
from modulewise.method import Loss, Method
from modulewise.optim import ModuleOptimizers
from modulewise.schedules import descend
from modulewise.schedules.joint import Joint


def reached(method: Method) -> set[str]:
    """Groups in which some parameter has a gradient."""
    return {name for name, g in method.groups().items() if any(p.grad is not None for p in g)}


@rows()
def test_a_loss_reaches_only_the_groups_it_names(row: Row) -> None:
    method = row.build().train()
    seen = []
    for loss in method.losses(a_batch()):
        assert loss.value.dim() == 0
        assert set(loss.groups) <= set(method.groups())
        method.zero_grad(set_to_none=True)
        loss.value.backward()
        assert reached(method) <= set(loss.groups), loss.name
        modules = [int(name.split("/")[1]) for name in reached(method)]
        assert modules, f"{loss.name} reaches no parameter"
        assert max(modules) - min(modules) < method.horizon, f"{loss.name} reaches {modules}"
        seen.append(loss.name)
    assert len(set(seen)) == len(seen), "losses need different names"


@rows(lambda row: row.splits)
def test_state_that_crosses_a_cut_is_detached(row: Row) -> None:
    method, batch = row.build().train(), a_batch()
    state = method.initial_state(batch.x)
    for k in range(method.k):
        local = method.local(k, batch, state)
        try:
            while True:
                loss = next(local)
                assert set(loss.groups) <= set(method.of_module(k)), (
                    f"{loss.name} names groups of another module"
                )
                loss.value.backward()
        except StopIteration as stop:
            state = stop.value
        assert isinstance(state, tuple)
        assert all(
            isinstance(t, Tensor) and not t.requires_grad and t.grad_fn is None for t in state
        )


@rows()
def test_every_parameter_gets_a_gradient_in_a_step(row: Row) -> None:
    """And every group one that is not zero within two steps, for a head may start at zero; what
    learns from later modules, which may wait for theirs, within K steps."""
    method = row.build().train()
    optimizer = torch.optim.SGD(method.parameters(), 0.05)
    still = set(method.groups())
    for _ in range(method.k if method.feedback == "later" else 2):
        method.zero_grad()
        for loss in method.losses(a_batch()):
            loss.value.backward()
        optimizer.step()
        assert not [name for name, p in method.named_parameters() if p.grad is None]
        still -= {n for n, g in method.groups().items() if any(p.grad.abs().max() > 0 for p in g)}
    assert not still


@rows()
def test_groups_cover_every_parameter_exactly_once(row: Row) -> None:
    method = row.build()
    counts = Counter(id(p) for g in method.groups().values() for p in g)
    assert set(counts) == {id(p) for p in method.parameters()}
    assert set(counts.values()) == {1}


@rows(lambda row: row.splits)
def test_every_group_belongs_to_one_module(row: Row) -> None:
    method = row.build()
    owned = [name for k in range(method.k) for name in method.of_module(k)]
    assert sorted(owned) == sorted(method.groups())


@rows()
@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
def test_modes_at_a_yield_are_those_at_entry(row: Row, autocast: bool) -> None:
    def modes() -> tuple[bool, ...]:
        return (
            torch.is_grad_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.is_inference_mode_enabled(),
        )

    method = row.build().train()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        entry = modes()
        assert entry == (True, autocast, False)
        losses = method.losses(a_batch())
        for loss in losses:
            assert modes() == entry
            with torch.autocast("cpu", enabled=False):
                loss.value.backward()
        assert modes() == entry
    assert method.training, "a step leaves the method in train mode"


@rows()
def test_a_stage_runs_in_train_mode_once_a_step(row: Row) -> None:
    method = row.build().train()
    for loss in method.losses(a_batch()):
        loss.value.backward()
    counts = {
        name: int(b) for name, b in method.named_buffers() if name.endswith("num_batches_tracked")
    }
    assert counts
    assert set(counts.values()) == {1}


@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")
@rows()
def test_a_bf16_step_moves_fp32_weights_by_finite_amounts(row: Row) -> None:
    method = row.build()
    joint = Joint(TrainConfig(), method.k, 1, 0)
    joint.begin(method, 0, 1)
    optimiser = ModuleOptimizers(method, TrainConfig(lr=0.01, warmup_epochs=0))

    def precision() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16)

    with torch.backends.mkldnn.flags(enabled=False):  # its 3x3 weight gradient of bf16 maps of one
        # pixel reads memory that was never written (torch 2.15)
        values = joint.step(method, a_batch(), optimiser, precision)
    assert all(torch.isfinite(v) for v in values.values())
    assert all(p.dtype == torch.float32 and torch.isfinite(p).all() for p in method.parameters())
    assert not torch.is_autocast_enabled("cpu")


def test_descend_runs_each_backward_pass_before_the_next_loss_is_built() -> None:
    a, b = torch.nn.Parameter(torch.tensor(3.0)), torch.nn.Parameter(torch.tensor(2.0))

    class Toy(Method):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.trunk = torch.nn.ModuleList([torch.nn.Identity()])
            self.a, self.b = a, b

        def groups(self) -> dict[str, list[torch.nn.Parameter]]:
            return {"a/0": [self.a], "b/0": [self.b]}

    toy = Toy()
    plain = TrainConfig(lr=0.5, momentum=0, nesterov=False, weight_decay=0, warmup_epochs=0)

    def losses():
        yield Loss(a * a, ("a/0",), "first")
        assert a.grad.item() == 6.0
        yield Loss(b * (a.grad - 2), ("b/0",), "second")
        assert b.grad.item() == 4.0
        assert (a.item(), b.item()) == (3.0, 2.0), "not stepped before the end"

    values, _ = descend(losses(), ModuleOptimizers(toy, plain), nullcontext)
    assert {n: v.item() for n, v in values.items()} == {"first": 9.0, "second": 8.0}
    assert (a.item(), b.item()) == (0.0, 0.0)
