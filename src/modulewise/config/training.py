"""How a cell is trained: optimiser, schedule, budget, numerics."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modulewise.config.types import NUMBER, Count, Frozen, NonNegative, Positive


class Asynchronous(Frozen):
    """Pace and buffers of the asynchronous schedule; the defaults make it the joint one, bit for
    bit."""

    buffer: Count = 1
    """States (each of one batch) that the buffer before every module but the first can hold."""
    turns: Literal["clock", "random"] = "clock"
    """Whose turn it is: `clock`, one simulated clock a module; or `random`, drawn with probability
    proportional to the modules' speeds."""
    reads: Literal["fresh", "uniform"] = "fresh"
    """Which state a module takes: of the least often taken the `fresh`est, or any, `uniform`ly."""
    slowdown: dict[
        Annotated[int, Field(ge=0), NUMBER], Annotated[float, Field(ge=1, le=1000), NUMBER]
    ] = {}
    """Module (from 0) to how many times as long as the others it takes for a step."""


class TrainConfig(Frozen):
    """Optimiser, schedule, budget and numerics of a run; the defaults are InfoPro's CIFAR-10 recipe
    (arXiv 2101.10832)."""

    epochs: Annotated[int, Field(ge=1, le=10**9), NUMBER] = 160
    flops: Positive | None = None
    """Budget in training FLOPs, helpers counted; takes the place of `epochs`."""
    seconds: Positive | None = None
    """Budget in seconds of training steps on the device at hand; takes the place of `epochs`."""
    step_seconds: Positive | None = None
    """Of a training step, measured before; without it a run with a budget in `seconds` measures
    them."""
    batch_size: Annotated[int, Field(ge=2, le=10**9), NUMBER] = 1024
    train_images: Annotated[int, Field(ge=2), NUMBER] | None = None
    """Train on so many images, drawn per seed with equal shares per class; all of them if not
    given."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: NonNegative = 0.8
    momentum: Annotated[float, Field(ge=0, lt=1), NUMBER] = 0.9
    nesterov: bool = True
    weight_decay: NonNegative = 1e-4
    schedule: Literal["joint", "sequential", "asynchronous"] = "joint"
    """Who moves when: all modules on every batch, one after the other (the epochs shared out among
    them), or each at its own pace."""
    asynchronous: Asynchronous = Asynchronous()
    """Of schedule `asynchronous`."""
    lr_schedule: Literal["cosine", "step", "constant"] = "cosine"
    """`cosine` to zero, `step` (x0.1 at 1/2 and 3/4 of the epochs) or `constant`; each after the
    warm-up."""
    warmup_epochs: Annotated[int, Field(ge=0, le=10**9), NUMBER] = 10
    warmup_lr: NonNegative = 0.01
    precision: Literal["fp32", "bf16"] = "fp32"
    tf32: bool = False
    channels_last: bool = False
    deterministic: bool = False
    """Ask torch for deterministic kernels on a GPU (slower); CPU runs are deterministic without."""

    @model_validator(mode="after")
    def _one_budget(self) -> TrainConfig:
        if self.flops is not None and self.seconds is not None:
            raise ValueError("give one budget: epochs, flops or seconds")
        if self.step_seconds is not None and self.seconds is None:
            raise ValueError("step_seconds needs a budget in seconds")
        if self.seconds is not None and self.schedule != "joint":
            raise ValueError("a budget in seconds needs schedule joint; give epochs or flops")
        if self.asynchronous != Asynchronous() and self.schedule != "asynchronous":
            raise ValueError(
                f"asynchronous: set, but schedule is {self.schedule}; set schedule: asynchronous"
            )
        if self.nesterov and self.momentum == 0 and self.optimizer == "sgd":
            raise ValueError("nesterov needs a momentum above 0; set nesterov: false")
        return self
