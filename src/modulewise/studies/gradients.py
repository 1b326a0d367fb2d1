"""How far the gradients of a run's modules point away from backpropagation's, before training and
after it: `modulewise/engine/gradients.py` says what is measured.

Both are of the run's first batch, in train mode, of the whole method: learnt or fixed feedback is
among the weights that a run keeps. What was recorded with the training setting `gradient_angles`
before the first epoch and after the last is the same, on the same device.

Deviations: modules that the run reused are random at the start.
"""

from __future__ import annotations

from typing import Any

from modulewise.engine.gradients import of_run
from modulewise.studies._trained import Trained


class Gradients:
    """Angles to backpropagation's gradient."""

    def __call__(self, trained: Trained) -> dict[str, Any]:
        """Lists with a value for every module in `module` (counted from 1): angles in degrees and
        ratios of the lengths, at the start and at the end; `None` of a module without a
        gradient."""
        found: dict[str, Any] = {"module": list(range(1, trained.method.k + 1))}
        for when, method in (("start", trained.untrained()), ("end", trained.method)):
            made = of_run(method, trained.data, trained.cell.training, trained.cell.seed)
            found[f"angle_{when}"] = [one.angle for one in made]
            found[f"ratio_{when}"] = [one.ratio for one in made]
        return found
