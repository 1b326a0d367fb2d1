"""Bad input becomes one line: what is wrong, where, the valid choices."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

M = typing.TypeVar("M", bound=BaseModel)


class InvalidInput(ValueError):
    """Wrong input of the user's; its text is one line that names the place and the valid choices."""


def choose(word: Any, valid: Iterable[str], what: str, where: str) -> InvalidInput:
    """The error for a name that is not among the valid ones, with the likely meant one first.

    Example:
        >>> str(choose("dlg", ["dgl", "greedy"], "recipe", "sweep.yaml: grids[0]"))
        "sweep.yaml: grids[0]: unknown recipe 'dlg'; did you mean 'dgl'? valid: dgl, greedy"
    """
    names = sorted(valid)
    near = difflib.get_close_matches(str(word), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return InvalidInput(f"{where}: unknown {what} {str(word)!r}; {hint}valid: {', '.join(names) or 'none'}")


def parse(model: type[M], data: Any, where: str) -> M:
    """Validate `data`, or raise `InvalidInput` for the first thing wrong.

    Args:
        model: the pydantic model.
        data: what was read from a file.
        where: the file, or the place in it, for the message.

    Raises:
        InvalidInput: one line that names the place, the problem and the valid choices.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _line(model, data, error, where) from None


def _line(model: type[BaseModel], data: Any, error: ValidationError, where: str) -> InvalidInput:
    """The most telling error: an unknown key before a missing one, a wrong value before a wrong type, the deepest place."""
    found = error.errors(include_url=False)
    first = max(found, key=lambda e: (e["type"] == "extra_forbidden", not e["type"].endswith("_type"), len(e["loc"])))
    loc = first["loc"]
    if first["type"] == "extra_forbidden":
        owner = _owner(model, loc[:-1])
        return choose(loc[-1], owner.model_fields if owner else [], "key", _place(where, loc[:-1], data))
    message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    got = first.get("input")
    shown = "" if first["type"] in ("missing", "value_error") or isinstance(got, dict | list) else f", got {got!r}"
    if first["type"] == "missing":
        return InvalidInput(f"{_place(where, loc[:-1], data, loc[-1])}: missing")
    return InvalidInput(f"{_place(where, loc, data)}: {message[:1].lower()}{message[1:]}{shown}")


def _place(where: str, loc: tuple[int | str, ...], data: Any, last: int | str | None = None) -> str:
    """Where an error is, as a path into the data; what pydantic adds to tell the branches of a union apart is left out."""
    path = ""
    for part in loc:
        if isinstance(data, dict) and part in data:
            path, data = f"{path}.{part}", data[part]
        elif isinstance(data, list | tuple) and isinstance(part, int) and part < len(data):
            path, data = f"{path}[{part}]", data[part]
    path += f".{last}" if last is not None else ""
    return f"{where}: {path.lstrip('.')}" if path else where


def _owner(model: Any, loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model that a place in the data belongs to, following lists, mappings and unions."""
    if typing.get_origin(model) in (typing.Union, types.UnionType):
        found = [m for m in (_owner(a, loc) for a in typing.get_args(model)) if m]
        return found[0] if found else None
    if isinstance(model, type) and issubclass(model, BaseModel):
        if not loc:
            return model
        info = model.model_fields.get(str(loc[0]))
        return _owner(info.annotation, loc[1:]) if info else _owner(model, loc[1:])
    args = typing.get_args(model)
    return _owner(args[-1] if typing.get_origin(model) is dict else args[0], loc[1:]) if args and loc else None
