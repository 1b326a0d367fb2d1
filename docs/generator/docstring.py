"""What the docstring of a method's file says, part by part: what it is and whose, its equation, how
it works, and how it deviates from the paper.

Its shape is the same in every file: a first paragraph `Title (authors, where): the idea.` or
`Title: the idea.`, indented lines for formulas, and `Deviations ...:` with a numbered list, or with
`none`, at the end.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ARXIV = re.compile(r"(?:arXiv )?\b(\d{4}\.\d{4,5})\b")
DEVIATIONS = re.compile(r"^Deviations.*?:", re.MULTILINE)


@dataclass(frozen=True)
class Described:
    """A docstring's parts.

    Attributes:
        title: name of the method.
        cited: what stands in brackets behind it: authors, place, number; empty if nothing does.
        first: the first paragraph.
        body: paragraphs and formulas between the first paragraph and the deviations.
        deviations: their heading, then each.
    """

    title: str
    cited: str
    first: str
    body: list[str]
    deviations: list[str]

    @property
    def formulas(self) -> list[str]:
        """The indented paragraphs."""
        return [part for part in self.body if part.startswith(" ")]

    @property
    def papers(self) -> list[str]:
        """arXiv numbers that the first paragraph and the text name, in order."""
        text = "\n".join([self.first, *self.body])
        return list(dict.fromkeys(ARXIV.findall(text)))


def described(path: Path) -> Described:
    """Read a method's file.

    Raises:
        ValueError: its docstring has another shape.
    """
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    found = list(DEVIATIONS.finditer(text))
    if not found:
        raise ValueError(f"{path.name}: the docstring lists no deviations")
    head, tail = text[: found[-1].start()], text[found[-1].start() :]
    first, *body = [part.rstrip() for part in re.split(r"\n\s*\n", head.rstrip())]
    first = " ".join(first.split())
    named = re.match(r"([^(:.,]+?) ?(?:\(([^()]*)\))?[:.,(]", first + ".")
    if not named or not any(part.startswith("    ") for part in body):
        raise ValueError(f"{path.name}: the docstring needs a title and an indented formula")
    return Described(named[1], named[2] or "", first, body, _listed(tail))


def _listed(text: str) -> list[str]:
    """The heading and the numbered entries."""
    heading, *entries = re.split(r"^\d+\. ", text, flags=re.MULTILINE)
    return [" ".join(dedent(part).split()) for part in (heading, *entries)]
