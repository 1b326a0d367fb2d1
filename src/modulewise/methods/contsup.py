"""ContSup (arXiv 2312.07636): a second input, the context, lets a module recover what the modules
before it threw away.

    h^c_{k-1} = stop_gradient(h_{k-1}) + sum_i M_{k,i}( stop_gradient(c_i) )
    h_k = f_k( h^c_{k-1} )

Contexts by mode: `R0` none; `E` the image; `Rn` the inputs of the last n modules (as they were,
context included), the image being the oldest; `R1E` the image and the last module's input, at the
first cut the image alone. The local loss looks at h_k before context is added; encoders M sit after
the cut and learn from the next module's loss only; they stay in the net at inference. The local
loss is the label term alone, or, with `decoder`, InfoPro's two terms.

Deviations from the paper:

1. Encoders and decoders that would never be used are not built (the released code builds them,
   which inflates its parameter counts).
2. With `decoder`, the weights' table is InfoPro's where ContSup's own differs from it by what looks
   like a slip (SVHN, K=4).
3. Convolutions of all helpers start like the backbone's.
4. Decoders are InfoPro's, and cheaper where that is equal but for rounding (`parts/decoders.py`);
   `resize: plain` needs the memory of the released code.
"""

from __future__ import annotations

from typing import Literal, cast

from torch import Tensor, nn

from modulewise.config.types import Count, DecoderNet, Ends, LabelHead, Positive, Resize
from modulewise.method import Batch, LocalMethod, State
from modulewise.models.network import CutNetwork, Shape
from modulewise.parts.infopro_loss import InfoProLoss
from modulewise.parts.layers import AsMap, conv
from modulewise.parts.pooling import ToSize


class Encoder(nn.Module):
    """Context to the shape of a feature: convolutions at the context's own resolution, then
    average pooling.

    The image takes two 3x3 convolutions over 12 channels (E-net), a module's input one 1x1
    convolution (Res-net).
    """

    def __init__(self, context: Shape, feature: Shape, image: bool) -> None:
        super().__init__()
        c, out = context[0], feature[0]
        layers = (
            [conv(c, 12, bias=True), conv(12, out, bias=True)]
            if image
            else [conv(c, out, kernel=1, bias=True)]
        )
        self.layers = nn.Sequential(AsMap(), *layers)
        height, width = feature[1:] or (1, 1)
        self.pool = ToSize((height, width))
        self.feature = feature

    def forward(self, c: Tensor) -> Tensor:
        """Context -> B C H W, or B C where the feature is flat."""
        return self.pool(self.layers(c)).reshape(c.shape[0], *self.feature)


class Contsup(LocalMethod):
    """Greedy or InfoPro modules with context.

    Args:
        trunk: the network, cut.
        context: `R0`, `E`, `R1`, `R1E`, `R2`, `R4`, `R8` or `R16`.
        mode: `softmax` or `contrast` label term.
        decoder: add InfoPro's reconstruction, with weights lambda1 and lambda2; otherwise the label
            term has weight 1.
        lambda1: weight of the reconstruction, first and last auxiliary module.
        lambda2: weight of the label term when there is a decoder.
        head: architecture of the label heads.
        feature_dim: their hidden units and, in contrast mode, the embedding's dimension.
        temperature: of the contrastive loss.
        resize: how the decoders compute resize and first convolution: `plain`, one after the other
            as in the released code, whose memory is what the papers' tables measure; `factored`,
            equal but for rounding, without the large map in between; `auto`, per module the one of
            fewer operations.
    """

    def __init__(
        self,
        trunk: CutNetwork,
        *,
        context: Literal["R0", "E", "R1", "R1E", "R2", "R4", "R8", "R16"] = "E",
        mode: Literal["softmax", "contrast"] = "contrast",
        decoder: bool = False,
        lambda1: Ends = (5.0, 0.5),
        lambda2: Ends = (0.5, 1.0),
        head: LabelHead = "1c2f",
        feature_dim: Count = 128,
        temperature: Positive = 0.07,
        resize: Resize = "auto",
    ) -> None:
        super().__init__(trunk)
        self.image_context = context.endswith("E")
        self.span = int(context.strip("RE") or 0)
        reconstructs: DecoderNet | None = "direct" if decoder else None
        terms = (mode, head, feature_dim, temperature, reconstructs, lambda1, lambda2)
        self.objectives = nn.ModuleList(
            [InfoProLoss(trunk, k, *terms, resize=resize) for k in range(self.k - 1)]
        )
        if head == "shared":
            self.joint_only, self.feedback = True, "later"
        inputs = [trunk.image, *trunk.cut_shapes]  # inputs[j]: shape of module j's input
        self.encoders = nn.ModuleList(
            nn.ModuleList(
                Encoder(trunk.image if j is None else inputs[j], inputs[k], image=j is None)
                for j in self._contexts(k)
            )
            for k in range(self.k)
        )

    def _contexts(self, k: int) -> list[int | None]:
        """What module k is given beside its predecessor's output: None is the image, j the input of
        module j."""
        if k == 0:
            return []
        image: list[int | None] = [None] if self.image_context else []
        if image and k == 1:
            return image
        return image + list(range(k - 1, max(k - 1 - self.span, -1), -1))

    def initial_state(self, x: Tensor) -> State:
        """(feature, image, inputs of the last n modules); the image is the first feature."""
        return (x, x)

    def forward_module(self, k: int, state: State) -> State:
        """Add the encoded contexts to the predecessor's output, run the module, remember its input
        if later modules ask for it."""
        h, image, *inputs = state
        encoders = cast(nn.ModuleList, self.encoders[k])
        for encoder, j in zip(encoders, self._contexts(k), strict=True):
            h = h + encoder(image if j is None else inputs[j - k])
        inputs.append(h)
        return (self.trunk[k](h), image, *inputs[max(0, len(inputs) - self.span) :])

    def scores(self, k: int, h: Tensor) -> Tensor | None:
        """Class scores of module k's head in softmax mode."""
        return self.objectives[k].scores(h)  # type: ignore[operator]

    def local_loss(self, k: int, h: Tensor, batch: Batch) -> Tensor:
        """The label term, or InfoPro's two terms."""
        return self.objectives[k](h, batch)

    def deployed(self) -> list[nn.Module]:
        """The encoders stay."""
        return [self.trunk, self.encoders]
