"""Per-layer diagnostics: what a linear classifier reads from the output of every stage (InfoPro,
arXiv 2101.10832, figure 2, the idea).

The features of a stage are pooled to a vector of channel means and standardised with the training
images' statistics; the classifier is fitted to the training images and judged on the test images.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modulewise.config.types import NonNegative
from modulewise.data.base import Data, Part
from modulewise.studies._linear import error, fit_linear
from modulewise.studies._trained import Trained, stage_outputs


class Probe:
    """Linear probes over depth.

    Args:
        decay: weight decay of the linear classifiers.
    """

    def __init__(self, *, decay: NonNegative = 1e-4) -> None:
        self.decay = decay

    def __call__(self, trained: Trained) -> dict[str, Any]:
        """`linear_error`: test error in percent after every stage."""
        train, y = _pooled(trained, "train")
        test, y_test = _pooled(trained, "test")
        classes = trained.data.task.outputs
        errors = []
        for a, b in zip(train, test, strict=True):
            mean, std = a.mean(0), a.std(0).clamp(min=1e-6)
            layer = fit_linear((a - mean) / std, y, classes, self.decay)
            errors.append(error(layer, (b - mean) / std, y_test))
        return {"linear_error": errors}


def _pooled(trained: Trained, part: Part) -> tuple[list[Tensor], Tensor]:
    """Channel means of every stage's output (N C), and targets."""
    found: list[list[Tensor]] = []
    targets = []
    data: Data = trained.data
    for x, y in data.eval_batches(part):
        found.append(
            [h.flatten(2).mean(2) if h.dim() > 2 else h for h in stage_outputs(trained.method, x)]
        )
        targets.append(y)
    return [torch.cat(parts) for parts in zip(*found, strict=True)], torch.cat(targets)
