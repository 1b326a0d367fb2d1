"""Folders of pictures: names that begin with a dot are left out, as are files that are no pictures
by their names' ends; all else in torchvision's order."""

from __future__ import annotations

import os
from pathlib import Path

from modulewise.data.picture import SUFFIXES
from modulewise.errors import InvalidInput


def folders(parent: Path) -> list[str]:
    """Names of the folders in a folder, sorted.

    Raises:
        InvalidInput: there is none.
    """
    try:
        names = sorted(p.name for p in parent.iterdir() if p.is_dir() and not _hidden(p.name))
    except FileNotFoundError:
        raise InvalidInput(f"{parent}: no such folder") from None
    except OSError as error:
        raise InvalidInput(f"{parent}: {error.strerror}") from None
    if not names:
        raise InvalidInput(f"{parent}: no class folder")
    return names


def pictures(folder: Path) -> list[Path]:
    """The pictures in a folder and in those inside it, in torchvision's order.

    Raises:
        InvalidInput: there is none.
    """
    tree = []
    for place, inside, names in os.walk(folder, followlinks=True):
        inside[:] = [name for name in inside if not _hidden(name)]
        tree.append((place, sorted(name for name in names if _is_picture(name))))
    files = [Path(place, name) for place, names in sorted(tree) for name in names]
    if not files:
        there = "" if folder.is_dir() else "no such folder; "
        raise InvalidInput(
            f"{folder}: {there}no pictures; their names end in {', '.join(SUFFIXES)}"
        )
    return files


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not _hidden(name)


def _hidden(name: str) -> bool:
    return name.startswith(".")
