"""The figure of the net on several sizes of every test image, and on their mirror images too.

For an image x of H x W pixels and scales s_1 ... s_n,

    p(x) = sum_i softmax(R f(R_i x))              MS: the class of the largest entry of p(x)
    q(x) = p(x) + sum_i softmax(R M f(M R_i x))   MS+flip: that of q(x)

with the net's scores f, R_i to round(s_i H) x round(s_i W) pixels, R to H x W, and M, which mirrors
left to right (InfoPro, arXiv 2101.10832, table 5). What the paper leaves open is settled so:

1. Sizes are rounded, halves up, and are no multiples of anything: the net takes any size.
2. Normalised images are resized, not bytes: bilinear, corners not aligned, without smoothing where
   they shrink. At scale 1 an image stays as it is, so that scale 1 alone is the primary metric.
3. Scores are resized once, from the net's maps straight to the labels' size, and before softmax.
4. All scales, mirrored or not, weigh the same; they are added from the smallest up, in whatever
   order they are given.

One sum is kept, of one image: at 19 classes and 1024 x 2048 pixels 160 MB.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from modulewise.data.base import Data
from modulewise.engine.distributed import add_up, agree
from modulewise.engine.evaluate import test_metrics
from modulewise.engine.stop import Interrupted, Stop
from modulewise.method import Method
from modulewise.parts.precision import in_fp32
from modulewise.runs.result import PrimaryMetric
from modulewise.schedules import Precision
from modulewise.task import Dense

log = logging.getLogger(__name__)


def metrics(metric: PrimaryMetric) -> tuple[PrimaryMetric, PrimaryMetric]:
    """What a primary metric becomes at several scales, and mirrored too.

    Example:
        >>> [m.name for m in metrics(PrimaryMetric(name="miou", label="test mIoU"))]
        ['miou_ms', 'miou_ms_flip']
    """
    ms, flip = (
        metric.model_copy(update={"name": metric.name + end, "label": f"{metric.label} ({what})"})
        for end, what in (("_ms", "MS"), ("_ms_flip", "MS+flip"))
    )
    return ms, flip


@torch.no_grad()
def at_scales(
    method: Method,
    data: Data,
    scales: Sequence[float],
    precision: Precision,
    stop: Stop,
) -> dict[str, float]:
    """What a record says of the net on the test set at several scales, and mirrored too. The method
    is left in eval mode.

    Args:
        method: the trained one.
        data: on the method's device, of a task that has `probabilities`.
        scales: factors of height and width.
        precision: of the forward passes.
        stop: looked at before every image.

    Raises:
        Interrupted: a rank was asked to stop; what was counted is lost.
    """
    assert isinstance(data.task, Dense)
    log.info(f"{data.sizes.test} test images at {len(scales)} scales, and mirrored")
    method.eval()
    counters = [data.task.counter() for _ in metrics(data.task.metric)]

    def scores(x: Tensor) -> Tensor:
        with precision():
            return in_fp32(method.predict(x))

    asked = False
    for x, y in _one_by_one(data):
        if asked := stop.asked:
            break
        for counter, total in zip(counters, sums(scores, x, y, data.task, scales), strict=True):
            counter.update(total, y)
    if any(agree(asked)):
        raise Interrupted
    for counter in counters:
        add_up(counter)
    found = [(m, c.compute()) for m, c in zip(metrics(data.task.metric), counters, strict=True)]
    log.info(", ".join(metric.text(value) for metric, value in found))
    made: dict[str, float] = {}
    for metric, value in found:
        made |= test_metrics(metric, [value], [])
    return made


def _one_by_one(data: Data) -> Iterator[tuple[Tensor, Tensor]]:
    """Test images (1 C H W) with their labels (1 H W)."""
    for images, targets in data.eval_batches("test"):
        yield from zip(images.split(1), targets.split(1), strict=True)


def sums(
    scores: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, task: Dense, scales: Sequence[float]
) -> Iterator[Tensor]:
    """Sums of class probabilities (1 C H W): over all scales; then with those of the mirror images.
    It is one tensor that grows.

    Args:
        scores: gives the net's scores of images of any size.
        x: a normalised image (1 C H W).
        y: its labels (1 H W).
        task: makes probabilities of scores.
        scales: factors of height and width.
    """
    total: Tensor | None = None
    for mirrored in (False, True):
        for scale in sorted(scales):
            image = scaled(x, scale)
            found = scores(image.flip(-1)).flip(-1) if mirrored else scores(image)
            found = task.probabilities(found, y)
            total = found if total is None else total.add_(found)
        assert total is not None
        yield total


def scaled(x: Tensor, scale: float) -> Tensor:
    """Images (B C H W) at round(scale H) x round(scale W) pixels, at least one."""
    h, w = (max(int(scale * side + 0.5), 1) for side in x.shape[2:])
    if (h, w) == x.shape[2:]:
        return x
    return F.interpolate(x, size=(h, w), mode="bilinear", align_corners=False)
