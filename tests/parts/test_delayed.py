"""Delayed gradients: which images a module learns from, what is kept of earlier steps, and what
leaves it alone."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cases import BACKPROP, Case, Row, a_batch, images, same, snapshot, trainer_of
from modulewise.engine.build import build
from modulewise.errors import InvalidInput
from modulewise.method import Batch, Loss, Method
from modulewise.parts.history import History

METHODS = ["ddg", "features_replay"]
K, STEPS = 3, 7
Gradients = list[list[Tensor]]
"""Of every parameter, by module."""

both = pytest.mark.parametrize("name", METHODS)


def made(name: str, network: str = "mlp3x32") -> Method:
    """In double precision, in train mode."""
    return Row(Case(name), network).build().double().train()


def double(batch: Batch) -> Batch:
    """In double precision."""
    return replace(batch, x=batch.x.double(), image=batch.image.double())


def batches(*sizes: int) -> list[Batch]:
    """Different images in each."""
    return [double(a_batch(size, seed)) for seed, size in enumerate(sizes)]


def step(method: Method, batch: Batch) -> Gradients:
    """Gradients of one step."""
    method.zero_grad()
    for loss in method.losses(batch):
        loss.value.backward()
    return [[p.grad.clone() for p in module.parameters()] for module in method.trunk]


def backprop(method: Method, batch: Batch) -> Gradients:
    """End to end, with the method's weights of now."""
    trunk = copy.deepcopy(method.trunk)
    h = batch.x
    for module in trunk:
        h = module(h)
    F.cross_entropy(h, batch.y).backward()
    return [[p.grad for p in module.parameters()] for module in trunk]


def close(found: list[Tensor], expected: list[Tensor]) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


@both
@pytest.mark.parametrize("network", ["mlp3x32", "resnet8"])
def test_with_still_weights_a_gradient_is_that_of_backpropagation_some_steps_ago(
    name: str, network: str
) -> None:
    """Zero before there is one; batches differ in images and in size."""
    method, given = made(name, network), batches(8, 5, 8, 6, 4, 8, 7)
    for t, batch in enumerate(given):
        found = step(method, batch)
        for k in range(K):
            then = t - (K - 1 - k)
            if then >= 0:
                close(found[k], backprop(method, given[then])[k])
            else:
                assert not any(g.any() for g in found[k])


@both
def test_a_gradient_depends_on_one_batch_alone(name: str) -> None:
    """Other images in one of seven steps change the last gradient of module k if and only if they
    are those of K - 1 - k steps before."""
    method, given = made(name), batches(*[8] * STEPS)

    def last(given: list[Batch]) -> Gradients:
        again = copy.deepcopy(method)
        return [step(again, batch) for batch in given][-1]

    base = last(given)
    for n in range(STEPS):
        other = last([*given[:n], double(a_batch(8, 100 + n)), *given[n + 1 :]])
        for k in range(K):
            alike = all(torch.equal(a, b) for a, b in zip(base[k], other[k], strict=True))
            assert alike == (n != STEPS - 1 - (K - 1 - k)), f"module {k}, step {n}"


def trajectory(name: str, lr: float) -> list[Gradients]:
    method = made(name)
    optimizer = torch.optim.SGD(method.parameters(), lr)
    found = []
    for batch in batches(*[8] * 5):
        found.append(step(method, batch))
        optimizer.step()
    return found


def test_the_two_agree_where_weights_stand_still_and_differ_where_they_move() -> None:
    for a, b in zip(*(trajectory(name, 0.0) for name in METHODS), strict=True):
        for k in range(K):
            close(a[k], b[k])
    a, b = (trajectory(name, 0.1)[4][0] for name in METHODS)
    for x, y in zip(a, b, strict=True):
        assert not torch.allclose(x, y, rtol=1e-3)


@both
def test_one_step_makes_all_updates_that_it_can_without_waiting(name: str) -> None:
    """The loss of module k is there before module k + 1 has run."""
    method, ran = made(name), list[int]()
    for k, module in enumerate(method.trunk):
        module.register_forward_hook(lambda *_, k=k: ran.append(k))
    step(method, batches(8)[0])
    ran.clear()
    for k, loss in enumerate(method.losses(batches(8, 8)[1])):
        assert loss.name == f"module_{k}"
        assert max(ran) == k
        loss.value.backward()


@both
def test_batchnorm_counts_the_passes_on_present_images(name: str) -> None:
    method = made(name, "resnet8")
    plain = copy.deepcopy(method)
    for batch in batches(8, 8, 5, 8):
        step(method, batch)
        plain.predict(batch.x)
    for (key, found), expected in zip(
        method.trunk.named_buffers(), plain.trunk.buffers(), strict=True
    ):
        torch.testing.assert_close(found, expected, msg=key)


