"""How to train: the content of `recipes.yaml`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from modulewise.config.options import OneOf, names
from modulewise.config.types import Frozen, Int, Name


class When(Frozen):
    """Where an override applies; every condition that is given must hold. A single value or a list
    of them."""

    dataset: str | list[str] | None = None
    network: str | list[str] | None = None
    modules: Int | list[Int] | None = None

    def holds(self, dataset: str, network: str, modules: int) -> bool:
        """Whether the conditions hold for this cell."""
        wanted = ((self.dataset, dataset), (self.network, network), (self.modules, modules))
        return all(w is None or v == w or (isinstance(w, list) and v in w) for w, v in wanted)


class Change(Frozen):
    """What an override sets."""

    options: dict[str, Any] = {}
    training: dict[str, Any] = {}
    partition: Literal["even", "memory"] | tuple[str, ...] | None = None


class Override(Frozen):
    """`when` a cell matches, `set` these values; `source` says where they were published."""

    when: When
    set: Change
    source: str


class Recipe(Frozen):
    """A named method with its options, training settings and overrides."""

    method: Annotated[str, OneOf(names("methods"), "method")]
    label: str
    paper: str | None = None
    modules: Literal["any", "one"] = "any"
    """`one`: the method does not cut the network; it has a single cell, K=1, beside each of a
    grid's K."""
    training: Name = "paper"
    """Name of shared training settings."""
    partition: Literal["even", "memory"] = "even"
    options: dict[str, Any] = {}
    overrides: tuple[Name | Override, ...] = ()
    """Names of shared tables, or overrides written out; later ones win."""
    note: str | None = None
    """What a reader of the report must know, e.g. which values are our own choice."""


class Settings(Frozen):
    """Shared training settings: values, then overrides."""

    source: str
    set: dict[str, Any] = {}
    overrides: tuple[Override, ...] = ()


class Recipes(Frozen):
    """The content of `recipes.yaml`."""

    training: dict[Name, Settings]
    tables: dict[Name, tuple[Override, ...]] = {}
    recipes: dict[Name, Recipe]
