"""What a device can do at most: the operations a second of a large matrix product."""

from __future__ import annotations

import time

import torch

from modulewise.config.training import TrainConfig
from modulewise.engine import device as devices

ROWS = {"cpu": 2048, "cuda": 8192}
"""Of the square matrices that are multiplied."""
TRIES = 12
"""Number of products, of which the fastest counts."""


def peak_flops(kind: str, on: torch.device) -> float:
    """Operations a second of a large matrix product, the best of a few; on a CPU by the CPU time of
    its threads, which other work on the machine does not stretch. The matrices are noise: on equal
    numbers a GPU draws less power and runs faster than on data.

    Args:
        kind: `fp32`, `tf32` or `bf16`.
        on: the device, with as many threads as the arms have.
    """
    n = ROWS[on.type]
    devices.set_numerics(kind == "tf32", False)
    noise = torch.randn(n, n, generator=torch.Generator().manual_seed(0))
    a = noise.to(on, torch.bfloat16 if kind == "bf16" else torch.float32)

    def seconds() -> float:
        if on.type != "cpu":
            return devices.timed(lambda: torch.mm(a, a), on)
        begun = time.process_time()
        torch.mm(a, a)
        return (time.process_time() - begun) / torch.get_num_threads()

    seconds()
    return 2 * n**3 / min(seconds() for _ in range(TRIES))


def numerics(training: TrainConfig) -> str:
    """The kind of products that a training makes."""
    return "bf16" if training.precision == "bf16" else "tf32" if training.tf32 else "fp32"
