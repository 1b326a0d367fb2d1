"""What a sweep's runs are to decide, written in its file before they are made: number of seeds,
contrasts, and the level they are judged at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from modulewise.config.types import NUMBER, Count, Frozen, Name, Positive

Family = Literal["primary", "secondary"]


class Term(Frozen):
    """The cells of one recipe, and of one K, that a contrast is about."""

    recipe: Name
    """Recipe of the sweep."""
    modules: Count | None = None
    """Number of modules K; may be left out where the recipe has one."""
    grid: Annotated[int, Field(ge=0), NUMBER] | None = None
    """Number of the grid, from 0; may be left out where one grid has such cells."""


class Contrast(Frozen):
    """A question that a sweep's runs decide; exactly one of `slope`, `difference` and
    `equivalence`. Each is computed for every seed by itself; the seeds' values are then judged."""

    name: Name
    """Name in tables."""
    hypothesis: str
    """What is expected, in words."""
    slope: Term | None = None
    """Change of the primary metric when K doubles: the slope of its straight line over log2 K,
    fitted by least squares to the recipe's K; a term without `modules`."""
    difference: tuple[Term, Term] | None = None
    """The first's primary metric minus the second's."""
    equivalence: tuple[Term, Term] | None = None
    """As `difference`; the question is whether it lies within `margin` on both sides."""
    margin: Positive | None = None
    """Largest difference that counts as none, in the metric's unit; of an `equivalence`."""

    @model_validator(mode="after")
    def _one_kind(self) -> Contrast:
        kinds = [k for k in ("slope", "difference", "equivalence") if getattr(self, k)]
        if len(kinds) != 1:
            raise ValueError("give one of slope, difference, equivalence")
        if (self.margin is not None) != (self.equivalence is not None):
            raise ValueError("an equivalence has a margin, and nothing else has one")
        if self.slope and self.slope.modules is not None:
            raise ValueError("slope: takes all K of the recipe; leave modules out")
        return self

    @property
    def terms(self) -> tuple[Term, ...]:
        """What it is about."""
        return (self.slope,) if self.slope else self.difference or self.equivalence or ()


class Analysis(Frozen):
    """What a sweep decides, planned before its runs: do not change it after the first of them."""

    n: Annotated[int, Field(ge=2, le=10_000), NUMBER]
    """Number of seeds, fixed beforehand; every grid has so many."""
    alpha: Annotated[float, Field(gt=0, lt=0.5), NUMBER] = 0.05
    """Probability of a false positive among the contrasts of a family (Holm)."""
    primary: Annotated[tuple[Contrast, ...], Field(min_length=1)]
    """Contrasts that the sweep is made for, corrected together."""
    secondary: tuple[Contrast, ...] = ()
    """Further contrasts, corrected together and apart from the primary ones."""
    sd: Positive | None = None
    """Standard deviation over seeds that is assumed of a cell's primary metric, in its unit; for
    `modulewise power`."""
    sd_source: str = ""
    """Where the assumption comes from."""

    @model_validator(mode="after")
    def _names_once(self) -> Analysis:
        names = [contrast.name for _, contrast in self.contrasts()]
        if twice := next((n for n in names if names.count(n) > 1), None):
            raise ValueError(f"duplicate contrast {twice}")
        return self

    def contrasts(self) -> Iterator[tuple[Family, Contrast]]:
        """All contrasts with their family, in order."""
        yield from (("primary", contrast) for contrast in self.primary)
        yield from (("secondary", contrast) for contrast in self.secondary)
