"""The primary metric of every module's own head, and the net's secondary ones."""

from __future__ import annotations

import itertools

import torch

from modulewise.data.base import Data, Part
from modulewise.engine.distributed import add_up, average_statistics, everyone
from modulewise.method import Method
from modulewise.parts.precision import in_fp32
from modulewise.runs.result import PrimaryMetric
from modulewise.schedules import Precision
from modulewise.task import Counters


@torch.no_grad()
def evaluate(
    method: Method,
    data: Data,
    part: Part,
    precision: Precision,
    most: int | None = None,
    heads: bool = True,
    others: Counters = (),
) -> list[float | None]:
    """The primary metric of every head on a part, the net's own last; `None` where a head gives no
    outputs of the task, or is left out. The method is left in eval mode.

    Args:
        method: whose heads.
        data: on the method's device.
        part: `val` or `test`.
        precision: of the forward passes.
        most: number of batches; all of them if not given.
        heads: whether the modules' own heads are run; the net as it is deployed if not.
        others: metrics that count the net's own outputs too.
    """
    average_statistics(method)
    method.eval()
    counters = [data.task.counter() for _ in range(method.k)]
    silent: set[int] = set()
    for x, targets in itertools.islice(data.eval_batches(part), most):
        with precision():
            auxiliary = method.k - 1
            outputs = method.outputs(x) if heads else [*[None] * auxiliary, method.predict(x)]
        for k, given in enumerate(outputs):
            if given is None:
                silent.add(k)
            else:
                counters[k].update(in_fp32(given), targets)
        if (scores := outputs[-1]) is not None:
            for _, counter in others:
                counter.update(in_fp32(scores), targets)
    silent |= {k for told in everyone(silent) for k in told}
    for counter in (*counters, *(it.counter for it in others)):
        add_up(counter)
    return [None if k in silent else counter.compute() for k, counter in enumerate(counters)]


def test_metrics(
    metric: PrimaryMetric,
    values: list[float | None],
    history: list[dict[str, float]],
    others: Counters = (),
) -> dict[str, float]:
    """What a record says of an evaluation on the test set: of the net, of every module's own head,
    and the best over epochs, on which nothing is chosen.

    Args:
        metric: the primary metric.
        values: of every head, the net's own last.
        history: metrics of the epochs before.
        others: secondary metrics that have counted the set.
    """
    *auxiliary, overall = values
    assert overall is not None, "the net's own head gives outputs of the task"
    name = f"test_{metric.name}"
    made = {f"{name}/overall": overall}
    made |= {f"{name}/module_{k}": v for k, v in enumerate(auxiliary) if v is not None}
    before = [h[f"{name}/overall"] for h in history if f"{name}/overall" in h]
    made[f"{name}/best"] = min([*before, overall], key=metric.rank)
    for other, counter in others:
        made |= test_metrics(other, [counter.compute()], history)
    return made
