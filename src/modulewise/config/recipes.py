"""How to train: the content of `recipes.yaml`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from modulewise.config.options import OneOf, names
from modulewise.config.partition import Partition, Rule
from modulewise.config.schemas import ANY_OPTIONS, SchemaOf, options_by_method
from modulewise.config.training import TrainConfig
from modulewise.config.types import Count, Frozen, Int, Name


class When(Frozen):
    """Conditions of an override; all that are given must hold."""

    dataset: str | list[str] | None = None
    """Data set, or a list of data sets."""
    network: str | list[str] | None = None
    """Network, or a list of networks."""
    modules: Int | list[Int] | None = None
    """Number of modules K, or a list of them."""

    def holds(self, dataset: str, network: str, modules: int) -> bool:
        """Whether the conditions hold for this cell."""
        wanted = ((self.dataset, dataset), (self.network, network), (self.modules, modules))
        return all(w is None or v == w or (isinstance(w, list) and v in w) for w, v in wanted)


class Change(Frozen):
    """Values that an override sets."""

    options: Annotated[dict[str, Any], ANY_OPTIONS] = {}
    """Options of the method."""
    training: Annotated[dict[str, Any], SchemaOf((TrainConfig,))] = {}
    """Training settings."""
    partition: Partition | None = None
    """Partition: `even`, `memory`, `single`, a `budget` or the names of the stages to cut after."""


class Override(Frozen):
    """`when` a cell matches, `set` these values; `source` says where they were published."""

    when: When
    """Conditions under which it applies."""
    set: Change
    """Values that it sets."""
    source: str
    """Publication of the values."""


class Recipe(Frozen):
    """A named method with its options, training settings and overrides."""

    method: Annotated[str, OneOf(names("methods"), "method")]
    """Method, a file of `modulewise/methods`."""
    label: str
    """Name in tables and figures."""
    paper: str | None = None
    """Paper of the method."""
    experimental: bool = False
    """Whether it is here to be looked at, not compared: reports show it in a section of its own."""
    modules: Literal["any", "one"] = "any"
    """Number of modules: `any`, or `one` for a method that does not cut the network and has a
    single cell, K = 1, beside each of a grid's K."""
    training: Name = "paper"
    """Name of shared training settings."""
    partition: Rule = "even"
    """Partition: `even` (equal numbers of stages), `memory` (equal measured activation bytes),
    `single` (one stage a module, the rest in the last one) or a `budget` of memory."""
    options: Annotated[dict[str, Any], ANY_OPTIONS] = {}
    """Options of the method."""
    overrides: tuple[Name | Override, ...] = ()
    """Names of shared tables, or overrides written out; later ones win."""
    same_as: dict[Name, tuple[Count, ...]] = {}
    """Recipes whose training is the very same at these K: where a sweep has both, that one is
    trained and shown for both."""
    note: str | None = None
    """Remark for readers of the report, such as which values are our own choice."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        made = handler(schema)
        handler.resolve_ref_schema(made)["allOf"] = options_by_method(handler)
        return made


class Settings(Frozen):
    """Shared training settings: values, then overrides."""

    source: str
    """Publication of the values."""
    set: Annotated[dict[str, Any], SchemaOf((TrainConfig,))] = {}
    """Training settings."""
    overrides: tuple[Override, ...] = ()
    """Overrides; later ones win."""


class Recipes(Frozen):
    """The content of `recipes.yaml`."""

    training: dict[Name, Settings]
    """Shared training settings by name."""
    tables: dict[Name, tuple[Override, ...]] = {}
    """Lists of overrides by name, which recipes share."""
    recipes: dict[Name, Recipe]
    """Recipes by name."""
