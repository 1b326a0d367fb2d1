"""Where a cell's network is cut."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from modulewise.config.types import NUMBER, Frozen
from modulewise.units import memory, memory_bytes


def _size(value: Any) -> Any:
    return memory_bytes(value) if isinstance(value, str) else value


Size = Annotated[
    int,
    Field(ge=1, le=2**60),
    BeforeValidator(_size),
    NUMBER,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? *[KMGT]i?B$"},
                {"type": "integer", "minimum": 1},
            ]
        }
    ),
]
"""A number of bytes, or a text such as `4GiB` or `500MiB`."""


class Budget(Frozen):
    """Cuts at which training is cheapest among those whose peak memory stays within a budget."""

    budget: Size
    """Peak memory of live tensors, in bytes or as a text such as `4GiB`."""


Rule = Literal["even", "memory", "single"] | Budget
"""`even` (by number of stages), `memory` (equal measured activation bytes), `single` (one stage a
module, the rest in the last one) or a budget."""
Partition = Rule | tuple[str, ...]
"""A rule, or the names of the stages to cut after."""


def partition_text(partition: Partition) -> str:
    """A partition in a few words: its name, its budget, or its stages.

    Example:
        >>> partition_text(Budget(budget="4GiB")), partition_text(("1.2", "2.1"))
        ('within 4 GiB', '1.2 2.1')
    """
    if isinstance(partition, Budget):
        return f"within {memory(partition.budget)}"
    return partition if isinstance(partition, str) else " ".join(partition)
