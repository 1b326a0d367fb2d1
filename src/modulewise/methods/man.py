"""Momentum auxiliary network (MAN, arXiv 2407.05623; MAN++, arXiv 2507.16279): the helper of a
module begins with two blocks of the shape of the trunk's next stage, one that learns and one that
follows the trunk.

    L_k = CE( a_k(m_k), y )          m_k = B_k(h_k) + E_k(h_k)                   MAN
                                     m_k = s_k B_k(h_k) + (2 - s_k) E_k(h_k)     MAN++ (`scale`)
    E_k <- momentum E_k + (1 - momentum) F_{k+1}    once a step, before L_k

F_{k+1} are the parameters of the first stage of module k + 1, B_k is trained, s_k is a learnt
scalar that starts at 1, h_k is the module's output and a_k the usual head. With the loss `infopro`
InfoPro's two terms (arXiv 2101.10832) stand on m_k instead, in their softmax form.

E_k is buffers: no gradient moves it, a checkpoint holds it, and it counts in memory and operations
but not among the parameters. It passes gradients on to h_k. Gradients reach back through module k
alone; that they depend on weights of module k + 1 is feedback of the kind `later`. Under another
schedule than the joint one the next stage would be untrained, or of another pace: refused.

Deviations from the papers:

1. B_k and E_k start from weights of their own, drawn like the trunk's. The papers copy the trunk's
   stage; the released code copies, then draws both anew, so that E_k starts random there too.
2. B_k is a whole stage, as in the released code; the papers call it a learnable bias.
3. E_k follows parameters only. Its BatchNorms have statistics of their own, counted on h_k.
4. Heads are `1c2f`, on m_k; the papers' are not known to us.
5. The two weights of `infopro` run over the modules and default to those of our `infopro`; in the
   released code they run over the parts of the ResNet (0, the stem's, to 3), and on ImageNet with
   K = 4 they are 5 and 0.75.
6. E_k follows before a step's loss; in the released code after it.
7. The released code gives a ResNet's stem a module and a helper of its own, which counts as one of
   the K = 16 or 55 modules, and beside the K = 8 or 32. Ours always counts.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from modulewise.config.types import Count, DecoderNet, Ends, Fraction, LabelHead
from modulewise.method import Batch, LocalMethod
from modulewise.models.network import CutNetwork
from modulewise.parts.infopro_loss import InfoProLoss


class Mixture(nn.Module):
    """A trained block B and a momentum block E of the shape of the trunk's next stage, added.

    Args:
        trunk: the network, cut.
        k: the module whose output it is given.
        scale: weigh the two by s and 2 - s, s being learnt.
        momentum: of E.

    Raises:
        ValueError: the network builds no layer that has the parameters of the next stage.
    """

    def __init__(self, trunk: CutNetwork, k: int, scale: bool, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.block, self.average = _next_stage(trunk, k), _buffers(_next_stage(trunk, k))
        self.s = nn.Parameter(torch.ones(())) if scale else None

    @torch.no_grad()
    def follow(self, stage: nn.Module) -> None:
        """Move E towards the stage's parameters."""
        for name, p in stage.named_parameters():
            self.average.get_buffer(name).lerp_(p, 1 - self.momentum)

    def forward(self, h: Tensor) -> Tensor:
        """The module's output -> a feature of the next stage's shape."""
        trained, followed = self.block(h), self.average(h)
        if self.s is None:
            return trained + followed
        return self.s * trained + (2 - self.s) * followed


class Man(LocalMethod):
    """Helpers that begin with a momentum copy of what follows the module.

    Args:
        trunk: the network, cut.
        scale: learn the weights of the two blocks (MAN++).
        momentum: of the moving average; 1 keeps it as it starts.
        loss: `label` (cross-entropy), or `infopro` (reconstruction and cross-entropy).
        lambda1: weight of the reconstruction, first and last auxiliary module.
        lambda2: weight of the label term beside it, likewise.
        head: architecture of the label heads.
        feature_dim: units of their hidden layer.
        decoder: architecture of the decoders of `infopro`.
    """

    joint_only = True
    feedback = "later"

    def __init__(
        self,
        trunk: CutNetwork,
        *,
        scale: bool = False,
        momentum: Fraction = 0.995,
        loss: Literal["label", "infopro"] = "label",
        lambda1: Ends = (5.0, 0.5),
        lambda2: Ends = (0.5, 1.0),
        head: LabelHead = "1c2f",
        feature_dim: Count = 128,
        decoder: DecoderNet = "direct",
    ) -> None:
        super().__init__(trunk)
        helped = range(self.k - 1)
        self.mixtures = nn.ModuleList(Mixture(trunk, k, scale, momentum) for k in helped)
        self.objectives = nn.ModuleList(
            InfoProLoss(
                trunk,
                k,
                "softmax",
                head,
                feature_dim,
                temperature=1.0,
                decoder=decoder if loss == "infopro" else None,
                lambda1=lambda1,
                lambda2=lambda2,
                feature=trunk.stage_shapes[trunk.ends[k] + 1],
            )
            for k in helped
        )

    def scores(self, k: int, h: Tensor) -> Tensor | None:
        """Class scores of module k's head, behind both blocks."""
        return self.objectives[k].scores(self.mixtures[k](h))  # type: ignore[operator]

    def local_loss(self, k: int, h: Tensor, batch: Batch) -> Tensor:
        """The loss on the mixed feature, E having followed the trunk."""
        if self.training:
            self.mixtures[k].follow(self.trunk[k + 1][0])  # type: ignore[operator, index]
        return self.objectives[k](self.mixtures[k](h), batch)


def _next_stage(trunk: CutNetwork, k: int) -> nn.Module:
    """A fresh layer with the parameters of the first stage of module k + 1."""
    stage = trunk.ends[k] + 1
    made = trunk.layer(trunk.cut_shapes[k], stage) if trunk.layer else nn.Identity()
    if _shapes(made) != _shapes(trunk.modules[k + 1][0]):
        raise ValueError(
            f"man needs a network that builds layers like its own stages; this one builds none "
            f"like stage {stage} (from 0), behind module {k}"
        )
    return made


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: p.shape for name, p in module.named_parameters()}


def _buffers(module: nn.Module) -> nn.Module:
    """The module, its parameters turned into buffers: weights that never learn."""
    for part in module.modules():
        for name, p in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, p.detach())
    return module
