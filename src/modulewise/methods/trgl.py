"""Transport-regularised greedy learning (Karkar et al., NeurIPS 2023, arXiv 2309.17357): greedy
modules that move their input little.

    L_k = CE( a_k(h_k), y ) + 1 / (2 tau_k) sum over stages s of module k of mean( r_s^2 )

r_s is what residual stage s adds to its shortcut, as a map; the mean is over images and elements,
so that the sum is a discretised kinetic energy of the module. The last module has the net's own
classifier and is penalised too. With `doubled`, tau_k is tau for the second half of the modules and
tau / 2 for the first, as in the released code.

Deviations from the paper:

1. A stage without a residual branch that keeps its input's shape is penalised by its displacement,
   output minus input; other stages (the stem, layers that change the shape) are not. The paper
   proposes the displacement for networks without shortcuts.
2. Shortcuts that change the shape are 1x1 convolutions, as in all our ResNets; the authors'
   subsample and pad with zeros.
3. Heads default to `1c2f`, and the last module has the net's own classifier; the authors' STL-10
   runs gave every module, the last too, a 3x3 convolution, ReLU, average pooling to 3x3 or 6x6,
   BatchNorm and a linear layer.
4. Label smoothing of 0.1, orthogonal initialisation and the adaptive weight of the classification
   loss (their CIFAR-100 runs) are absent.
5. The authors' STL-10 numbers are of one half of the test set, drawn by seed, the best of all
   modules and epochs on it; ours are of the whole test set, the net's own output, the last epoch.
6. With an odd K the middle module counts to the second half; the paper has even K only.
"""

from __future__ import annotations

import itertools

from torch import Tensor

from modulewise.config.types import Count, LabelHead, Positive
from modulewise.method import Batch, Local, Loss, Method, State
from modulewise.models.network import CutNetwork, Residual
from modulewise.parts.heads import label_heads
from modulewise.parts.precision import in_fp32


class Trgl(Method):
    """Greedy modules with a penalty on their residuals.

    Args:
        trunk: the network, cut.
        tau: the larger, the weaker the penalty.
        doubled: halve tau in the first half of the modules.
        head: architecture of the local heads.
        feature_dim: units of their hidden layer.

    Raises:
        ValueError: no stage has a residual branch or keeps its input's shape, so that there is
            nothing to penalise.
    """

    equals_backprop = False
    whole_modules = False

    def __init__(
        self,
        trunk: CutNetwork,
        *,
        tau: Positive = 1.0,
        doubled: bool = True,
        head: LabelHead = "1c2f",
        feature_dim: Count = 128,
    ) -> None:
        super().__init__(trunk)
        residual = any(isinstance(stage, Residual) for part in trunk.modules for stage in part)
        if not residual and not any(
            a == b for a, b in itertools.pairwise([trunk.image, *trunk.stage_shapes])
        ):
            raise ValueError(
                "trgl needs a stage that has a residual branch or keeps the shape of its input; "
                "this network has none"
            )
        self.stages = [
            b - a for a, b in itertools.pairwise([-1, *trunk.ends])
        ]  # in every module, the head not counted
        self.taus = [tau / 2 if doubled and k < self.k // 2 else tau for k in range(self.k)]
        self.heads = label_heads(trunk, head, feature_dim)
        if head == "shared":
            self.joint_only, self.feedback = True, "later"

    def energy(self, k: int, h: Tensor) -> tuple[Tensor, Tensor]:
        """Run module k on its input h; its output, and the sum over its stages of the mean squared
        movement."""
        parts, energies = list(self.trunk[k].children()), []
        for stage in parts[: self.stages[k]]:
            before = h
            if isinstance(stage, Residual):
                moved = stage.branch(h)
                h = stage.join(before, moved)
            else:
                h = stage(h)
                if h.shape != before.shape:
                    continue
                moved = h - before
            energies.append(in_fp32(moved).square().mean())
        for part in parts[self.stages[k] :]:
            h = part(h)
        return h, sum(energies, h.new_zeros(()))

    def local(self, k: int, batch: Batch, state: State) -> Local:
        """Cross-entropy and penalty."""
        h, energy = self.energy(k, state[0])
        scores = h if k == self.k - 1 else self.heads[k](h)
        yield Loss(
            self.task.loss(scores, batch.y) + energy / (2 * self.taus[k]),
            self.of_module(k),
            f"module_{k}",
        )
        return (h.detach(),)
