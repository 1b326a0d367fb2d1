"""What learns to read a frozen feature: a decoder, which rebuilds the image, and a classifier."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modulewise.config.types import HeadNet
from modulewise.models.network import Shape
from modulewise.parts.decoders import Decoder
from modulewise.parts.heads import label_head
from modulewise.parts.losses import reconstruction
from modulewise.task import Task


@dataclass(frozen=True)
class Images:
    """Some images without augmentation, on the device.

    Attributes:
        x: normalised (N C H W).
        image: the same in [0, 1] (N C H W).
        y: labels (N).
    """

    x: Tensor
    image: Tensor
    y: Tensor


class Reader(nn.Module):
    """A decoder and a classifier of one feature.

    Args:
        feature: shape of one feature, (C, H, W) or (C,).
        image: shape of one image (C, H, W).
        task: gives the classifier's loss.
        width: channels of the net's last stage, up to which the classifier widens.
        decoder_width: channels of the decoder in between.
        head: architecture of the classifier.
        feature_dim: its hidden units.
    """

    def __init__(
        self,
        feature: Shape,
        image: Shape,
        task: Task,
        width: int,
        decoder_width: int,
        head: HeadNet,
        feature_dim: int,
    ) -> None:
        super().__init__()
        self.task = task
        self.decoder = Decoder(feature, image, decoder_width)
        self.classifier = label_head(head, feature, task.outputs, width, feature_dim)

    def forward(self, h: Tensor, image: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction loss and cross-entropy, in nats, and the number of errors, of features
        (B C H W or B C)."""
        scores = self.classifier(h)
        wrong = (scores.argmax(1) != y).sum()
        return reconstruction(self.decoder(h), image), self.task.loss(scores, y), wrong


Outputs = Callable[[Tensor], list[Tensor]]
"""Normalised images (B C H W) -> a feature for every reader, without a graph."""


def fit(
    readers: Sequence[Reader],
    outputs: Outputs,
    images: Images,
    epochs: int,
    batch_size: int,
    lr: float,
) -> None:
    """Train all readers side by side, by Adam at a learning rate that falls to zero along a cosine;
    none sees another, nor the net a gradient.

    Args:
        readers: in train mode afterwards.
        outputs: gives their features.
        images: to learn from.
        epochs: passes over them; a last batch of one image is left out.
        batch_size: images in a step.
        lr: learning rate at the start.
    """
    n, device = len(images.y), images.y.device
    optimizer = torch.optim.Adam([p for reader in readers for p in reader.train().parameters()], lr)
    orders = [torch.randperm(n).split(batch_size) for _ in range(epochs)]
    batches = [index.to(device) for order in orders for index in order if len(index) > 1]
    for step, index in enumerate(batches):
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / len(batches))) / 2
        features = outputs(images.x[index])
        losses = [
            sum(reader(h, images.image[index], images.y[index])[:2])
            for reader, h in zip(readers, features, strict=True)
        ]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()


@torch.no_grad()
def judge(
    readers: Sequence[Reader], outputs: Outputs, images: Images, size: int
) -> list[tuple[float, float, float]]:
    """Reconstruction loss and cross-entropy in nats, and error in percent, of every reader, over
    some images; in eval mode afterwards.

    Args:
        readers: trained.
        outputs: gives their features.
        images: to judge by.
        size: of a batch.
    """
    n = len(images.y)
    sums = torch.zeros(len(readers), 3, dtype=torch.float64)
    for index in torch.arange(n, device=images.y.device).split(size):
        x, image, y = images.x[index], images.image[index], images.y[index]
        for i, (reader, h) in enumerate(zip(readers, outputs(x), strict=True)):
            rebuilt, label, wrong = reader.eval()(h, image, y)
            sums[i] += torch.tensor([rebuilt * len(y), label * len(y), 100 * wrong]).double()
    return [(a, b, c) for a, b, c in (sums / n).tolist()]
