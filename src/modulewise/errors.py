"""Bad input becomes one line: what is wrong, where, the valid choices."""

from __future__ import annotations

import difflib
import errno
import re
import types
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

M = typing.TypeVar("M", bound=BaseModel)


RESOURCES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "make room",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a folder that can be written",
    errno.EPERM: "choose a folder that can be written",
    errno.EIO: "look after the disk",
    errno.ESTALE: "look after the disk",
    errno.EREMOTEIO: "look after the disk",
    errno.EBUSY: "look after the disk",
    errno.EAGAIN: "look after the disk",
    errno.ETIMEDOUT: "look after the disk",
    errno.ENOTDIR: "a file stands where a folder should",
    errno.EEXIST: "a file stands where a folder should",
    errno.EISDIR: "a folder stands where a file should",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files (ulimit -n)",
}
"""What a system may lack through no fault of the program's, and what to do about it."""


LONGEST = 4000
"""Characters of an error's line; of a longer one the middle is left out."""


OF_TEXT = ("string_type", "list_type", "tuple_type")
"""Kinds of errors that show a number as it is written in the file: text may have been meant."""


class InvalidInput(ValueError):
    """Wrong input of the user's; its text is one line that names the place and the valid
    choices."""

    def __init__(self, text: str) -> None:
        line = re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()
        super().__init__(
            line if len(line) <= LONGEST else f"{line[: LONGEST - 200]} ... {line[-195:]}"
        )


def resource(error: OSError, where: object = None) -> str | None:
    """What to say of a full or read-only disk and the like, in one line; `None` of any other error,
    which is a bug.

    Args:
        error: what the system said.
        where: the file or folder that was being written, if the error does not name it.
    """
    place = error.filename if isinstance(error.filename, str) else where
    of_a_socket = not place and error.errno in (errno.EAGAIN, errno.ETIMEDOUT)
    if error.errno not in RESOURCES or of_a_socket:
        return None
    return f"{place or 'writing'}: {error.strerror}; {RESOURCES[error.errno]}"


def memory_short(error: BaseException) -> str | None:
    """What to say of an error if it means that the device or the machine has too little memory;
    `None` of any other."""
    text = str(error).strip() or type(error).__name__
    signs = (
        "can't allocate memory",
        "CUDA error: out of memory",
        "ALLOC_FAILED",
        "not enough memory",
    )
    short = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if short or (isinstance(error, RuntimeError) and any(sign in text for sign in signs)):
        return text.splitlines()[0]
    return None


def choose(word: Any, valid: Iterable[str], what: str, where: str) -> InvalidInput:
    """The error for a name that is not among the valid ones, with the likely meant one first.

    Example:
        >>> str(choose("dlg", ["dgl", "greedy"], "recipe", "sweep.yaml: grids[0]"))
        "sweep.yaml: grids[0]: unknown recipe 'dlg'; did you mean 'dgl'? valid: dgl, greedy"
    """
    names = sorted(valid)
    near = difflib.get_close_matches(str(word)[:100], names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return InvalidInput(
        f"{f'{where}: ' if where else ''}unknown {what} {_short(str(word))}; {hint}valid: "
        f"{', '.join(names) or 'none'}"
    )


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
    """The most telling error: an unknown key before a missing one, a wrong value before a wrong
    type, the deepest place."""
    found = error.errors(include_url=False)
    first = max(
        found,
        key=lambda e: (e["type"] == "extra_forbidden", not _of_another_kind(e), len(e["loc"])),
    )
    loc, kind, got = first["loc"], first["type"], first.get("input")
    owner = _owner(model, loc[:-1] if kind == "extra_forbidden" else loc)
    if kind == "extra_forbidden":
        return choose(
            loc[-1], owner.model_fields if owner else [], "key", _place(where, loc[:-1], data)
        )
    if kind == "missing":
        return InvalidInput(f"{_place(where, loc[:-1], data, loc[-1])}: missing")
    place, text = _place(where, loc, data), _written(loc, data) or _short(got)
    if kind in ("model_type", "dict_type") and got is None:
        return InvalidInput(f"{place}: empty{_keys(owner)}")
    message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    hint = ""
    if kind in ("model_type", "dict_type"):
        message, hint = "input should be a mapping of keys to values", _keys(owner)
    elif kind in ("int_parsing", "float_parsing", "int_from_float"):
        message = message.split(",")[0]
    elif kind in ("too_short", "too_long"):
        least, n = (
            kind == "too_short",
            first["ctx"]["min_length" if kind == "too_short" else "max_length"],
        )
        message = (
            f"input should have at {'least' if least else 'most'} {n} item{'s' if n > 1 else ''}"
        )
    elif kind == "string_pattern_mismatch":
        message = "input should be letters, digits, dots and dashes"
    elif kind == "literal_error" and isinstance(got, str):
        near = difflib.get_close_matches(
            got[:100], re.findall(r"'([^']*)'", first["ctx"]["expected"]), n=1
        )
        hint = f"; did you mean {near[0]!r}?" if near else ""
    elif kind == "string_type" and isinstance(got, int | float):
        hint = f"; write it in quotes: '{text}'"
    elif kind in ("list_type", "tuple_type") and isinstance(got, str | int | float):
        hint = f"; write a list: [{text}]"
    shown = "" if kind == "value_error" else f", got {text if kind in OF_TEXT else _short(got)}"
    return InvalidInput(f"{place}: {message[:1].lower()}{message[1:]}{shown}{hint}")


def _written(loc: tuple[int | str, ...], data: Any) -> str:
    """A number or truth value as it stands in the file (see `config.loading`); empty if unknown."""
    text = ""
    for part in loc:
        try:
            text, data = getattr(data, "written", {}).get(part, ""), data[part]
        except (LookupError, TypeError):  # what pydantic adds to tell branches apart
            continue
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"


def _of_another_kind(error: Any) -> bool:
    """Whether the value is of another type than this branch of a union is for."""
    chosen_from = error["type"] == "literal_error" and not isinstance(error.get("input"), str)
    return chosen_from or error["type"].endswith("_type")


def _keys(owner: type[BaseModel] | None) -> str:
    return f"; valid keys: {', '.join(owner.model_fields)}" if owner else ""


def _short(value: Any) -> str:
    """A value as the message shows it."""
    if isinstance(value, dict | list | tuple | set):
        return "a mapping" if isinstance(value, dict) else "a list" if value else "an empty list"
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a very long number"
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"


def _place(where: str, loc: tuple[int | str, ...], data: Any, last: int | str | None = None) -> str:
    """Where an error is, as a path into the data; what pydantic adds to tell the branches of a
    union apart is left out."""
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
    return (
        _owner(args[-1] if typing.get_origin(model) is dict else args[0], loc[1:])
        if args and loc
        else None
    )
