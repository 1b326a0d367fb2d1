"""Label efficiency: how few labels a frozen trunk needs (Duan, Yu and Principe, arXiv 2005.05541,
abstract: 94.88 % of CIFAR-10's test images from ten labels).

The trunk is all that stands before the net's last linear layer. It stays as the run left it; a
linear classifier is fitted anew to its features of n labelled training images per class, and judged
on the test images.

Draw d takes the images that a run of seed d with `train_images` = n x classes trains on: of all
training images every class n times, the smaller n within the larger. Neither the method, nor the
trunk's own seed, nor the part of the images that the trunk was trained on enters: all trunks of a
data set, and such runs beside them, are told the same labels.

`decay` belongs to the mean cross-entropy and is one number for all n. Nothing is chosen on test
images: the default has the lowest mean error on validation images of MNIST and CIFAR-10 that no
trunk was trained on (docs/studies.md).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from modulewise.config.types import Count, Positive
from modulewise.data.base import Data, Part
from modulewise.data.load import load
from modulewise.data.resident import balanced_order
from modulewise.data.staging import staged
from modulewise.engine.deployed import last_linear
from modulewise.errors import InvalidInput
from modulewise.method import Method, Supervision
from modulewise.rng import generator
from modulewise.studies._linear import error, fit_linear
from modulewise.studies._trained import Trained
from modulewise.task import class_labels

PARTS: tuple[Part, Part] = ("train", "test")


class Labels:
    """Test error of a refitted linear head against the number of labels.

    Args:
        per_class: numbers of labels per class, beside all labels; more than a class has are left
            out.
        draws: number of draws of the labels.
        decay: weight decay of the head.
        normalise: features have unit length, as the paper's code has them.
        floor: measure the same network before any training, too.
    """

    def __init__(
        self,
        *,
        per_class: tuple[Count, ...] = (1, 2, 5, 10, 50, 100),
        draws: Count = 5,
        decay: Positive = 1e-4,
        normalise: bool = True,
        floor: bool = True,
    ) -> None:
        if not per_class:
            raise ValueError("per_class: no number of labels; valid: [1, 10], say")
        self.per_class, self.draws = sorted(set(per_class)), draws
        self.decay, self.normalise, self.floor = decay, normalise, floor

    def __call__(self, trained: Trained) -> dict[str, Any]:
        """Errors in percent.

        Returns:
            `per_class`, the numbers of labels; `errors`, for each of them a list over the draws;
            `all`, the error with all labels; `floor`, the same two of the untrained network, if
            wanted; `left_out`, the numbers of labels that a class lacks; `classes`, their number;
            `labels_of_the_trunk`, what of labels the trunk's training was told.

        Raises:
            InvalidInput: the data set has no class label per image.
        """
        if not class_labels(trained.data.task, trained.data.image):
            raise InvalidInput("labels: needs one class label per image; the data set has none")
        classes = trained.data.task.outputs
        data = _whole(trained)
        labels = torch.cat([y for _, y in data.eval_batches("train")])
        held = int(torch.bincount(labels, minlength=classes).min())
        counts = [n for n in self.per_class if n <= held]
        return {
            "per_class": counts,
            **self._errors(trained, data, counts),
            "floor": self._errors(trained, data, counts, trained.untrained())
            if self.floor
            else None,
            "left_out": [n for n in self.per_class if n > held],
            "classes": classes,
            "labels_of_the_trunk": supervision(trained.method),
        }

    def _errors(
        self, trained: Trained, data: Data, counts: list[int], of: Method | None = None
    ) -> dict[str, Any]:
        """Errors of heads on the run's trunk, or on another one."""
        (x, y), test = (self._features(trained, data, part, of) for part in PARTS)
        classes = trained.data.task.outputs
        orders = [draw(y, d) for d in range(self.draws)]

        def refitted(index: Tensor) -> float:
            return error(fit_linear(x[index], y[index], classes, self.decay), *test)

        return {
            "errors": [[refitted(order[: n * classes]) for order in orders] for n in counts],
            "all": refitted(torch.arange(len(y), device=y.device)),
        }

    def _features(
        self, trained: Trained, data: Data, part: Part, of: Method | None
    ) -> tuple[Tensor, Tensor]:
        x, y = trained.features(data, part, of)
        return F.normalize(x) if self.normalise else x, y


def _whole(trained: Trained) -> Data:
    """The run's data with all training images."""
    training = trained.cell.training
    if training.train_images is None:
        return trained.data
    training = training.model_copy(update={"train_images": None})
    data = load(*staged(trained.cell.data, trained.root), training, trained.cell.seed)
    return data.to(trained.on)


def draw(y: Tensor, number: int) -> Tensor:
    """Order of the training images (N) in draw `number`: its first n x classes hold n labels of
    every class, and are what a run of seed `number` with so many `train_images` trains on."""
    return balanced_order(y.cpu(), generator(number, "subset")).to(y.device)


def supervision(method: Method) -> Supervision:
    """What of labels the losses were told that trained the trunk before the last linear layer."""
    last = {id(p) for p in last_linear(method).parameters()}
    groups = [{id(p) for p in group} for group in method.groups().values()]
    return method.supervision if last in groups else "class"
