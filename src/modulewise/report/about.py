"""What a method is, in the words of its file, read without running it."""

from __future__ import annotations

import ast
from pathlib import Path

METHODS = Path(__file__).parents[1] / "methods"


def about(method: str) -> str:
    """The first paragraph of a method's file; empty without such a file.

    Example:
        >>> about("backprop")[:26]
        'End-to-end backpropagation'
    """
    path = METHODS / f"{method}.py"
    said = ast.get_docstring(ast.parse(path.read_text())) if path.is_file() else None
    return " ".join((said or "").partition("\n\n")[0].split())
