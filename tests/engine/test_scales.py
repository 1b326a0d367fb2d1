"""The figure at several scales, and mirrored: against numpy, and what must hold of any net."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

import made_up
from cases import StopAt
from modulewise.config.cell import Cell
from modulewise.config.dataset import Dataset
from modulewise.config.training import TrainConfig
from modulewise.data.load import load
from modulewise.engine.scales import at_scales, sums
from modulewise.engine.stop import Interrupted, Stop
from modulewise.engine.trainer import Trainer
from modulewise.runs import record
from modulewise.runs.result import Result
from modulewise.tasks.segmentation import IGNORED, Segmentation

C = 3
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
WEIGHT = np.random.default_rng(0).normal(0, 2, (C, 3))


def a_net(x: Tensor) -> Tensor:
    """Scores at every second pixel: no mirror image of its own on maps of even width."""
    return torch.einsum("ck,bkhw->bchw", torch.from_numpy(WEIGHT), x[:, :, ::2, ::2])


def an_image(h: int, w: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(h * w)
    y = torch.from_numpy(rng.integers(0, C, (1, h, w)))
    return torch.from_numpy(rng.normal(size=(1, 3, h, w))), y


def along(n: int, m: int) -> NDArray[np.float64]:
    """Weights (m n) by which n values are read at the centres of m pixels."""
    at = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(n)))


def resized(x: NDArray[np.float64], h: int, w: int) -> NDArray[np.float64]:
    return along(x.shape[1], h) @ x @ along(x.shape[2], w).T


@pytest.mark.parametrize("size", [(5, 7), (6, 10)])
def test_sums_are_those_of_numpy(size: tuple[int, int]) -> None:
    (x, y), (h, w) = an_image(*size), size
    expected = np.zeros((C, h, w))
    found = []
    totals = (t.clone() for t in sums(a_net, x, y, Segmentation(C), SCALES))
    for mirrored in (False, True):
        for s in SCALES:
            image = resized(x[0].numpy(), int(np.floor(s * h + 0.5)), int(np.floor(s * w + 0.5)))
            image = image[:, :, ::-1] if mirrored else image
            scores = np.einsum("ck,khw->chw", WEIGHT, image[:, ::2, ::2])
            full = resized(scores, h, w)
            p = np.exp(full) / np.exp(full).sum(0)
            expected += p[:, :, ::-1] if mirrored else p
        found.append(next(totals))
        np.testing.assert_allclose(found[-1][0].numpy(), expected, rtol=1e-10)
    assert not torch.allclose(2 * found[0], found[1]), "mirror images say something else"


def test_of_a_net_without_left_and_right_mirror_images_say_the_same() -> None:
    x, y = an_image(6, 9)

    def even(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, 1, 1)

    first, both = (t.clone() for t in sums(even, x, y, Segmentation(C), SCALES))
    torch.testing.assert_close(both, 2 * first, rtol=1e-12, atol=0)


def test_the_order_of_scales_does_not_matter() -> None:
    (x, y), net = an_image(6, 9), lambda x: a_net(x.double()).float()
    found = [
        [t.clone() for t in sums(net, x.float(), y, Segmentation(C), order)]
        for order in permutations(SCALES[:4])
    ]
    assert all(torch.equal(a, b) for one in found for a, b in zip(found[0], one, strict=True))


class Images:
    """A net of one function, and test images, a batch each, for `at_scales`."""

    def __init__(self, net: Callable[[Tensor], Tensor], *images: tuple[Tensor, Tensor]) -> None:
        self.predict, self.images, self.task = net, images, Segmentation(C)
        self.sizes = type("Sizes", (), {"test": len(images)})

    def eval(self) -> None:
        """It has no other mode."""

    def eval_batches(self, part: str) -> Iterator[tuple[Tensor, Tensor]]:
        assert part == "test"
        yield from self.images

    def figures(self, scales: tuple[float, ...]) -> tuple[float, float]:
        made = at_scales(self, self, scales, torch.enable_grad, Stop())  # type: ignore[arg-type]
        return made["test_miou_ms/overall"], made["test_miou_ms_flip/overall"]


def test_one_class_everywhere_has_its_share_over_the_number_of_classes() -> None:
    """Images of a batch, and of several sizes."""
    (x, y), other = an_image(6, 9), an_image(5, 7)
    y[:, :2] = IGNORED
    two = torch.cat([x, x.flip(2)]), torch.cat([y, y.flip(1)])
    labelled = torch.cat([t[t != IGNORED] for t in (two[1], other[1])])

    def net(x: Tensor) -> Tensor:
        return torch.tensor([0.0, 1.0, 0.0])[None, :, None, None].expand(len(x), -1, 2, 3)

    expected = 100 * float((labelled == 1).double().mean()) / C
    assert Images(net, two, other).figures(SCALES) == pytest.approx((expected, expected))


def test_the_mean_is_of_probabilities_not_of_classes_or_scores() -> None:
    """Two scales find class 0 a little likelier, one is sure of class 1, by scores that are lower
    than the third class's on the others."""
    x, y = torch.zeros(1, 3, 4, 4), torch.ones(1, 4, 4, dtype=torch.long)
    by_width = {2: [0.2, 0.0, 0.0], 4: [0.2, 0.0, 0.0], 8: [0.0, 9.0, 0.0]}

    def net(x: Tensor) -> Tensor:
        return torch.tensor(by_width[x.shape[-1]])[None, :, None, None].expand(-1, -1, 2, 2)

    assert Images(net, (x, y)).figures((0.5, 1.0, 2.0)) == (100.0, 100.0)


