"""Per-layer diagnostics: what the output of every stage says of the label and of the image
(InfoPro, arXiv 2101.10832, figure 2).

Of every output h of the frozen net, without augmentation, on all test images:

    linear_error           error of a linear classifier on the channel means of h
    reconstruction         BCE( sigmoid(D(h)), image ): falls as I(h, image) rises
    auxiliary_error, _loss error and cross-entropy of a small net on h: fall as I(h, label) rises

The linear classifier is fitted to the training images by L-BFGS, on features standardised with
their statistics; decoder D and the small net are trained on them for `epochs` by Adam. Both bounds
are loose: they hold what these readers found in that time, not what is there. Nothing is chosen on
test images.

Deviations from the paper:

1. Its probes were never released. Ours are the decoder and the `1c2f` head of its local modules.
2. It plots estimates of mutual information, to all appearance 1 - reconstruction and 1 - auxiliary
   error. Here stand losses and errors themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from modulewise.config.types import Count, HeadNet, NonNegative, Positive
from modulewise.data.base import Part
from modulewise.errors import InvalidInput
from modulewise.method import Method
from modulewise.parts.losses import reconstruction
from modulewise.studies._linear import Standardise, error, fit_linear
from modulewise.studies._readers import Images, Reader, fit, judge
from modulewise.studies._trained import Trained, stage_outputs

CHUNK = 250
"""Images that go through the net at once where nothing learns."""


class Probe:
    """Readers of every stage's output.

    The default learning rate was chosen by training losses after 150 steps, on a net of the demo:
    those of 0.01 and 0.03 are alike, those of 0.001 and 0.003 higher.

    Args:
        at: `stages`, every one of them; `cuts`, the last of every module.
        images: training images to learn from, drawn at random; all if not given.
        decay: weight decay of the linear classifiers.
        epochs: passes of decoders and auxiliary classifiers over the training images.
        batch_size: of their steps.
        lr: of Adam at their start.
        decoder_width: channels of the decoders.
        head: architecture of the auxiliary classifiers.
        feature_dim: their hidden units.
    """

    def __init__(
        self,
        *,
        at: Literal["stages", "cuts"] = "stages",
        images: Count | None = None,
        decay: NonNegative = 1e-4,
        epochs: Count = 10,
        batch_size: Count = 128,
        lr: Positive = 1e-2,
        decoder_width: Count = 12,
        head: HeadNet = "1c2f",
        feature_dim: Count = 128,
    ) -> None:
        if batch_size < 2:
            raise ValueError("batch_size: 1; BatchNorm needs 2 images at least")
        self.at, self.images, self.decay = at, images, decay
        self.epochs, self.batch_size, self.lr = epochs, batch_size, lr
        self.decoder_width, self.head, self.feature_dim = decoder_width, head, feature_dim

    def __call__(self, trained: Trained) -> dict[str, Any]:
        """Lists with a value for every stage in `stage` (counted from 1), in nats or percent; and
        what reconstructions range between: `rebuilt_best`, the images' own entropy, and
        `rebuilt_blind`, the loss of the training images' mean."""
        if trained.cell.data.task != "classification":
            raise InvalidInput(f"{trained.cell}: study probe: the task must be classification")
        train = _images(trained, "train", self.images)
        test = _images(trained, "test")
        places = _places(trained.method, self.at)

        def outputs(x: Tensor) -> list[Tensor]:
            found = stage_outputs(trained.method, x)
            return [found[i] for i in places]

        errors = list(self._linear(outputs, train, test, trained.data.task.outputs))
        make = partial(
            Reader,
            image=trained.data.image,
            task=trained.data.task,
            width=stage_outputs(trained.method, test.x[:1])[-1].shape[1],
            decoder_width=self.decoder_width,
            head=self.head,
            feature_dim=self.feature_dim,
        )
        readers = [make(tuple(h.shape[1:])).to(trained.on) for h in outputs(test.x[:1])]
        fit(readers, outputs, train, self.epochs, self.batch_size, self.lr)
        rebuilt, label, wrong = zip(*judge(readers, outputs, test, CHUNK), strict=True)
        return {
            "stage": [i + 1 for i in places],
            "linear_error": errors,
            "reconstruction": list(rebuilt),
            "auxiliary_error": list(wrong),
            "auxiliary_loss": list(label),
            "rebuilt_best": float(F.binary_cross_entropy(test.image, test.image)),
            "rebuilt_blind": _blind(train.image, test.image),
        }

    def _linear(self, outputs: Any, train: Images, test: Images, classes: int) -> Iterator[float]:
        """Test error of a linear classifier on every output's channel means."""
        for a, b in zip(_pooled(outputs, train), _pooled(outputs, test), strict=True):
            scale = Standardise(a)
            layer = fit_linear(scale(a), train.y, classes, self.decay)
            yield error(layer, scale(b), test.y)


def _images(trained: Trained, part: Part, limit: int | None = None) -> Images:
    """All images of a part, or so many at random, in their order."""
    data = trained.data
    n = data.sizes._asdict()[part]
    kept = torch.randperm(n)[:limit].sort().values.to(trained.on)
    xs, ys, begin = [], [], 0
    for x, y in data.eval_batches(part):
        mine = kept[(kept >= begin) & (kept < begin + len(y))] - begin
        xs.append(x[mine])
        ys.append(y[mine])
        begin += len(y)
    x = torch.cat(xs)
    return Images(x, data.pixels(x), torch.cat(ys))


def _places(method: Method, at: str) -> list[int]:
    """Indices of the stages whose output is read."""
    ends = list(accumulate(len(list(module.children())) for module in method.trunk))
    ends[-1] -= 1  # the head
    return [end - 1 for end in ends] if at == "cuts" else list(range(ends[-1]))


def _pooled(outputs: Any, images: Images) -> list[Tensor]:
    """Channel means of every output (N C)."""
    found = [
        [h.flatten(2).mean(2) if h.dim() > 2 else h for h in outputs(x)]
        for x in images.x.split(CHUNK)
    ]
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


def _blind(train: Tensor, test: Tensor) -> float:
    """Loss of a reconstruction that is the training images' mean, whatever the image."""
    logits = train.mean(0).clamp(1e-6, 1 - 1e-6).logit()
    return float(reconstruction(logits.expand_as(test), test))
