"""What the files of a kind declare: methods, schedules, sources, tasks, studies are found by file.

The options of a method, a schedule or a study are the keyword-only arguments of its class's
constructor: the signature is their schema, the `Args:` of the class's docstring their help. Files
are read as text, so that a sweep of ten thousand cells is validated without importing torch.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic_core import CoreSchema, core_schema

import modulewise
from modulewise.config import types
from modulewise.errors import choose

Kind = Literal["methods", "schedules", "data/sources", "tasks", "studies", "models"]
"""Folder whose files are found by name."""
_TYPES = {name: value for name, value in vars(types).items() if not name.startswith("_")} | {
    "int": types.Int,
    "float": types.Float,
    "Literal": Literal,
}


def names(kind: Kind) -> tuple[str, ...]:
    """The names of everything of a kind: its folder's files, but for those that begin with `_`.

    Example:
        >>> names("schedules")
        ('asynchronous', 'joint', 'parallel', 'sequential')
    """
    return tuple(sorted(_files(kind)))


@dataclass(frozen=True)
class OneOf:
    """Restricts a text field to some names, for `Annotated`; the schema lists them.

    Attributes:
        names: valid ones.
        what: they are called in messages.
    """

    names: tuple[str, ...]
    what: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._known, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.names)}

    def _known(self, name: str) -> str:
        if name not in self.names:
            raise ValueError(str(choose(name, self.names, self.what, "")))
        return name


def class_name(name: str) -> str:
    """The class a file must hold: `dgl` -> `Dgl`, `synthetic_gradients` -> `SyntheticGradients`."""
    return "".join(part.capitalize() for part in name.split("_"))


@cache
def options_model(kind: Kind, name: str) -> type[BaseModel]:
    """The pydantic model of a file's options, made from its class's signature.

    Raises:
        TypeError: an option without a type or a default.

    Example:
        >>> sorted(options_model("methods", "dgl").model_fields)
        ['feature_dim', 'head']
    """
    owner = _class(kind, name)
    init = next(
        (f for f in owner.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"), None
    )
    help_of = _arguments(ast.get_docstring(owner) or "")
    fields: dict[str, Any] = {}
    arguments = zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True) if init else ()
    for arg, default in arguments:
        if arg.annotation is None or default is None:
            raise TypeError(f"{kind}/{name}.py: option {arg.arg!r} needs a type and a default")
        described = Field(ast.literal_eval(default), description=help_of.get(arg.arg))
        fields[arg.arg] = (_type(arg.annotation), described)
    config = ConfigDict(extra="forbid", frozen=True)
    return create_model(f"{class_name(name)}Options", __config__=config, **fields)


@cache
def literal(kind: Kind, name: str, variable: str) -> Any:
    """The value of a top-level constant of a file, which must be a literal.

    Raises:
        TypeError: the file has no such constant.
    """
    for node in _tree(kind, name).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == variable:
            assert isinstance(node, ast.Assign | ast.AnnAssign) and node.value
            return ast.literal_eval(node.value)
    raise TypeError(f"{kind}/{name}.py: it must hold {variable}")


def has_method(kind: Kind, name: str, method: str) -> bool:
    """Whether the class of a file has a method of that name.

    Example:
        >>> has_method("tasks", "segmentation", "probabilities")
        True
    """
    owner = _class(kind, name)
    return any(isinstance(f, ast.FunctionDef) and f.name == method for f in owner.body)


@cache
def _tree(kind: Kind, name: str) -> ast.Module:
    return ast.parse(_files(kind)[name].read_text())


def _files(kind: Kind) -> dict[str, Path]:
    """Name -> file, in every folder of the package's path, to which tests add one of their own."""
    files = (p for folder in modulewise.__path__ for p in Path(folder, kind).glob("*.py"))
    return {p.stem: p for p in files if not p.stem.startswith("_")}


def _class(kind: Kind, name: str) -> ast.ClassDef:
    wanted = class_name(name)
    for node in _tree(kind, name).body:
        if isinstance(node, ast.ClassDef) and node.name == wanted:
            return node
    raise TypeError(f"{kind}/{name}.py: it must hold a class {wanted}")


def _arguments(docstring: str) -> dict[str, str]:
    """Argument -> its text in the section `Args:` of a docstring."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, re.MULTILINE | re.DOTALL)
    found = (
        re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section[1], re.MULTILINE) if section else []
    )
    return {name: " ".join(text.split()) for name, text in found}


def _type(annotation: ast.expr) -> Any:
    """The type an annotation names: builtins, Literal and those of `config.types`."""
    return eval(compile(ast.Expression(annotation), "<signature>", "eval"), dict(_TYPES))
