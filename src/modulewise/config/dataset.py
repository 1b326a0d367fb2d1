"""Where images come from: the content of `datasets.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modulewise.config.options import OneOf, literal, names
from modulewise.config.types import NUMBER, Frozen, Name, Positive, Side

SOURCES, TASKS = names("data/sources"), names("tasks")
TORCHVISION = tuple(literal("data/sources", "torchvision", "SIZES"))


class Dataset(Frozen):
    """Where images come from and how they are normalised and augmented."""

    source: Annotated[str, OneOf(SOURCES, "source")]
    """Kind of source: a file of `modulewise/data/sources`."""
    task: Annotated[str, OneOf(TASKS, "task")] = "classification"
    """What a net is trained for: a file of `modulewise/tasks`."""
    torchvision_class: Annotated[str, OneOf(TORCHVISION, "class of torchvision")] | None = None
    """Name of torchvision's data set, of source `torchvision`."""
    path: str | None = None
    """Path of an npz file, or of an ImageFolder root with train/ and test/; no part of a cell's
    identity."""
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
    validation: Annotated[int, Field(ge=0), NUMBER] = 0
    """Number of training images held out for selection, the same for every seed."""
    train_size: Annotated[int, Field(ge=2, le=2**24), NUMBER] = 512
    """Number of training images, of source `fake`; a quarter as many for testing."""

    @model_validator(mode="after")
    def _complete(self) -> Dataset:
        needs = literal("data/sources", self.source, "NEEDS")
        if missing := [key for key in needs if getattr(self, key) is None]:
            raise ValueError(f"a {self.source} data set needs {', '.join(missing)}")
        if self.labels and len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels: {list(self.labels)} names a class twice")
        return self


class Datasets(Frozen):
    """The content of `datasets.yaml`."""

    datasets: dict[Name, Dataset]
    """Entries by name."""
