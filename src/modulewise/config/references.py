"""Published numbers: `references.csv` beside the recipes, one row per number, checked."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from modulewise.config.types import Frozen, Name
from modulewise.errors import InvalidInput, choose, parse

FILE = "references.csv"


TEST = re.compile(r"test_[A-Za-z][A-Za-z0-9_-]*")
"""A primary or secondary metric on the test set, by its name (`PrimaryMetric.name`)."""
RANGES = {
    "test_error": (0.0, 100.0),
    "test_top5_error": (0.0, 100.0),
    "memory_gb": (0.0, math.inf),
    "memory_reduction": (-math.inf, 100.0),
    "compute_overhead": (-100.0, math.inf),
    "time_overhead": (-100.0, math.inf),
}
"""Metric -> least and largest value; other metrics have any."""
COSTS = tuple(name for name in RANGES if not TEST.fullmatch(name))


def one_of(value: str, others: tuple[str, ...]) -> str:
    """Refuse a metric that is neither `test_<name>` nor one of some others."""
    if TEST.fullmatch(value) or value in others:
        return value
    raise ValueError(f"input should be test_<metric> or {', '.join(others)}, got {value!r}")


def schema_of(others: tuple[str, ...]) -> WithJsonSchema:
    """The JSON schema of a metric."""
    of_test = {"type": "string", "pattern": f"^{TEST.pattern}$"}
    return WithJsonSchema({"anyOf": [{"enum": ["test_error", *others]}, of_test]})


Metric = Annotated[str, AfterValidator(lambda value: one_of(value, COSTS)), schema_of(COSTS)]


class Reference(Frozen):
    """A published number and what must be known to compare with it; an empty field of the file is
    `None` or the default."""

    dataset: Name
    network: Name
    recipe: Name
    modules: Annotated[int, Field(ge=1)]
    """K."""
    metric: Metric
    """`test_` and the name of the data set's primary metric, or of a secondary one, in its unit
    (`test_error` in percent); `memory_gb` in 10^9 bytes; the others in percent of end-to-end
    training's."""
    value: Annotated[float, Field(allow_inf_nan=False)]
    spread: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Published spread; see `spread_kind` for its type."""
    spread_kind: Literal["sd", "se", "ci95", "none", "unknown"]
    """Standard deviation over runs, standard error, half the width of a 95 % interval, none
    printed, printed but not explained."""
    n: Annotated[int, Field(ge=1)] | None = None
    """Number of runs the value is the mean of; none if not said."""
    selection: Literal["last", "best_on_test", "unknown"]
    """Epoch whose value was printed: the last, the best on the test set, or not said; says nothing
    of a cost."""
    epochs: (
        Annotated[int, Field(ge=1)]
        | Annotated[str, Field(pattern=r"^[1-9][0-9]* iterations$")]
        | None
    ) = None
    """Number of epochs, or `40000 iterations`."""
    training: Literal["recipe", "other", "unknown"] = "recipe"
    """`recipe`: as the recipe trains, as far as is known; `other`: with other settings than its
    own, named in the note; `unknown`: with a configuration (heads, cuts, weights of losses, ...) of
    which something is not known, named in the note."""
    split: str
    """`test`: trained on all training images, measured on the test set; anything else is not
    comparable with our runs."""
    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    """Largest difference that counts as reproduced, in the metric's unit, fixed before our runs;
    the default is of test error."""
    source: Annotated[str, Field(min_length=1)]
    note: str = ""
    """What a reader of the comparison must know."""

    @model_validator(mode="after")
    def _in_range(self) -> Reference:
        least, most = RANGES.get(self.metric, (-math.inf, math.inf))
        if self.value < least:
            raise ValueError(
                f"value: input should be greater than or equal to {least:g} for {self.metric}"
            )
        if self.value > most:
            raise ValueError(
                f"value: input should be less than or equal to {most:g} for {self.metric}"
            )
        return self

    @model_validator(mode="after")
    def _own_tolerance(self) -> Reference:
        own = self.metric != "test_error" and self.metric not in COSTS
        if own and "tolerance" not in self.model_fields_set:
            raise ValueError(f"tolerance: missing; the default is of test_error, not {self.metric}")
        return self

    @model_validator(mode="after")
    def _what_is_unknown(self) -> Reference:
        if self.training == "unknown" and not self.note:
            raise ValueError("training: unknown needs a note that says what is not known")
        return self

    @model_validator(mode="after")
    def _spread_and_kind(self) -> Reference:
        if (self.spread is None) != (self.spread_kind == "none"):
            raise ValueError(
                "a spread needs a spread_kind other than none, and none means no spread"
            )
        return self


def check_sources(path: Path, wanted: Sequence[str], where: str) -> None:
    """Refuse sources of which no number is published; some of several may have none.

    Args:
        path: the file of published numbers; without it, every source is fine.
        wanted: names of sources.
        where: place in the sweep's file, for the message.

    Raises:
        InvalidInput: none of the sources is in the file, or the file is not as it must be.
    """
    known = {reference.source for reference in load(path)}
    if wanted and known and known.isdisjoint(wanted):
        raise choose(wanted[0], known, f"source of {path.name}", where)


def load(path: Path) -> list[Reference]:
    """Read `references.csv`; without the file there are no references.

    Args:
        path: the file; its first line names the columns.

    Raises:
        InvalidInput: one line with the file, the row and what is wrong with it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets begin with a mark
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path}: no text in UTF-8") from None
    rows = csv.DictReader(io.StringIO(text), strict=True)
    found: dict[tuple[str | int, ...], int] = {}
    out = []
    try:
        names = list(rows.fieldnames or [])
        for name in names:
            if names.count(name) > 1:
                raise InvalidInput(f"{path}: line 1: duplicate column {name}")
            if name not in Reference.model_fields:
                raise choose(name, Reference.model_fields, "column", f"{path}: line 1")
        for row in rows:
            where = f"{path}: line {rows.line_num}"
            if None in row or None in row.values():
                raise InvalidInput(f"{where}: not as many fields as line 1 names columns")
            reference = parse(Reference, {k: v for k, v in row.items() if v != ""}, where)
            key = (
                reference.dataset,
                reference.network,
                reference.recipe,
                reference.modules,
                reference.metric,
                reference.source,
            )
            if key in found:
                raise InvalidInput(
                    f"{where}: the same number as line {found[key]}: {', '.join(map(str, key))}"
                )
            found[key] = rows.line_num
            out.append(reference)
    except csv.Error as error:
        raise InvalidInput(f"{path}: line {rows.line_num}: no valid CSV: {error}") from None
    return out
