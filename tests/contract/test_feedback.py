"""What the gradients of a module depend on, of the modules after it: those within the horizon, and
the feedback that the method declares."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from cases import Row, rows
from modulewise.method import Method
from one_step import disturb, disturbed, equal, gradients, module_of, ready


@rows(lambda row: row.case.modules > 1)
def test_gradients_depend_on_the_horizon_and_on_declared_feedback(row: Row) -> None:
    """On every module within the horizon; of those beyond it, without feedback on none, with
    feedback of later modules on some, and on all if the error at the output comes back."""
    method = ready(row)
    assert 1 <= method.horizon <= method.k
    base = gradients(copy.deepcopy(method))  # a step may move what feedback is made of
    others = {m: gradients(disturbed(method, m)) for m in range(1, method.k)}
    for k in range(method.k - 1):
        depends = {m: not equal(base[k], others[m][k]) for m in range(k + 1, method.k)}
        beyond = [depends.pop(m) for m in range(k + method.horizon, method.k)]
        assert all(depends.values()), f"module {k}: {depends}, horizon {method.horizon}"
        expected = {"none": not any(beyond), "later": any(beyond), "fixed": all(beyond)}
        assert not beyond or expected[method.feedback], f"module {k}: {beyond}"


@rows(lambda row: row.feedback != "none")
def test_feedback_and_gradients_need_the_joint_schedule(row: Row) -> None:
    assert row.build().joint_only


@rows(lambda row: row.feedback == "fixed")
def test_fixed_feedback_sees_later_modules_through_the_scores_alone(row: Row) -> None:
    """Other weights in module m change nothing in the modules before it as long as the net's scores
    have the same values: what comes back goes through no Jacobian of a later module."""
    method, seen = ready(row), []
    with method.trunk[-1].register_forward_hook(lambda *call: seen.append(call[-1].detach())):
        base = gradients(method)
    (scores,) = seen

    def same_values(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        return scores + (output - output.detach())

    for m in range(1, method.k):
        other = disturbed(method, m)
        other.trunk[-1].register_forward_hook(same_values)
        found = gradients(other)
        assert all(equal(base[k], found[k]) for k in range(m)), f"module {m}"


def fixed_weights(method: Method, k: int) -> Iterator[tuple[str, Tensor]]:
    """Buffers of module k's helpers that a checkpoint holds, without BatchNorm's statistics."""
    saved = set(method.state_dict())
    for name, buffer in method.named_buffers():
        helper = not name.startswith("trunk.") and module_of(name) == k
        if helper and name in saved and "running_" not in name and buffer.is_floating_point():
            yield name, buffer


@rows(lambda row: row.feedback == "fixed")
def test_fixed_feedback_is_buffers_that_count_and_never_move(row: Row) -> None:
    method = ready(row)
    before = {name: b.clone() for k in range(method.k) for name, b in fixed_weights(method, k)}
    base = gradients(method)
    torch.optim.AdamW(method.parameters(), 0.1).step()
    for name, buffer in method.named_buffers():
        assert name not in before or torch.equal(buffer, before[name]), f"{name} has moved"
    method = ready(row)
    for k in range(method.k - 1):
        other = copy.deepcopy(method)
        disturb(buffer for _, buffer in fixed_weights(other, k))
        assert not equal(gradients(other)[k], base[k]), f"module {k} has no fixed feedback"
