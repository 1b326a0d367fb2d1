"""A method's options are the keyword-only arguments of its constructor; its signature is their
schema.

The signature is read from the source text, so that a sweep of ten thousand cells is validated
without importing torch.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, create_model

from modulewise.config import types

_NAMES = {
    n: getattr(types, n)
    for n in ("Positive", "NonNegative", "Fraction", "Count", "Ends", "LabelHead")
} | {"int": types.Int, "float": types.Float}
_METHODS = Path(__file__).parents[1] / "methods"


def method_names() -> list[str]:
    """The names of all methods: the files of `modulewise/methods`."""
    return sorted(p.stem for p in _METHODS.glob("*.py") if not p.stem.startswith("_"))


def class_name(method: str) -> str:
    """The class a method file must hold: `dgl` -> `Dgl`, `synthetic_gradients` ->
    `SyntheticGradients`."""
    return "".join(part.capitalize() for part in method.split("_"))


@cache
def options_model(method: str) -> type[BaseModel]:
    """The pydantic model of a method's options, made from the signature in its file.

    Example:
        >>> sorted(options_model("dgl").model_fields)
        ['feature_dim', 'head']
    """
    tree = ast.parse((_METHODS / f"{method}.py").read_text())
    init = next(
        (
            f
            for c in tree.body
            if isinstance(c, ast.ClassDef) and c.name == class_name(method)
            for f in c.body
            if isinstance(f, ast.FunctionDef) and f.name == "__init__"
        ),
        None,
    )
    fields: dict[str, Any] = {}
    if init is not None:
        for arg, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
            if arg.annotation is None or default is None:
                raise TypeError(
                    f"methods/{method}.py: option {arg.arg!r} needs a type and a default"
                )
            fields[arg.arg] = (_type(arg.annotation), ast.literal_eval(default))
    config = ConfigDict(extra="forbid", frozen=True)
    return create_model(f"{class_name(method)}Options", __config__=config, **fields)


def _type(annotation: ast.expr) -> Any:
    """The type an annotation names: builtins, Literal and the names defined above."""
    return eval(
        compile(ast.Expression(annotation), "<signature>", "eval"), {"Literal": Literal, **_NAMES}
    )
