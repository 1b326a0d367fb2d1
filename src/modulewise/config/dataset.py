"""What to run and how: sweeps, recipes and data sets become cells, each the full definition of one
run.

A cell's identity is a hash of its canonical JSON without the values that are at their default, so
that a new option with a default keeps all finished work. Where the data lie on disk is no part of
it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modulewise.config.types import NUMBER, Frozen, Name, Positive, Side


class Dataset(Frozen):
    """Where images come from and how they are normalised and augmented."""

    source: Literal["torchvision", "npz", "imagefolder", "digits", "fake"]
    torchvision_class: (
        Literal["CIFAR10", "CIFAR100", "SVHN", "STL10", "MNIST", "FashionMNIST"] | None
    ) = None
    path: str | None = None
    """Of an npz file or an ImageFolder root holding train/ and test/; no part of a cell's
    identity."""
    shape: tuple[Side, Side, Side] | None = None
    """Channels, height, width; an npz file says it itself."""
    classes: Annotated[int, Field(ge=2, le=2**20), NUMBER] | None = None
    mean: tuple[Annotated[float, Field(allow_inf_nan=False), NUMBER], ...] | None = None
    """Per channel in [0, 1]; from the training images if not given."""
    std: tuple[Positive, ...] | None = None
    pad: Annotated[int, Field(ge=0, le=2**14), NUMBER] = 0
    """Pad by so many pixels, then crop at random to the original size."""
    padding: Literal["zeros", "reflect"] = "zeros"
    flip: bool = False
    validation: Annotated[int, Field(ge=0), NUMBER] = 0
    """Hold out so many training images, the same for every seed, for selection."""
    train_size: Annotated[int, Field(ge=2, le=2**24), NUMBER] = 512
    """Of `fake` only: number of training images; a quarter as many for testing."""

    @model_validator(mode="after")
    def _complete(self) -> Dataset:
        needs = {
            "torchvision": ("torchvision_class", "shape", "classes"),
            "npz": ("path",),
            "digits": (),
        }
        missing = [
            k for k in needs.get(self.source, ("shape", "classes")) if getattr(self, k) is None
        ]
        if self.source == "imagefolder" and self.path is None:
            missing.append("path")
        if missing:
            raise ValueError(f"a {self.source} data set needs {', '.join(missing)}")
        return self


class Datasets(Frozen):
    """The content of `datasets.yaml`."""

    datasets: dict[Name, Dataset]
