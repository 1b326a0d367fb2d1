"""What every task must give: a loss that rewards what its metric does, and a metric of a split."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cases import CLASSES, TASKS
from modulewise import tasks
from modulewise.config.options import has_method, names
from modulewise.task import Dense, Task, secondary


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    """Every task, of four classes."""
    return tasks.build(request.param, CLASSES)


def drawn(task: Task, n: int = 40) -> tuple[Tensor, Tensor]:
    """Targets, and scores that are right in every one of them."""
    torch.manual_seed(0)
    targets = torch.randint(task.outputs, task.placeholder(n, (3, 8, 8), "cpu").shape)
    return targets, 10 * F.one_hot(targets, task.outputs).movedim(-1, 1).float()


def figure(task: Task, scores: Tensor, targets: Tensor, size: int = 1000) -> float:
    counter = task.counter()
    for s, t in zip(scores.split(size), targets.split(size), strict=True):
        counter.update(s, t)
    return counter.compute()


def test_every_task_has_a_row() -> None:
    assert set(names("tasks")) == set(TASKS), "add a row to TASKS in tests/cases.py"


def test_a_split_is_counted_the_same_in_any_batches(task: Task) -> None:
    targets, right = drawn(task)
    scores = right + 8 * torch.randn(right.shape)
    whole = figure(task, scores, targets)
    assert whole not in (0.0, 100.0)
    for size in (1, 7, 40):
        assert figure(task, scores, targets, size) == pytest.approx(whole, rel=1e-12)


def test_loss_and_metric_agree_on_what_is_better(task: Task) -> None:
    targets, right = drawn(task)
    noisy = right + 20 * torch.randn(right.shape)
    assert task.loss(right, targets) < task.loss(noisy, targets)
    better, worse = figure(task, right, targets), figure(task, noisy, targets)
    assert task.metric.rank(better) < task.metric.rank(worse)


def test_configuration_knows_which_tasks_have_scales(
    task: Task, request: pytest.FixtureRequest
) -> None:
    """Their probabilities add up to one at every pixel of the targets."""
    dense = isinstance(task, Dense)
    assert has_method("tasks", request.node.callspec.params["task"], "probabilities") == dense
    if dense:
        targets, scores = drawn(task, 6)
        found = task.probabilities(scores[:, :, ::2, ::2], targets)
        assert found.shape == scores.shape
        torch.testing.assert_close(found.sum(1), torch.ones(targets.shape))
        assert torch.equal(task.probabilities(scores, targets).argmax(1), targets)


def test_placeholders_are_targets(task: Task) -> None:
    targets, scores = drawn(task, 6)
    made = task.placeholder(6, (3, 8, 8), "cpu")
    assert made.shape == targets.shape and made.dtype == targets.dtype
    assert torch.isfinite(task.loss(scores, made))
    assert task.placeholder(6, (3, 8, 8), "meta").is_meta


@pytest.mark.parametrize("size", [1, 7, 40])
def test_the_top_5_error_of_many_classes(size: int) -> None:
    """Against a count in numpy: the share of images with five scores at least as large as their
    label's before it."""
    torch.manual_seed(1)
    task = tasks.build("classification", 30)
    targets, scores = torch.randint(30, (40,)), torch.randn(40, 30)
    ((metric, counter),) = secondary(task)
    assert (metric.name, metric.unit, metric.direction) == ("top5_error", "%", "lower")
    for s, t in zip(scores.split(size), targets.split(size), strict=True):
        counter.update(s, t)
    own = scores.numpy()[np.arange(40), targets.numpy()]
    before = (scores.numpy() > own[:, None]).sum(1)
    assert counter.compute() == pytest.approx(100 * np.mean(before >= 5))
    assert counter.compute() < figure(task, scores, targets)


@pytest.mark.parametrize(("classes", "others"), [(20, 0), (21, 1)])
def test_few_classes_have_no_top_5_error(classes: int, others: int) -> None:
    assert len(secondary(tasks.build("classification", classes))) == others
