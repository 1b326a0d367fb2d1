"""Target propagation (Bengio, arXiv 1407.7906): every module regresses a target that learnt maps
carry down from the output, instead of a gradient.

    module k minimises  1/2 | h_k - t_k |^2,  k < K - 1;  the last the task's loss L
    first target        t = h - eta dL/dh,  L the loss of one image

`targets`, the way down:

    inverse      t_k = g_k(t_{k+1})
    difference   t_k = h_k + g_k(t_{k+1}) - g_k(h_{k+1})
    direct       t_k = h_k + g_k(t_{K-1}) - g_k(h_{K-1}),  g_k linear from the scores

`feedback_loss`, what g_k minimises: c = h_k + sigma n is corrupted by normal noise, F the modules
between the two ends of g_k, d_c = c - h_k and d_y two draws of sigma n:

    reconstruction   | g_k(F(c)) - c |^2
    output           1 / sigma^2 | r_k(c) - c |^2,  r_k(c) what t_k would be if the scores' target
                     were the scores that c leads to
    jacobian         1 / sigma^2 ( | g_k(F(h_k) + d_y) - g_k(F(h_k)) |^2
                     - 2 < d_c, g_k(F(c)) - g_k(F(h_k)) > )

Their minima, where modules are linear: the inverse of F; maps that together are the pseudo-inverse
of the net above, so that targets are Gauss-Newton's; the transpose of F's Jacobian, so that targets
are steps along the gradient. Published are inverse + reconstruction (target propagation),
difference + reconstruction (DTP, Lee et al., arXiv 1412.7525), difference + output (DTP-DRL) and
direct + output (DDTP-linear, both Meulemans et al., arXiv 2006.14331), difference + jacobian
(L-DRL, Ernoult et al., arXiv 2201.13415). The first target is that of the last hidden output with
reconstruction, as in DTP, and that of the scores with all else. Squares are sums over elements and
means over images.

Inverse targets hold the maps' own errors: modules learn these too, however small the step, so that
eta must be large. The other targets are the outputs themselves where there is nothing to correct.

Deviations from the papers:

1. The papers were read in their released code and abstracts only. eta is of the loss of one image;
   in the code of DTP and DRL it is of the batch's mean, so that published steps stand divided by
   the batch size in the recipes.
2. The last module, the last hidden layer with the net's classifier, learns the task's loss by
   backpropagation inside the module; the papers cut behind every layer, and those that start at
   the scores have the classifier regress its target too.
3. Each g_k makes one step per step of the trunk, from the first one on. The papers alternate epochs
   (DTP), train g for ten epochs first and for two after every epoch of the trunk (DRL), or take 20
   to 55 steps per batch (L-DRL); `draws` averages several draws of noise into one step.
4. One rate for all g_k, `feedback_rate` times the trunk's; L-DRL's authors give one to each layer.
   RMSProp of DTP is Adam here; DRL's Adam has constants of its own for trunk and maps. The trunk's
   weight decay reaches the maps, too.
5. g_k is one affine layer, whatever F holds, and behind it a tanh where h_k comes out of one and
   targets are not direct. It has no bias where only its differences count.
6. What g_k minimises is divided by the number of elements of h_k, as in DRL's code, and `jacobian`
   by sigma^2, too, which L-DRL's is not: another rate under SGD.
7. In place of DRL's damping stands, as in its code, weight decay: `feedback_decay` times half the
   squares of g_k's weights, which is that damping where g_k is linear.
8. Maps start with the library's weights; DRL's start Xavier-normal, DTP's orthogonal.
9. Dropout draws anew in every pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modulewise.config.types import Count, NonNegative, Positive
from modulewise.method import Batch, Locking, Loss, Method
from modulewise.models.network import CutNetwork
from modulewise.parts.inverses import Inverse
from modulewise.parts.precision import in_fp32
from modulewise.parts.statistics import frozen_statistics
from modulewise.task import need_class_labels


class TargetPropagation(Method):
    """Modules that learn from targets.

    Args:
        trunk: the network, cut.
        targets: how targets come down: through `inverse` maps, by their `difference`, or `direct`
            from the scores to every module.
        feedback_loss: what those maps minimise: `reconstruction` of what enters the next module,
            reconstruction through the `output`, or the distance to the `jacobian`'s transpose.
        eta: step of the first target along the loss's gradient.
        sigma: standard deviation of the noise.
        draws: of noise, in each step.
        feedback_rate: learning rate of the maps, in parts of the trunk's.
        feedback_decay: weight decay of the maps.

    Raises:
        ValueError: inverse targets through transposed Jacobians.
    """

    joint_only = True
    feedback = "later"
    locked: Locking = "later"

    def __init__(
        self,
        trunk: CutNetwork,
        *,
        targets: Literal["inverse", "difference", "direct"] = "difference",
        feedback_loss: Literal["reconstruction", "output", "jacobian"] = "reconstruction",
        eta: Positive = 0.328,
        sigma: Positive = 0.36,
        draws: Count = 1,
        feedback_rate: Positive = 1.0,
        feedback_decay: NonNegative = 0.0,
    ) -> None:
        super().__init__(trunk)
        if feedback_loss != "reconstruction":
            need_class_labels(trunk.task, trunk.image, f"feedback_loss {feedback_loss}")
        if (targets, feedback_loss) == ("inverse", "jacobian"):
            raise ValueError(
                "a transposed Jacobian is no inverse: feedback_loss jacobian needs targets "
                "difference or direct, got inverse"
            )
        self.targets, self.feedback_loss = targets, feedback_loss
        self.eta, self.sigma, self.draws = eta, sigma, draws
        self.feedback_rate, self.feedback_decay = feedback_rate, feedback_decay
        direct = targets == "direct"
        self.locked = "scores" if direct else "later"
        self.from_scores = direct or feedback_loss != "reconstruction"
        shapes = [*trunk.cut_shapes, (trunk.task.outputs,)]
        self.sources = [self.k - 1 if direct else k + 1 for k in range(self.k - 1)]
        absolute = feedback_loss == "reconstruction" or targets == "inverse"

        def bounded(k: int) -> bool:
            return not direct and isinstance(list(trunk.modules[k].modules())[-1], nn.Tanh)

        self.inverses = nn.ModuleList(
            Inverse(
                shapes[self.sources[k]],
                shapes[k],
                bias=absolute or bounded(k),
                tanh=bounded(k),
                rate=feedback_rate,
            )
            for k in range(self.k - 1 if self.from_scores else self.k - 2)
        )
        # Noise of every map runs through the next module, or to the scores.
        maps, far = len(self.inverses), direct or feedback_loss == "output"
        self.passes = 1 + draws * (maps if far else min(maps, 1))

    @property
    def alive(self) -> int:
        """A module's graph waits for its target."""
        return self.k

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """The last module's loss, then, towards the first, each module's and its map's."""
        h, last, outputs = batch.x, self.k - 1, []
        for k, module in enumerate(self.trunk):
            x = h.detach().requires_grad_(k == last > 0)
            h = module(x)
            outputs.append(h)
        h.retain_grad()
        yield Loss(self.task.loss(h, batch.y), (f"trunk/{last}",), f"module_{last}")
        if last == 0:
            return
        top, clean = h if self.from_scores else x, [h.detach() for h in outputs]
        assert top.grad is not None
        target = first = top.detach() - self.eta * len(x) * in_fp32(top.grad)
        for k in reversed(range(last)):
            mapped = k < len(self.inverses)
            if mapped:
                with torch.no_grad():
                    above = first if self.targets == "direct" else target
                    target = self._target(k, clean, above)
            error = (in_fp32(outputs[k]) - target).square().sum() / (2 * len(x))
            yield Loss(error, (f"trunk/{k}",), f"module_{k}", surrogate=True)
            if mapped:
                value = self._feedback_loss(k, clean)
                yield Loss(value, (f"inverses/{k}",), f"inverse_{k}", surrogate=True)

    def _target(self, k: int, clean: list[Tensor], above: Tensor) -> Tensor:
        """Target of module k, given that of its source and the outputs of all modules."""
        target = self.inverses[k](above)
        if self.targets == "inverse":
            return target
        return clean[k] + target - self.inverses[k](clean[self.sources[k]])

    def _feedback_loss(self, k: int, clean: list[Tensor]) -> Tensor:
        """What map k minimises, given the outputs of all modules."""
        draw = {
            "reconstruction": self._reconstruction,
            "output": self._through_output,
            "jacobian": self._jacobian,
        }[self.feedback_loss]
        values = torch.stack([draw(k, clean) for _ in range(self.draws)])
        weights = sum(p.square().sum() for p in self.inverses[k].parameters())
        decay = self.feedback_decay / 2 * self.feedback_rate**2 * weights
        return (values.mean() + decay) / self.feedback_rate

    def _reconstruction(self, k: int, clean: list[Tensor]) -> Tensor:
        c = clean[k] + self._noise(clean[k])
        return F.mse_loss(self.inverses[k](self._run(k + 1, self.sources[k], c)), c)

    def _through_output(self, k: int, clean: list[Tensor]) -> Tensor:
        c = clean[k] + self._noise(clean[k])
        above = self._run(k + 1, self.k - 1, c)
        with torch.no_grad():
            for j in reversed(range(self.sources[k], self.k - 1)):
                above = self._target(j, clean, above)
        return F.mse_loss(self._target(k, clean, above), c) / self.sigma**2

    def _jacobian(self, k: int, clean: list[Tensor]) -> Tensor:
        x, y, g = clean[k], clean[self.sources[k]], self.inverses[k]
        dx, dy = self._noise(x), self._noise(y)
        moved, still = g(self._run(k + 1, self.sources[k], x + dx)), g(y)
        value = (g(y + dy) - still).square() - 2 * dx * (moved - still)
        return value.mean() / self.sigma**2

    def _noise(self, like: Tensor) -> Tensor:
        return self.sigma * torch.randn_like(like)

    @torch.no_grad()
    def _run(self, first: int, last: int, h: Tensor) -> Tensor:
        """Modules from the first to the last on h, once more in this step."""
        for k in range(first, last + 1):
            with frozen_statistics(self.trunk[k]):
                h = self.trunk[k](h)
        return h
