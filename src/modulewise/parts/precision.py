"""What bf16 would spoil: similarities, small differences, sums over many."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def unrounded(x: Tensor) -> AbstractContextManager[Any]:
    """Inside, nothing on the device of a tensor is rounded to bf16."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def in_fp32(x: Tensor) -> Tensor:
    """The tensor in fp32, or as it is where it has more digits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
