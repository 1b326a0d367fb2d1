"""`modulewise new`: the file, the recipe and the test row of a new method, ready to be filled
in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from modulewise.config.loading import read_value
from modulewise.config.options import class_name, names
from modulewise.config.recipes import Recipes
from modulewise.errors import InvalidInput, parse

_METHOD = '''"""TITLE (authors, arXiv number): the idea in one sentence.

    L_k = the equation

Deviations from the paper:

1. None listed yet.
"""

from __future__ import annotations

from torch import Tensor

from modulewise.config.types import NonNegative
from modulewise.method import Batch, LocalMethod
from modulewise.models.network import CutNetwork
from modulewise.parts.heads import label_heads


class CLASS(LocalMethod):
    """What it does.

    Args:
        trunk: the network, cut.
        weight: of the local loss; every keyword-only argument is an option of the recipe.
    """

    def __init__(self, trunk: CutNetwork, *, weight: NonNegative = 1.0) -> None:
        super().__init__(trunk)
        self.weight = weight
        self.heads = label_heads(trunk, "0c1f")

    def local_loss(self, k: int, h: Tensor, batch: Batch) -> Tensor:
        """Start from a linear classifier's cross-entropy; write the paper's loss here."""
        return self.weight * self.task.loss(self.heads[k](h), batch.y)
'''

_RECIPE = """
  RECIPE:
    method: METHOD
    label: TITLE
    paper: "Authors, arXiv number"
    options: {weight: 1.0}
    overrides: [equal-cuts]
    note: "where its values come from"
"""


def new(
    method: Annotated[
        str, typer.Argument(help="name of the method: lower case, digits, underscores")
    ],
    root: Annotated[Path, typer.Option(help="the clone")] = Path(),
) -> None:
    """Begin a new method: its file, recipe and test row.

    Writes methods/<name>.py, appends a recipe and a row of tests/cases.py; nothing is written
    unless all three can be.

    Examples:
        modulewise new mymethod
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", method):
        raise InvalidInput(
            f"new: {method!r} is no method name; valid: lower-case letters, digits, underscores, "
            f"such as predsim"
        )
    if method in names("methods"):
        raise InvalidInput(
            f"new: there is a method {method!r} already: src/modulewise/methods/{method}.py"
        )
    title, recipe = class_name(method), method.replace("_", "-")
    file = root / "src/modulewise/methods" / f"{method}.py"
    recipes, cases = root / "config/recipes.yaml", root / "tests/cases.py"
    try:
        recipe_text, case_text = recipes.read_text(), cases.read_text()
    except OSError as error:
        raise InvalidInput(
            f"new: {error.filename}: {error.strerror}; run it in the clone, or give --root"
        ) from None
    known = parse(Recipes, read_value(recipe_text, str(recipes)), str(recipes)).recipes
    for what, there in ((f"a recipe {recipe!r}", recipe in known), (str(file), file.exists())):
        if there:
            raise InvalidInput(f"new: {what} is there already; choose another name")
    start = case_text.index("CASES = [")
    end = case_text.index("\n]", start) + 1
    file.write_text(_METHOD.replace("CLASS", title).replace("TITLE", title))
    entry = _RECIPE.replace("RECIPE", recipe).replace("METHOD", method).replace("TITLE", title)
    recipes.write_text(recipe_text.rstrip("\n") + "\n" + entry)
    row = f'    Case("{method}", {{"weight": 0.5}}),\n'
    cases.write_text(case_text[:end] + row + case_text[end:])
    print(f"{file}   the method: docstring, options, local_loss")
    print(f"{recipes}   recipe {recipe}: label, paper, options, note; name it in a sweep")
    print(f"{cases}   its row: the smallest options that exercise it")
    print(f"make test METHOD={method}   tests it alone")
    print("make schemas test   everything, once it works")
