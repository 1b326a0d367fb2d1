"""The forward-forward algorithm (Hinton, arXiv 2212.13345): every module tells images that carry
their true label from images that carry a wrong one, by how active it is.

    x+ = x with y written into it,  x- = x with a wrong label, drawn at random
    h_k = f_k( unit( stop_gradient(h_{k-1}) ) ),   unit(h) = h / root mean square of h
    g_k = mean of h_k^2                                                            goodness
    L_k = 1/2 [ softplus(theta - g_k(x+)) + softplus(g_k(x-) - theta) ]     mean over images

A label is written over the first values of the image, as many as there are classes: the image's
largest value at the label's place, zeros at the others. Lengths are divided out between modules, so
that one cannot judge by the goodness of the one before. There is no backward pass beyond a module.

`readout` says what is deployed:

- `goodness`: every label is tried; the one wins whose goodness, summed over all modules but the
  first (over the only one if K = 1), is highest. A prediction costs a forward pass a class.
- `goodness-all`: the same, summed over the first module too.
- `softmax`: one pass with a neutral label, 1 / classes at every place, and the net's own classifier
  on the last module's normalised output. It learns by cross-entropy on detached features, whatever
  is deployed.

Deviations from the paper:

1. A module may hold several layers: its goodness is that of its last one, and its layers learn
   together. With as many modules as hidden layers it is the paper's.
2. Goodness is the mean of squares, not their sum; vectors are normalised to a root mean square of
   one, not to length one; and the image is normalised too.
3. The softmax readout sees the last hidden layer alone, not all but the first, and wrong labels are
   drawn evenly, not by how probable the net finds them.
4. All modules learn on every batch, as in the paper; training them one after the other, as some
   implementations do, is not offered.
5. BatchNorm, which the paper's nets lack, sees true and wrong labels in one pass. `mlp` nets ending
   in `-relu` have none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modulewise.config.types import Positive
from modulewise.method import Batch, Loss, State
from modulewise.models.network import CutNetwork
from modulewise.parts.precision import in_fp32
from modulewise.parts.readout import Readout
from modulewise.parts.statistics import frozen_statistics
from modulewise.task import class_labels


def write(x: Tensor, label: Tensor) -> Tensor:
    """Images (B C H W) with weights of classes (B classes, or classes) in their first values."""
    flat = x.flatten(1)
    written = label * flat.amax(1, keepdim=True)
    return torch.cat([written, flat[:, label.shape[-1] :]], 1).view(x.shape)


def goodness(h: Tensor) -> Tensor:
    """Mean square of each image's activities (B ...) -> (B), never in bf16."""
    return in_fp32(h).square().flatten(1).mean(1)


def unit(h: Tensor) -> Tensor:
    """Activities (B ...) with a root mean square of one in every image."""
    return h / (goodness(h).sqrt() + 1e-4).view(-1, *[1] * (h.dim() - 1))


class ForwardForward(Readout):
    """Modules that are active where image and label belong together.

    Args:
        trunk: the network, cut.
        theta: threshold of goodness.
        readout: what predicts: `goodness` of every label in turn, in all modules but the first, or
            in `goodness-all`; or `softmax` of one pass.

    Raises:
        ValueError: the task is no classification of whole images, or an image has fewer values
            than there are classes.
    """

    joint_only = True
    passes = 3
    labels: Tensor
    """Weights of every label (classes classes)."""

    def __init__(
        self,
        trunk: CutNetwork,
        *,
        theta: Positive = 2.0,
        readout: Literal["goodness", "goodness-all", "softmax"] = "goodness",
    ) -> None:
        super().__init__(trunk)
        classes, values = self.task.outputs, math.prod(trunk.image)
        if not class_labels(self.task, trunk.image):
            raise ValueError("forward_forward needs one label per image; this task has others")
        if values < classes:
            raise ValueError(
                f"forward_forward writes one of {classes} classes into an image; this one has "
                f"{values} values"
            )
        self.theta, self.tries_labels = theta, readout != "softmax"
        self.first = int(readout == "goodness" and self.k > 1)  # module whose goodness counts
        self.register_buffer("labels", torch.eye(classes), persistent=False)

    def initial_state(self, x: Tensor) -> State:
        """Images with the neutral label."""
        return (write(x, self.labels.mean(0)),)

    def forward_module(self, k: int, state: State) -> State:
        """Run module k on its normalised input; the last one ends with the classifier."""
        h = self.stages(k)(unit(state[0]))
        return (self.classifier(unit(h)) if k == self.k - 1 else h,)

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """Each module's loss, then the classifier's."""
        n, classes = len(batch.y), len(self.labels)
        wrong = (batch.y + torch.randint_like(batch.y, 1, classes)) % classes
        h = torch.cat([write(batch.x, self.labels[y]) for y in (batch.y, wrong)])
        (neutral,) = self.initial_state(batch.x)
        for k in range(self.k):
            h = self.stages(k)(unit(h))
            true, false = goodness(h).split(n)
            value = F.softplus(self.theta - true) + F.softplus(false - self.theta)
            yield Loss(value.mean() / 2, (f"trunk/{k}",), f"goodness_{k}")
            h = h.detach()
            with torch.no_grad(), frozen_statistics(self.trunk[k]):
                neutral = self.stages(k)(unit(neutral))
        scores = self.classifier(unit(neutral))
        yield Loss(self.task.loss(scores, batch.y), self.readout, f"module_{self.k - 1}")

    def outputs(self, x: Tensor) -> list[Tensor | None]:
        """Goodness of every label, of each module alone, the prediction's last; or the net's
        classifier alone."""
        if not self.tries_labels:
            return super().outputs(x)
        tried = [self._goodness(write(x, label)) for label in self.labels]
        of_module = [torch.stack(of_label, 1) for of_label in zip(*tried, strict=True)]
        return [*of_module[:-1], torch.stack(of_module[self.first :]).sum(0)]

    def predict(self, x: Tensor) -> Tensor:
        """Summed goodness, or scores of the classifier (B classes)."""
        prediction = self.outputs(x)[-1] if self.tries_labels else super().predict(x)
        assert prediction is not None
        return prediction

    def deployed(self) -> list[nn.Module]:
        """The trunk; its classifier only if that predicts."""
        return list(map(self.stages, range(self.k))) if self.tries_labels else [self.trunk]

    def _goodness(self, h: Tensor) -> Iterator[Tensor]:
        """Of each module (B), for images with a label."""
        for k in range(self.k):
            h = self.stages(k)(unit(h))
            yield goodness(h)
