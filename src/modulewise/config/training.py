"""How a cell is trained: optimiser, schedule, budget, numerics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model, model_validator

from modulewise.config.options import OneOf, names, options_model
from modulewise.config.types import (
    NUMBER,
    Count,
    Epochs,
    Fraction,
    Frozen,
    Momentum,
    NonNegative,
    Optimizer,
    Positive,
    Rates,
    Warmup,
)

ONE_BUDGET = "give one budget: epochs, flops, seconds or iterations"


class Settings(Frozen):
    """Optimiser, schedule, budget and numerics of a run; the defaults are InfoPro's CIFAR-10 recipe
    (arXiv 2101.10832)."""

    epochs: Epochs = 160
    """Budget in epochs."""
    flops: Positive | None = None
    """Budget in training FLOPs, helpers counted; takes the place of `epochs`."""
    seconds: Positive | None = None
    """Budget in seconds of training steps on the device at hand; takes the place of `epochs`."""
    iterations: Epochs | None = None
    """Budget in steps; takes the place of `epochs`. All steps have `batch_size` images: the last
    short batch of a pass over the images is dropped. What is said of epochs holds for stretches of
    `evaluate_every` steps: evaluation, records, warm-up, rates per epoch."""
    evaluate_every: Epochs | None = None
    """Number of steps after which a run with a budget in `iterations` is evaluated, a divisor of
    them; all of them if not given, so that the run is evaluated at its end alone."""
    step_seconds: Positive | None = None
    """Seconds of a training step, measured before; without it a run with a budget in `seconds`
    measures them."""
    batch_size: Annotated[int, Field(ge=2, le=10**9), NUMBER] = 1024
    """Number of images in a step."""
    accumulate: Count = 1
    """Number of micro-batches that a step's batch is cut into, each of two images at least: their
    gradients add up, each weighted by its share of the images, to one step. BatchNorm, losses that
    compare images, and moving averages see micro-batches. Needs schedule `joint`."""
    devices: Count = 1
    """Number of devices, with a process each in one job (`modulewise.engine.distributed`): each has
    an equal share of a step's batch, and gradients are averaged, module by module. BatchNorm,
    losses that compare images, and moving averages see a share. Needs schedule `joint`."""
    sync_batchnorm: bool = False
    """BatchNorm normalises with the statistics of all devices' images, not of each device's."""
    train_images: Annotated[int, Field(ge=2), NUMBER] | None = None
    """Number of training images, drawn per seed with equal shares per class; all of them if not
    given."""
    optimizer: Optimizer = "sgd"
    """Optimiser of every module."""
    lr: NonNegative = 0.8
    """Learning rate at its highest."""
    momentum: Momentum = 0.9
    """Momentum, of `sgd`."""
    nesterov: bool = True
    """Nesterov momentum, of `sgd`."""
    weight_decay: NonNegative = 1e-4
    """Weight decay of all parameters: part of the gradient in `sgd` and `adam`, apart from it in
    `adamw`."""
    schedule: Annotated[str, OneOf(names("schedules"), "schedule")] = "joint"
    """Schedule, a file of `modulewise/schedules`: `joint`, all modules on every batch;
    `sequential`, one after the other, a phase each; `asynchronous`, each at its own pace;
    `parallel`, the joint one with a process a module. A schedule with options has them under its
    name."""
    lr_schedule: Rates = "cosine"
    """Shape of the learning rate over epochs: `cosine` to zero, `step` (times `lr_factor` at every
    one of `lr_milestones`), `poly` (a power of the part of the run that is left, down to
    `lr_floor`) or `constant`; each after the warm-up."""
    lr_update: Literal["epoch", "epoch_start", "step"] = "epoch"
    """When the learning rate changes: with every `epoch`, whose rate is that of its end, so that
    the last has rate zero under `cosine`; with every epoch, whose rate is that of its start, so
    that the first has the full rate (`epoch_start`); or with every `step`, but under schedule
    `asynchronous`."""
    lr_milestones: tuple[Fraction, ...] = (0.5, 0.75)
    """Milestones of `step`, in parts of the epochs: from epoch m x epochs on, counted from 1."""
    lr_factor: Positive = 0.1
    """Factor of `step`."""
    lr_power: Positive = 0.9
    """Power of `poly`."""
    lr_floor: NonNegative = 1e-4
    """Learning rate that `poly` falls to."""
    warmup_epochs: Warmup = 10
    """Number of warm-up epochs."""
    warmup_lr: NonNegative = 0.01
    """Learning rate of the first warm-up epoch."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of forward passes; weights are fp32."""
    tf32: bool = False
    """TF32 products on a GPU."""
    channels_last: bool = False
    """Memory layout N H W C."""
    recompute: Literal["none", "norms", "stages"] = "none"
    """What is computed again in the backward pass instead of being kept: nothing; in blocks of
    convolutions, what BatchNorm and ReLU make (`norms`); of every stage of a module but its last,
    all but the input (`stages`). Less memory for more time, the same numbers."""
    step_in_backward: bool = False
    """The optimiser moves each parameter within the backward pass, as soon as its gradient is
    there, and the gradient is freed: less memory, the same numbers. For methods whose losses reach
    every parameter once a step and need nothing back from later modules."""
    compile: Literal["off", "inductor", "aot_eager"] = "off"
    """Backend of `torch.compile`, for every module of the trunk and every helper: `inductor` makes
    fused kernels, `aot_eager` none, for tests. The numbers differ by rounding. Compiling takes
    minutes before the first step, outside of the measured time; where it fails one line says so,
    and nothing is compiled."""
    cuda_graphs: bool = False
    """A step is recorded once as a CUDA graph and replayed: less time between small kernels. Needs
    schedule `joint`; on a CPU, or where a step cannot be recorded, one line says so, and steps run
    as they are."""
    deterministic: bool = False
    """Deterministic kernels on a GPU, which are slower; CPU runs are deterministic without."""
    module_metrics: Literal["every", "last"] = "every"
    """When the modules' own heads are evaluated: after `every` epoch, or after the `last` only. The
    net's own output is evaluated after every one."""

    gradient_angles: bool = False
    """Before the first epoch and after every one, the angles between every module's gradient and
    that of end-to-end backpropagation are recorded, with the ratios of their lengths: on the run's
    first batch, at two steps' cost and the memory of backpropagation. No weight changes by it."""

    @model_validator(mode="after")
    def _one_budget(self) -> Settings:
        if sum(b is not None for b in (self.flops, self.seconds, self.iterations)) > 1:
            raise ValueError(ONE_BUDGET)
        if self.evaluate_every and not self.iterations:
            raise ValueError("evaluate_every needs a budget in iterations")
        if self.iterations and self.iterations % self.stretch:
            raise ValueError(
                f"evaluate_every: {self.evaluate_every} does not divide iterations, "
                f"{self.iterations}"
            )
        if self.lr_schedule == "poly" and self.lr < self.lr_floor:
            raise ValueError(f"lr_floor: {self.lr_floor:g} is above lr, {self.lr:g}")
        if self.step_seconds is not None and self.seconds is None:
            raise ValueError("step_seconds needs a budget in seconds")
        if self.seconds is not None and self.schedule != "joint":
            raise ValueError("a budget in seconds needs schedule joint; give epochs or flops")
        if self.accumulate > 1 and self.schedule != "joint":
            raise ValueError(f"accumulate needs schedule joint, got {self.schedule}")
        self._check_devices()
        if 2 * self.accumulate > self.share:
            of = f"batch_size, {self.share}" if self.devices == 1 else f"a device's {self.share}"
            raise ValueError(
                f"accumulate: {self.accumulate} micro-batches of at least 2 images are more than "
                f"{of}; valid: 1 to {self.share // 2}"
            )
        if self.cuda_graphs and self.schedule != "joint":
            raise ValueError(f"cuda_graphs needs schedule joint, got {self.schedule}")
        if self.recompute != "none" and self.compile != "off":
            raise ValueError("recompute and compile exclude each other; set one of them")
        if self.sync_batchnorm and (self.recompute != "none" or self.compile != "off"):
            raise ValueError("sync_batchnorm excludes recompute and compile; leave these out")
        if self.recompute == "stages" and self.cuda_graphs:
            raise ValueError("recompute: stages and cuda_graphs exclude each other; valid: norms")
        if self.accumulate > 1 and self.step_in_backward:
            raise ValueError("accumulate and step_in_backward exclude each other; set one of them")
        if self.lr_update == "step" and self.schedule == "asynchronous":
            raise ValueError(
                "lr_update: not step under schedule asynchronous; valid: epoch, epoch_start"
            )
        for name in _WITH_OPTIONS:
            if name != self.schedule and getattr(self, name) != _WITH_OPTIONS[name]():
                raise ValueError(
                    f"{name}: set, but schedule is {self.schedule}; set schedule: {name}"
                )
        if self.nesterov and self.momentum == 0 and self.optimizer == "sgd":
            raise ValueError("nesterov needs a momentum above 0; set nesterov: false")
        return self

    def _check_devices(self) -> None:
        """Refuse devices that a batch cannot be shared out to, or steps that cannot be shared."""
        if self.devices == 1:
            return
        if self.schedule != "joint":
            raise ValueError(f"devices needs schedule joint, got {self.schedule}")
        if 2 * self.devices > self.batch_size or self.batch_size % self.devices:
            raise ValueError(
                f"devices: {self.devices} equal shares of at least 2 images cannot be had of "
                f"batch_size, {self.batch_size}; valid: what divides it, up to "
                f"{self.batch_size // 2}"
            )
        for name in ("step_in_backward", "cuda_graphs"):
            if getattr(self, name):
                raise ValueError(f"devices and {name} exclude each other; set {name}: false")

    @property
    def share(self) -> int:
        """Number of images of a step that one device has."""
        return self.batch_size // self.devices

    @property
    def stretch(self) -> int:
        """Number of steps of an epoch, of a budget in iterations; 0 of others."""
        return self.evaluate_every or self.iterations or 0

    @property
    def planned(self) -> int:
        """Number of epochs of a budget in epochs or iterations."""
        return self.iterations // self.stretch if self.iterations else self.epochs

    @property
    def micro_batch(self) -> int:
        """Number of images whose losses are computed together."""
        return math.ceil(self.share / self.accumulate)

    @property
    def schedule_options(self) -> dict[str, Any]:
        """The options of the schedule that is set."""
        options = getattr(self, self.schedule, None)
        return (
            {name: getattr(options, name) for name in type(options).model_fields} if options else {}
        )


_WITH_OPTIONS = {
    name: model
    for name in names("schedules")
    if (model := options_model("schedules", name)).model_fields
}

if TYPE_CHECKING:
    TrainConfig = Settings
else:
    # One field a schedule that has options, of the schedule's name and of its file's options.
    TrainConfig = create_model(
        "TrainConfig",
        __base__=Settings,
        __doc__=Settings.__doc__,
        **{
            name: (model, Field(model(), description=f"Options of schedule `{name}`."))
            for name, model in _WITH_OPTIONS.items()
        },
    )
