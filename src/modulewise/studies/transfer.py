"""Transfer between tasks: a frozen module is scored on other tasks without training (Duan, Yu and
Principe, arXiv 2005.05541, abstract: an estimate of a module's reusability and of the
transferability of tasks at almost no extra cost).

The module is all that stands before the net's last linear layer, z its output. On a target task
with training images x_i, labels y_i:

    score     mean over balanced batches of  objective( K, y ),  K_ij = k(z_i, z_j)
    leep      mean over i of  log sum_c P(y_i | c) p_c(x_i)            (LEEP, arXiv 2002.12462)
              P(y | c) = P(y, c) / sum_y P(y, c),   P(y, c) = mean over i of  [y_i = y] p_c(x_i)
    probe     accuracy of a linear classifier on held-out training images
    accuracy  test accuracy of a linear classifier fitted to all training images: the truth that the
              others are to predict; the only one that sees test images

p(x) is the softmax of the net's last layer, the source's classifier. Classifiers of z are fitted to
z standardised with the training images' statistics. Everything is measured for the same network
before any training, too.

The paper's score was not published exactly; this is what the released code, kerNET, suggests: the
objective that trains the modules, on batches of a fixed size and class mix, on which its value
depends. Batches, and the images held out, are drawn by the run's seed and the target's name: they
are the same for every source.

Seconds are of the device at hand: of a forward pass over the training images (for `score` the share
of it that its batches are), and of what follows it. Loading images is left out.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn

from modulewise.config.types import Count, Name, PairFeature, PairObjective, Positive
from modulewise.data.base import Data
from modulewise.data.resident import balanced_order
from modulewise.engine.deployed import last_linear
from modulewise.errors import InvalidInput
from modulewise.method import Method
from modulewise.parts import pairs
from modulewise.rng import generator
from modulewise.studies._linear import Standardise, error, fit_linear
from modulewise.studies._trained import Trained
from modulewise.task import class_labels


class Transfer:
    """Scores of a frozen module on other tasks, and what a new linear classifier makes of it.

    Args:
        targets: data sets to transfer to.
        objective: on the pairs of a batch.
        feature: of the objective's kernel.
        sigma: of the Gaussian kernel, in units of the features.
        batch: number of images in a batch, equal numbers of every class.
        batches: largest number of batches; fewer where the images do not suffice.
        held_out: share of the training images that the linear probe is judged on.
        decay: weight decay of the linear classifiers.

    Raises:
        ValueError: no target, a share that is none, or an objective that has no value for this
            feature.
    """

    def __init__(
        self,
        *,
        targets: tuple[Name, ...] = (),
        objective: PairObjective = "upper_tri_alignment",
        feature: PairFeature = "relu",
        sigma: Positive = 10.0,
        batch: Count = 128,
        batches: Count = 16,
        held_out: Positive = 0.2,
        decay: Positive = 1e-3,
    ) -> None:
        if not targets:
            raise ValueError("targets: name the data sets to transfer to")
        if held_out >= 1:
            raise ValueError(f"held_out: {held_out} is no share; valid: between 0 and 1")
        if not pairs.defined(feature, objective):
            raise ValueError(
                f"objective {objective} has no value with feature {feature}; valid features: tanh"
            )
        self.targets, self.objective, self.feature = targets, objective, feature
        self.sigma, self.batch, self.batches = sigma, batch, batches
        self.held_out, self.decay = held_out, decay

    def __call__(self, trained: Trained) -> dict[str, Any]:
        """Scores, percentages and seconds.

        Returns:
            `targets`: name -> `trained` and `untrained`, each `score`, `leep` (nats), `probe` and
            `accuracy` (percent) and `seconds` by these names; `images` to train on, `batches`,
            `batch`. `train_seconds`: of the run's training steps.

        Raises:
            InvalidInput: a target's images have another shape than the run's, its targets are no
                labels, or it has too few images for a batch.
        """
        found = {name: self._target(trained, name) for name in self.targets}
        return {"targets": found, "train_seconds": trained.result.cost.train_seconds}

    def _target(self, trained: Trained, name: str) -> dict[str, Any]:
        data = trained.other(name)
        if data.image != trained.data.image:
            raise InvalidInput(
                f"target {name}: images of {data.image}; the run's are {trained.data.image}"
            )
        if not class_labels(data.task, data.image):
            raise InvalidInput(f"target {name}: no class label per image")
        y = torch.cat([y for _, y in data.eval_batches("train")]).cpu()
        g = generator(trained.cell.seed, "transfer", name)
        chosen = balanced_batches(y, self.batch, self.batches, g, f"target {name}")
        order = balanced_order(y, g)
        said = {"images": len(y), "batches": len(chosen), "batch": chosen.shape[1]}
        nets = {"trained": trained.method, "untrained": trained.untrained()}
        return said | {
            kind: self._measure(trained, data, net, chosen, order) for kind, net in nets.items()
        }

    def _measure(
        self, trained: Trained, data: Data, net: Method, chosen: Tensor, order: Tensor
    ) -> dict[str, Any]:
        """Everything of one net on one target.

        Args:
            trained: the run.
            data: of the target.
            net: trained or not.
            chosen: positions of the images of every batch (batches B).
            order: of the training images (N), every class about equally often in its beginning.
        """
        watch = Stopwatch(trained.on)
        x, y = trained.features(data, "train", net)
        forward = watch.lap()
        out: dict[str, Any] = {"score": self._score(x, y, chosen.to(x.device))}
        seconds = {"score": forward * chosen.numel() / len(y) + watch.lap()}
        out["leep"] = leep(last_linear(net)(x).softmax(1), y)
        seconds["leep"] = forward + watch.lap()
        order = order.to(x.device)
        held, kept = order.tensor_split([max(1, round(self.held_out * len(y)))])
        fitted = self._fit(x[kept], y[kept], data.task.outputs)
        out["probe"] = 100 - error(fitted[1], fitted[0](x[held]), y[held])
        seconds["probe"] = forward + watch.lap()
        scale, layer = self._fit(x, y, data.task.outputs)
        seconds["accuracy"] = forward + watch.lap()
        x_test, y_test = trained.features(data, "test", net)
        out["accuracy"] = 100 - error(layer, scale(x_test), y_test)
        return out | {"seconds": seconds}

    def _score(self, x: Tensor, y: Tensor, chosen: Tensor) -> float:
        low, high = pairs.bounds(self.feature)
        values = [
            pairs.value(
                self.objective, pairs.kernel(self.feature, x[b], self.sigma), y[b], low, high
            )
            for b in chosen
        ]
        return float(torch.stack(values).mean())

    def _fit(self, x: Tensor, y: Tensor, classes: int) -> tuple[Standardise, nn.Linear]:
        scale = Standardise(x)
        return scale, fit_linear(scale(x), y, classes, self.decay)


class Stopwatch:
    """Seconds between laps on a device."""

    def __init__(self, on: torch.device) -> None:
        self.on = on
        self.lap()

    def lap(self) -> float:
        """Seconds since the last lap."""
        if self.on.type == "cuda":
            torch.cuda.synchronize(self.on)
        before, self.then = getattr(self, "then", 0.0), time.perf_counter()
        return self.then - before


def balanced_batches(y: Tensor, batch: int, most: int, g: torch.Generator, where: str) -> Tensor:
    """Positions of the images of batches that hold every class equally often (batches B), drawn
    without repetition; B is `batch`, rounded down to a multiple of the number of classes.

    Args:
        y: labels (N).
        batch: number of images.
        most: largest number of batches.
        g: drawn from.
        where: the labels' data set, for messages.

    Raises:
        InvalidInput: a batch would hold less than two images of a class, or a class has too few.
    """
    classes = y.unique()
    each, least = batch // len(classes), int(torch.bincount(y)[classes].min())
    if each < 2 or least < each:
        raise InvalidInput(
            f"{where}: batch: {batch} takes {each} images of each of {len(classes)} classes, of "
            f"which one has {least} to train on; valid: {2 * len(classes)} to "
            f"{least * len(classes)}"
        )
    count = min(most, least // each)
    columns = []
    for c in classes:
        mine = (y == c).nonzero().flatten()
        mine = mine[torch.randperm(len(mine), generator=g)]
        columns.append(mine[: count * each].reshape(count, each))
    return torch.cat(columns, 1)


def leep(p: Tensor, y: Tensor) -> float:
    """LEEP of a source's classifier on a target task, in nats: 0 is best.

    Args:
        p: probabilities of the source's classes for the target's images (N C).
        y: labels of the target (N).
    """
    p = p.double()
    joint = torch.zeros(int(y.max()) + 1, p.shape[1], dtype=p.dtype, device=p.device)
    joint = joint.index_add_(0, y, p)
    given = joint / joint.sum(0).clamp(min=torch.finfo(p.dtype).tiny)
    return float((given[y] * p).sum(1).log().mean())
