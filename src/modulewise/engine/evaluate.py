"""The primary metric of every module's own head."""

from __future__ import annotations

import itertools

import torch

from modulewise.data.base import Data, Part
from modulewise.method import Method
from modulewise.runs.result import PrimaryMetric
from modulewise.schedules import Precision


@torch.no_grad()
def evaluate(
    method: Method,
    data: Data,
    part: Part,
    precision: Precision,
    most: int | None = None,
    heads: bool = True,
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
    """
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
                counters[k].update(given, targets)
    return [None if k in silent else counter.compute() for k, counter in enumerate(counters)]


def test_metrics(
    metric: PrimaryMetric, values: list[float | None], history: list[dict[str, float]]
) -> dict[str, float]:
    """What a record says of an evaluation on the test set: of the net, of every module's own head,
    and the best over epochs, on which nothing is chosen.

    Args:
        metric: the primary metric.
        values: of every head, the net's own last.
        history: metrics of the epochs before.
    """
    *auxiliary, overall = values
    assert overall is not None, "the net's own head gives outputs of the task"
    name = f"test_{metric.name}"
    made = {f"{name}/overall": overall}
    made |= {f"{name}/module_{k}": v for k, v in enumerate(auxiliary) if v is not None}
    made[f"{name}/best"] = min([*(h[f"{name}/overall"] for h in history), overall], key=metric.rank)
    return made
