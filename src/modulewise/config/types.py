"""Types that all parts of the configuration share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Frozen(BaseModel):
    """Frozen, and unknown keys are errors; a field's docstring is its help in the schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _no_truth_value(value: Any) -> Any:
    """YAML's `yes`, `on` and `true` are no numbers, though Python counts with them."""
    if isinstance(value, bool):
        raise ValueError(f"input should be a number, got {str(value).lower()}")
    return value


NUMBER = BeforeValidator(_no_truth_value)
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$", max_length=100)]
"""A name that stands in paths: letters, digits, dots and dashes."""
MetricName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=40)]
"""Name of a metric; it stands in the names of files and columns."""
Int = Annotated[int, NUMBER]
Float = Annotated[float, NUMBER]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), NUMBER]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), NUMBER]
Fraction = Annotated[float, Field(ge=0, le=1), NUMBER]
Count = Annotated[int, Field(ge=1, le=2**20), NUMBER]
Whole = Annotated[int, Field(ge=0, le=2**20), NUMBER]
"""A number of something that there may be none of."""
Epochs = Annotated[int, Field(ge=1, le=10**9), NUMBER]
Momentum = Annotated[float, Field(ge=0, lt=1), NUMBER]
Warmup = Annotated[int, Field(ge=0, le=10**9), NUMBER]
"""A number of warm-up epochs."""
Optimizer = Literal["sgd", "adam", "adamw"]
Rates = Literal["cosine", "step", "poly", "constant"]
"""Shape of the learning rate over epochs."""
Resize = Literal["auto", "plain", "factored"]
"""How a decoder computes its first two layers; `parts/decoders.py` says what the names mean."""


DecoderNet = Literal["direct", "stepwise"]
"""Architecture of a decoder to the image: with one resize (`direct`, `parts/decoders.py`), or with
one for every doubling of the maps (`stepwise`, `parts/stepwise_decoder.py`)."""


class PhaseSettings(Frozen):
    """Training settings of one phase of a schedule that differ from the cell's; `null` is the
    cell's."""

    epochs: Epochs | None = None
    """Number of epochs of the phase, whatever the budget."""
    optimizer: Optimizer | None = None
    """Optimiser of every module that learns."""
    lr: NonNegative | None = None
    """Learning rate at its highest."""
    momentum: Momentum | None = None
    """Momentum, of `sgd`."""
    nesterov: bool | None = None
    """Nesterov momentum, of `sgd`."""
    weight_decay: NonNegative | None = None
    """Weight decay of all parameters."""
    lr_schedule: Rates | None = None
    """Shape of the learning rate over the phase's epochs."""
    warmup_epochs: Warmup | None = None
    """Number of warm-up epochs."""


Seed = Annotated[int, Field(ge=0, lt=2**63), NUMBER]
Side = Annotated[int, Field(ge=1, le=2**14), NUMBER]
"""Channels, height or width of an image."""
Ends = tuple[NonNegative, NonNegative]
"""A quantity that runs linearly from the first to the last auxiliary module: (first, last)."""
Slowdowns = dict[
    Annotated[int, Field(ge=0), NUMBER], Annotated[float, Field(ge=1, le=1000), NUMBER]
]
"""Module (from 0) -> how many times as long as the others it takes for a step."""
HeadNet = Literal["0c1f", "0c2f", "1c1f", "1c2f", "1c3f", "2c2f", "mlp-sr", "imagenet", "fcn"]
"""Architecture of a label head; `parts/heads.py` says what the names mean, `parts/map_heads.py` for
targets that are maps."""
FeatureMap = Literal["relu", "tanh", "sigmoid", "reapen"]
"""A nonlinearity whose output has unit length; `models/phi.py` says what the names mean."""
PairFeature = Literal["relu", "tanh", "sigmoid", "reapen", "gaussian"]
"""What a kernel on pairs is made of: a feature map, or the Gaussian kernel."""
PairObjective = Literal[
    "raw",
    "nmse",
    "alignment",
    "upper_tri_alignment",
    "contrastive",
    "log_contrastive",
    "raw_neo",
    "nmse_neo",
    "alignment_neo",
    "contrastive_neo",
    "log_contrastive_neo",
]
"""An objective on pairs of a batch; `parts/pairs.py` says what the names mean."""
LabelHead = Literal[HeadNet, "shared"]
"""Label head of a module: a net of its own, or the net's own classifier, read only (`shared`)."""
