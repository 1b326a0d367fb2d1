"""What a method says that a step needs: forward passes, activations, earlier steps, and what an
update waits for."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from cases import Row, a_batch, rows
from modulewise.method import Batch, Method
from modulewise.methods import method_class
from one_step import disturbed, equal, module_of, ready

BATCH = 8


def stages(method: Method, k: int) -> list[nn.Module]:
    """Of module k, without the net's own head: others may read that as well."""
    parts = list(method.trunk[k].children())
    return parts[:-1] if k == method.k - 1 else parts


class Kept:
    """A tensor that waits for a backward pass, and the module it is of."""

    def __init__(self, tensor: Tensor, k: int | None) -> None:
        self.tensor, self.k = tensor, k


@contextmanager
def watched(method: Method) -> Iterator[list[int]]:
    """Inside, the list is extended by the number of modules with kept activations, whenever one
    more tensor is kept."""
    running: list[int] = []
    alive: WeakSet[Kept] = WeakSet()
    counts: list[int] = []

    def keep(tensor: Tensor) -> Kept:
        kept = Kept(tensor, running[-1] if running else None)
        alive.add(kept)
        counts.append(len({one.k for one in alive} - {None}))
        return kept

    def leave(*_: Any) -> None:
        running.pop()

    hooks = []
    for k in range(method.k):
        for stage in stages(method, k):
            hooks += [
                stage.register_forward_pre_hook(lambda *_, k=k: running.append(k)),
                stage.register_forward_hook(leave),
            ]
    with saved_tensors_hooks(keep, lambda kept: kept.tensor):
        yield counts
    for hook in hooks:
        hook.remove()


def step(method: Method, batch: Batch) -> None:
    """The backward passes of one step."""
    for loss in method.losses(batch):
        loss.value.backward()
        del loss


@pytest.mark.filterwarnings("ignore:A saved_tensors_hooks context")
@rows()
def test_as_many_modules_are_alive_as_declared(row: Row) -> None:
    """Or none, where the whole net's activations are kept elsewhere."""
    method = row.build().train()
    method.trace(a_batch(BATCH).x)
    with watched(method) as counts:
        step(method, a_batch(BATCH))
    assert max(counts) == method.alive or (method.single and max(counts) < method.alive)


@rows()
def test_layers_make_no_more_passes_than_declared(row: Row) -> None:
    method, seen = row.build().train(), dict[nn.Module, int]()
    method.trace(a_batch(BATCH).x)

    def count(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen[layer] = seen.get(layer, 0) + len(given[0])

    for k in range(method.k):
        for stage in stages(method, k):
            for layer in stage.modules():
                if list(layer.parameters(recurse=False)):
                    layer.register_forward_pre_hook(count)
    step(method, a_batch(BATCH))
    compiled = type(method).trace is not Method.trace  # repeats operations, not calls
    most = max(seen.values()) / BATCH
    assert most <= method.passes if compiled else most == method.passes


def one_step(method: Method) -> list[dict[str, Tensor]]:
    """Gradients of the stages that one step leaves, by module."""
    torch.manual_seed(0)
    method.zero_grad()
    step(method, a_batch(BATCH))
    heads = {id(p) for p in list(method.trunk[-1].children())[-1].parameters()}
    found: list[dict[str, Tensor]] = [{} for _ in range(method.k)]
    for name, p in method.named_parameters():
        if name.startswith("trunk.") and id(p) not in heads:
            assert p.grad is not None
            found[module_of(name)][name] = p.grad.clone()
    return found


def noisy(method: Method, m: int) -> Method:
    """A copy in which module m gives other features in the present step."""
    other = copy.deepcopy(method)

    def add(stage: nn.Module, given: Any, h: Tensor) -> Tensor:
        return h + 0.1 * torch.randn(h.shape, generator=torch.Generator().manual_seed(1))

    stages(other, m)[-1].register_forward_hook(add)
    return other


@rows(lambda row: row.case.modules > 1 and not method_class(row.case.method).single)
def test_updates_wait_for_what_is_declared(row: Row) -> None:
    """Other features of later modules change no update that waits for its input alone; other
    modules with the same scores none that waits for the scores."""
    method, seen = ready(row), list[Tensor]()
    hook = method.trunk[-1].register_forward_hook(lambda *call: seen.append(call[-1].detach()))
    base = one_step(copy.deepcopy(method))
    hook.remove()
    changed = [
        not equal(base[k], one_step(noisy(method, m))[k])
        for m in range(1, method.k)
        for k in range(max(0, m - method.horizon + 1))
    ]
    reaching = method.horizon > 1 and method.locked == "later"
    assert reaching or any(changed) == (method.locked != "input")
    if method.locked == "input":
        return

    def same_values(module: nn.Module, given: Any, output: Tensor) -> Tensor:
        return seen[0] + (output - output.detach())

    past_scores = False
    for m in range(1, method.k):
        other = disturbed(method, m)
        other.trunk[-1].register_forward_hook(same_values)
        found = one_step(other)
        past_scores |= not all(equal(base[k], found[k]) for k in range(m))
    assert past_scores == (method.locked == "later")


@rows(lambda row: method_class(row.case.method).single)
def test_what_is_not_cut_waits_for_the_backward_pass_of_the_whole(row: Row) -> None:
    assert row.build().locked == "later"


@rows()
def test_gradients_depend_on_as_many_earlier_steps_as_declared(row: Row) -> None:
    """Images of the step so many before the present one matter, those of the step before that do
    not; weights are the same throughout."""
    method = ready(row)
    for back in {max(1, method.history), method.history + 1}:
        found = []
        for seed in (1, 2):
            other = copy.deepcopy(method)
            torch.manual_seed(0)
            step(other, a_batch(BATCH, seed))
            for _ in range(back - 1):
                step(other, a_batch(BATCH))
            found.append(one_step(other))
        same = all(equal(a, b) for a, b in zip(*found, strict=True))
        assert same == (back > method.history), f"{back} steps before"
