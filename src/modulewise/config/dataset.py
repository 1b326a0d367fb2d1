"""Where images come from: the content of `datasets.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modulewise.config.options import OneOf, has_method, literal, names
from modulewise.config.types import NUMBER, Fraction, Frozen, Name, Positive, Side

SOURCES, TASKS = names("data/sources"), names("tasks")
TORCHVISION = tuple(literal("data/sources", "torchvision", "SIZES"))


class ResizedCrop(Frozen):
    """Pictures of any size, decoded as they are needed: a random part of each, resized to the
    entry's shape, to train on; the middle of each to evaluate on."""

    area: tuple[Fraction, Fraction] = (0.08, 1.0)
    """Smallest and largest share of a picture's area."""
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    """Smallest and largest width of the part over its height."""
    resize: Side = 256
    """Pixels that the shorter side is resized to for evaluation, before the middle is cut out."""

    @model_validator(mode="after")
    def _in_order(self) -> ResizedCrop:
        for name, (low, high) in (("area", self.area), ("ratio", self.ratio)):
            if not 0 < low <= high:
                raise ValueError(f"{name}: smallest and largest, above 0; got {low} and {high}")
        return self


class ScaledCrop(Frozen):
    """Pictures with a map of classes each, decoded as they are needed: a random part of the scaled
    picture, of the entry's shape, to train on; the whole picture to evaluate on."""

    scale: tuple[Positive, Positive] = (0.5, 2.0)
    """Smallest and largest factor by which a picture is scaled."""
    max_ratio: Annotated[float, Field(gt=0, le=1), NUMBER] = 0.75
    """Share of a part's labelled pixels below which each class stays; other parts are drawn again,
    up to ten times."""
    distortion: bool = True
    """Whether brightness, contrast, saturation and hue are changed at random."""

    @model_validator(mode="after")
    def _in_order(self) -> ScaledCrop:
        if self.scale[0] > self.scale[1]:
            low, high = self.scale
            raise ValueError(f"scale: smallest and largest; got {low} and {high}")
        return self


class Dataset(Frozen):
    """Where images come from and how they are normalised and augmented."""

    source: Annotated[str, OneOf(SOURCES, "source")]
    """Kind of source: a file of `modulewise/data/sources`."""
    task: Annotated[str, OneOf(TASKS, "task")] = "classification"
    """What a net is trained for: a file of `modulewise/tasks`."""
    torchvision_class: Annotated[str, OneOf(TORCHVISION, "class of torchvision")] | None = None
    """Name of torchvision's data set, of source `torchvision`."""
    path: str | None = None
    """Path of an npz file, or of a folder of pictures; no part of a cell's identity."""
    shape: tuple[Side, Side, Side] | None = None
    """Channels, height and width of an image; an npz file says it itself."""
    classes: Annotated[int, Field(ge=2, le=2**20), NUMBER] | None = None
    """Number of classes; counted from the labels of an npz file if not given."""
    labels: (
        Annotated[tuple[Annotated[int, Field(ge=0), NUMBER], ...], Field(min_length=2)] | None
    ) = None
    """Classes to keep, which become 0, 1, ... in this order; all if not given. `classes` is their
    number before."""
    mean: tuple[Annotated[float, Field(allow_inf_nan=False), NUMBER], ...] | None = None
    """Mean per channel, in [0, 1]; of the training images if not given."""
    std: tuple[Positive, ...] | None = None
    """Standard deviation per channel, in [0, 1]; of the training images if not given."""
    pad: Annotated[int, Field(ge=0, le=2**14), NUMBER] = 0
    """Number of pixels to pad by before a random crop to the original size."""
    padding: Literal["zeros", "reflect"] = "zeros"
    """What the padding holds."""
    flip: bool = False
    """Whether images are flipped left to right with probability 1/2."""
    resized_crop: ResizedCrop | None = None
    """Pictures are decoded as they are needed, of sources `imagenet` and `imagefolder`, and cropped
    so."""
    scaled_crop: ScaledCrop | None = None
    """Pictures and their maps are decoded as they are needed, of sources `cityscapes` and
    `mapfolder`, and cropped so."""
    ignored: tuple[Annotated[int, Field(ge=0, le=255), NUMBER], ...] = (255,)
    """Values of a map's pixels that belong to no class; the task is given 255 for them."""
    validation: Annotated[int, Field(ge=0), NUMBER] = 0
    """Number of training images held out for selection, the same for every seed."""
    test_scales: (
        Annotated[
            tuple[Annotated[float, Field(gt=0, le=16, allow_inf_nan=False), NUMBER], ...],
            Field(min_length=1),
        ]
        | None
    ) = None
    """Factors by which test images are scaled, of task `segmentation`: after the last epoch the net
    is evaluated at all of them together (`miou_ms`), and with mirror images (`miou_ms_flip`), once.
    Not at all if not given."""
    train_size: Annotated[int, Field(ge=2, le=2**24), NUMBER] = 512
    """Number of training images, of source `fake`; a quarter as many for testing."""

    @model_validator(mode="after")
    def _complete(self) -> Dataset:
        needs = literal("data/sources", self.source, "NEEDS")
        if missing := [key for key in needs if getattr(self, key) is None]:
            raise ValueError(f"a {self.source} data set needs {', '.join(missing)}")
        if self.labels and len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels: {list(self.labels)} names a class twice")
        if self.test_scales:
            self._check_scales(self.test_scales)
        return self

    def _check_scales(self, scales: tuple[float, ...]) -> None:
        """Refuse scales of a task without maps, and the same one twice."""
        dense = [task for task in TASKS if has_method("tasks", task, "probabilities")]
        if self.task not in dense:
            raise ValueError(f"test_scales: not for task {self.task}; valid: {', '.join(dense)}")
        if len(set(scales)) < len(scales):
            raise ValueError(f"test_scales: {list(scales)} names a scale twice")

    @property
    def augmented(self) -> bool:
        """Whether an image differs from epoch to epoch."""
        return bool(self.pad or self.flip or self.resized_crop or self.scaled_crop)


class Datasets(Frozen):
    """The content of `datasets.yaml`."""

    datasets: dict[Name, Dataset]
    """Entries by name."""
