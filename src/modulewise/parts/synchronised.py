"""BatchNorm over the images of all processes.

With W processes of n values a channel each, of mean m_r and variance v_r:

    m = sum_r m_r / W     v = sum_r (v_r + (m_r - m)^2) / W     y = w (x - m) / sqrt(v + eps) + b

The gradient with respect to x passes through m and v of all processes:

    dx = w / sqrt(v + eps) (g - sum g / (W n) - z sum(g z) / (W n)),   z = (x - m) / sqrt(v + eps)

with sums over all values of all processes, so that the mean of the processes' gradients is that of
one process with all images. torch's own `SyncBatchNorm` does the same on GPUs alone.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def synchronise(module: nn.Module) -> None:
    """Make all BatchNorms of a module, in place, look at the images of all processes; in one
    process, and in eval mode, they are what they were."""
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.__class__ = Synchronised


class Synchronised(_BatchNorm):
    """A BatchNorm that `synchronise` has changed."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Any (B C ...)."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B C ...); every process has as many images."""
        world = dist.get_world_size() if dist.is_initialized() else 1
        if world == 1 or not self.training:
            return super().forward(input)
        y, mean, var = _Normalise.apply(input, self.weight, self.bias, self.eps, world)
        if self.running_mean is not None and self.running_var is not None:
            momentum = self.momentum
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
                momentum = 1 / float(self.num_batches_tracked) if momentum is None else momentum
            n = world * input.numel() // input.shape[1]
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum or 0.0)
                unbiased = (var * n / max(1, n - 1)).to(self.running_var.dtype)
                self.running_var.lerp_(unbiased, momentum or 0.0)
        return y


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, world: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        exact = x if x.dtype == torch.float64 else x.float()
        var, mean = torch.var_mean(exact, _without_channels(x), correction=0)
        told = torch.stack([mean, var])
        all_told = [torch.empty_like(told) for _ in range(world)]
        dist.all_gather(all_told, told)
        means, variances = torch.stack(all_told).unbind(1)
        mean = means.mean(0)
        var = (variances + (means - mean) ** 2).mean(0)
        ctx.save_for_backward(x, mean, torch.rsqrt(var + eps), weight)
        ctx.world, ctx.biased = world, bias is not None
        ctx.mark_non_differentiable(mean, var)
        y = F.batch_norm(exact, mean, var, weight, bias, False, 0.0, eps)
        return y.to(x.dtype), mean, var

    @staticmethod
    def backward(ctx: Any, g: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, scale, weight = ctx.saved_tensors
        channels = [1, -1] + [1] * (x.dim() - 2)
        z = (x - mean.view(channels)) * scale.view(channels)
        own = torch.stack(
            [g.to(z.dtype).sum(_without_channels(x)), (g * z).sum(_without_channels(x))]
        )
        every = own.clone()
        dist.all_reduce(every)
        plain, along = (every / (ctx.world * x.numel() // x.shape[1])).view(2, *channels)
        if weight is not None:
            scale = scale * weight
        dx = scale.view(channels) * (g - plain - z * along)
        d_weight = own[1].to(weight.dtype) if weight is not None else None
        return dx.to(x.dtype), d_weight, own[0].to(scale.dtype) if ctx.biased else None, None, None


def _without_channels(x: Tensor) -> list[int]:
    return [d for d in range(x.dim()) if d != 1]