def cell(data: Dataset, **training: Any) -> Cell:
    return Cell(
        dataset="maps", network="deeplabv3-resnet18-w8-s4", recipe="greedy", modules=2, seed=0,
        method="greedy", partition=["3.0"], data=data,
        training=TrainConfig(
            **{"epochs": 2, "batch_size": 4, "lr": 0.02, "warmup_epochs": 0} | training
        ),
    )  # fmt: skip


def trainer(one: Cell, folder: Path, stop: Stop | None = None) -> Trainer:
    data = load(one.data, Path(), one.training, one.seed)
    return Trainer(one, data, folder, torch.device("cpu"), stop=stop)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_scale_1_alone_is_the_primary_metric(precision: str, tmp_path: Path) -> None:
    one = cell(
        made_up.scenes(tmp_path / "x", task="segmentation", test_scales=(1,)), precision=precision
    )
    made = trainer(one, tmp_path / "run").fit()
    ms, flip = made.secondary
    assert (ms.metric.name, flip.metric.name) == ("miou_ms", "miou_ms_flip")
    assert ms.metric.direction == flip.metric.direction == "higher"
    assert ms.last == ms.best == made.test_last
    assert flip.last == flip.best != made.test_last


def outcome(made: Result, folder: Path) -> tuple[Any, Any, dict[tuple[str, int], float]]:
    said = record.read(folder).settled().items()
    return made.test_last, made.secondary, {k: v for k, (v, _) in said if k[0].startswith("test_")}


def test_a_run_that_is_stopped_between_two_images_goes_on_to_the_same_figures(
    tmp_path: Path,
) -> None:
    """Three pictures of several sizes, 12x20 the smallest: scaled to 1x2 and to 25x39 too. Without
    the setting a run is the same but for them."""
    data = made_up.scenes(tmp_path / "x", task="segmentation", test_scales=(0.1, 1, 1.75))
    whole = outcome(trainer(cell(data), tmp_path / "whole").fit(), tmp_path / "whole")
    assert {m.metric.name for m in whole[1]} == {"miou_ms", "miou_ms_flip"}
    assert {epoch for name, epoch in whole[2] if "_ms" in name} == {2}, "after the last epoch alone"
    steps = 2 * load(data, Path(), cell(data).training).steps
    for look in (1, 3):
        folder = tmp_path / f"cut{look}"
        with pytest.raises(Interrupted):
            trainer(cell(data), folder, StopAt(steps + look)).fit()
        assert not {name for name, _ in record.read(folder).settled() if "_ms" in name}
        assert outcome(trainer(cell(data), folder).fit(), folder) == whole
    plain = cell(data.model_copy(update={"test_scales": None}))
    test_last, secondary, said = outcome(trainer(plain, tmp_path / "no").fit(), tmp_path / "no")
    assert (test_last, secondary) == (whole[0], [])
    assert said == {k: v for k, v in whole[2].items() if "_ms" not in k[0]}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"test_scales": (1, -0.5)}, "greater than 0"),
        ({"test_scales": (0.0,)}, "greater than 0"),
        ({"test_scales": (17.0,)}, "less than or equal to 16"),
        ({"test_scales": ()}, "at least 1 item"),
        ({"test_scales": (1, 0.5, 1.0)}, "names a scale twice"),
        ({"test_scales": (True,)}, "input should be a number, got true"),
        (
            {"test_scales": (1,), "task": "classification"},
            "not for task classification; valid: seg",
        ),
    ],
)
def test_wrong_scales_are_refused(given: dict[str, Any], message: str) -> None:
    entry: dict[str, Any] = {"source": "fake", "shape": (3, 8, 8), "classes": 3}
    with pytest.raises(ValidationError, match=message):
        Dataset(**{"task": "segmentation"} | entry | given)
