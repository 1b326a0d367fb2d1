"""Writes the generated pages, into folders that git ignores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from generator import reference
from generator.cards import Cards

ROOT = Path(__file__).parents[2]
FOLDERS = ("methods", "reference")


def write() -> None:
    """Write the pages whose text has changed, and remove those that are no more."""
    made = {ROOT / "docs" / name: text for name, text in pages()}
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    for folder in FOLDERS:
        for path in (ROOT / "docs" / folder).glob("*.md"):
            if path not in made:
                path.unlink()


def pages() -> Iterator[tuple[str, str]]:
    """Names, below `docs`, and texts."""
    yield from reference.pages(ROOT)
    yield from Cards(ROOT, ROOT / "build/docs/costs.json").pages()
