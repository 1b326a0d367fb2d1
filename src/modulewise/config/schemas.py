"""Schemas, for editors, of mappings that are validated later: overrides and grids set a part of
what a cell is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from modulewise.config.options import names, options_model


@dataclass(frozen=True)
class SchemaOf:
    """Gives a mapping the schema of some models, for `Annotated`; the mapping is not validated.

    Attributes:
        models: any of them.
        listed: whether the mapping has lists of values to try.
    """

    models: tuple[type[BaseModel], ...]
    listed: bool = False

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        if self.listed:
            return self._lists(handler)
        made = [handler(model.__pydantic_core_schema__) for model in self.models]
        return made[0] if len(made) == 1 else {"anyOf": made}

    def _lists(self, handler: Any) -> dict[str, Any]:
        """Key -> list of its values, of the first model."""
        resolved = handler.resolve_ref_schema(handler(self.models[0].__pydantic_core_schema__))
        lists = {
            key: {"type": "array", "minItems": 1, "items": item, "description": item["description"]}
            for key, item in resolved["properties"].items()
        }
        return {"type": "object", "properties": lists, "additionalProperties": False}


ANY_OPTIONS = SchemaOf(tuple(options_model("methods", name) for name in names("methods")))
"""Options of any method."""


def options_by_method(handler: Any) -> list[dict[str, Any]]:
    """Conditions of a recipe's schema: which options go with which method."""
    return [
        {
            "if": {"properties": {"method": {"const": name}}},
            "then": {"properties": {"options": handler(model.__pydantic_core_schema__)}},
        }
        for name, model in zip(names("methods"), ANY_OPTIONS.models, strict=True)
    ]
