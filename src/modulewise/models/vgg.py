"""VGG8b and VGG11b of Nøkland and Eidnes (arXiv 1901.06656): six or nine 3x3 convolutions, four
poolings, one hidden layer, as in their released code.

`vgg8b` starts at 128 channels; `vgg8b-w32` at 32, the hidden layer in proportion (theirs keeps 1024
units at every width). Every convolution (with BatchNorm, ReLU and the pooling that follows it) and
the hidden layer is a stage, named `1` to `7` or `10`. Poolings round up, so that images smaller
than 16 pixels pass; at 32 pixels that changes nothing. Library-default initialisation.

`vgg8b-d20` has dropout of 20 percent before every layer but the first, of whole channels before a
convolution. It begins the stage, so that a local loss of the stage before it sees every channel, as
in the released code.
"""

from __future__ import annotations

import math
import re

from torch import nn

from modulewise.models.network import Network, Shape

PATTERN = r"vgg(8|11)b(?:-w(\d+))?(?:-d(\d+))?"
EXAMPLES = ["vgg8b", "vgg8b-w32", "vgg11b", "vgg11b-d20"]
_PLANS = {
    "8": ((1, False), (2, True), (2, False), (4, True), (4, True), (4, True)),
    "11": (
        *((1, False), (1, False), (1, False), (2, True), (2, False)),
        *((4, True), (4, False), (4, True), (4, True)),
    ),
}  # width as a multiple, pooling after it


def build(match: re.Match[str], image: Shape, outputs: int) -> Network:
    """A VGG8b or VGG11b."""
    plan, base, percent = _PLANS[match[1]], int(match[2] or 128), int(match[3] or 0)
    if not 1 <= base <= 4096:
        raise ValueError("1 to 4096 channels")
    if not 0 <= percent < 100:
        raise ValueError("0 to 99 percent of dropout")
    drop = [nn.Dropout2d(percent / 100)] if percent else []
    stages: list[tuple[str, nn.Module]] = []
    c, h, w = image
    sizes = []  # after every convolution
    for i, (multiple, pool) in enumerate(plan, start=1):
        layers = _convolution(c, base * multiple, pool)
        stages.append((str(i), nn.Sequential(*(drop if i > 1 else []), *layers)))
        c = base * multiple
        if pool:
            h, w = math.ceil(h / 2), math.ceil(w / 2)
        sizes.append((h, w))
    hidden = 8 * base
    last = nn.Sequential(*drop, nn.Flatten(), *_full(c * h * w, hidden))
    stages.append((str(len(plan) + 1), last))

    def layer(feature: Shape, i: int) -> nn.Module:
        if i < len(plan):
            return nn.Sequential(
                *_convolution(feature[0], base * plan[i][0], feature[1:] != sizes[i])
            )
        pools, size = [], feature[1:] or (h, w)
        while size != (h, w):
            pools.append(_pool())
            size = tuple(math.ceil(a / 2) for a in size)
        return nn.Sequential(
            *pools,
            nn.Flatten(),
            *_full(feature[0] if len(feature) == 1 else feature[0] * h * w, hidden),
        )

    head: nn.Module = nn.Linear(hidden, outputs)
    if percent:
        head = nn.Sequential(nn.Dropout(percent / 100), head)
    return Network(stages, head, image, layer)


def _convolution(c_in: int, c_out: int, pool: bool) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(c_in, c_out, 3, 1, 1), nn.BatchNorm2d(c_out), nn.ReLU()]
    return [*layers, *([_pool()] if pool else [])]


def _pool() -> nn.Module:
    return nn.MaxPool2d(2, ceil_mode=True)


def _full(units: int, hidden: int) -> list[nn.Module]:
    return [nn.Linear(units, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