@both
@pytest.mark.parametrize("done", [0, 1, 2, 4])
def test_a_state_put_back_goes_on_alike_whatever_there_was(name: str, done: int) -> None:
    given = batches(8, 8, 5, 8, 6, 7, 8)
    method, fresh, used = made(name), made(name), made(name)
    for batch in given[:done]:
        step(method, batch)
    for batch in given[::-1]:
        step(used, batch)
    state = snapshot(method)
    expected = [step(method, batch) for batch in given[done:]]
    for other in (fresh, used):
        other.load_state_dict(state)
        assert same(snapshot(other), state)
        for batch, gradients in zip(given[done:], expected, strict=True):
            for a, b in zip(step(other, batch), gradients, strict=True):
                assert all(map(torch.equal, a, b))


@both
def test_evaluation_touches_nothing(name: str) -> None:
    method = made(name)
    for batch in batches(8, 8, 8):
        step(method, batch)
    before = snapshot(method)
    method.eval()
    with torch.no_grad():
        method.outputs(batches(5)[0].x)
        method.predict(batches(5)[0].x)
    assert same(snapshot(method), before)


@both
def test_what_is_kept_between_steps(name: str) -> None:
    """Of eight images: two inputs of the first of three layers of 32, one of the second, a gradient
    at each cut; for DDG the weights that went with each input."""
    method = made(name)
    for batch in batches(8, 8, 8, 8):
        step(method, batch)
    kept = [b for part in (method.past, method.returned) for b in part.buffers()]
    expected = 8 * (2 * 3 * 8 * 8 + 32 + 2 * 32)
    if name == "ddg":
        first, second = (sum(p.numel() for p in m.parameters()) for m in method.trunk[:2])
        expected += 2 * first + second
    assert sum(b.numel() for b in kept) == expected
    assert len({b.untyped_storage().data_ptr() for b in kept}) == len(kept)


@both
def test_bf16_gradients_are_near_those_of_fp32(name: str) -> None:
    found = []
    for enabled in (False, True):
        method = made(name).float()
        for n in range(4):
            method.zero_grad()
            for value in built(method.losses(a_batch(8, n)), enabled):
                value.backward()
        found.append(torch.cat([p.grad.flatten() for p in method.trunk[0].parameters()]))
    assert F.cosine_similarity(*found, dim=0) > 0.99
    assert not torch.equal(*found)


def built(losses: Iterator[Loss], bf16: bool) -> Iterator[Tensor]:
    """Values of losses, each built under autocast or not."""
    while True:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = next(losses, None)
        if loss is None:
            return
        yield loss.value


@both
def test_a_single_module_waits_for_nothing_and_keeps_nothing(name: str) -> None:
    method = Row(Case(name), "mlp3x32").build(modules=1).double().train()
    assert (method.feedback, method.history, method.passes) == ("none", 0, 1)
    given = batches(8, 8)
    for batch in given:
        for found, expected in zip(step(method, batch), backprop(method, batch), strict=True):
            assert all(map(torch.equal, found, expected))
    assert not [name for name in method.state_dict() if not name.startswith("trunk.")]


@both
def test_a_step_that_is_undone_leaves_no_history(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Such as the trial of compiled modules, here of modules that are left as they are."""
    row = Row(Case(name), "mlp3x32")
    plain = trainer_of(row.cell(epochs=1), tmp_path / "plain")
    plain.fit()
    monkeypatch.setattr(torch, "compile", lambda call, **_: call)
    mine = trainer_of(row.cell(epochs=1, compile="inductor"), tmp_path / "mine")
    mine.fit()
    assert same(mine.method.state_dict(), plain.method.state_dict())


@both
def test_micro_batches_are_refused(name: str) -> None:
    row = Row(Case(name), "mlp3x32")
    with pytest.raises(InvalidInput, match=r"accumulate: .* earlier steps.*; valid: 1"):
        build(row.cell(accumulate=2), images().image, images().task)
    build(row.cell(accumulate=2, modules=1), images().image, images().task)
    build(BACKPROP.cell(accumulate=2), images().image, images().task)


def test_a_history_gives_what_was_kept_so_many_steps_ago() -> None:
    """Rows of two tensors, of other sizes every time."""
    history = History(3)
    assert history.empty
    history.begin(torch.tensor([-1.0]), torch.tensor([-2.0]))
    seen = []
    for n in range(12):
        a, b = history.oldest()
        assert len(list(history.buffers())) == 6
        seen.append((a.sum().item(), b.sum().item()))
        history.keep(torch.ones(n), torch.ones(2, n))
    assert seen == [(-1.0, -2.0)] * 3 + [(n, 2 * n) for n in range(9)]
    other = History(3)
    other.load_state_dict(history.state_dict())
    assert [a.sum().item() for a in other.oldest()] == [9, 18]
    other.load_state_dict(History(3).state_dict())
    assert other.empty
