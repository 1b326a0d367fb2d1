"""Picture files that are decoded when they are needed: their names, targets and digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from modulewise.errors import InvalidInput

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Files:
    """Pictures of a part. Names are bytes in one array, which workers share without copying.

    Attributes:
        root: folder that names are relative to.
        pictures: names (N).
        targets: labels (N, int64), or names of maps of classes (N).
    """

    root: Path
    pictures: NDArray[np.bytes_]
    targets: NDArray[Any]

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def maps(self) -> bool:
        """Whether targets are maps of classes."""
        return self.targets.dtype.kind == "S"

    def take(self, index: NDArray[np.int64]) -> Files:
        """The pictures at these positions."""
        return Files(self.root, self.pictures[index], self.targets[index])

    def path(self, i: int) -> Path:
        """Of a picture."""
        return self.root / os.fsdecode(self.pictures[i])

    def map(self, i: int) -> Path:
        """Of a picture's map."""
        return self.root / os.fsdecode(self.targets[i])


def files(root: Path, pictures: Iterable[Path], targets: Iterable[Path] | NDArray[Any]) -> Files:
    """Files below a root; targets are paths of maps, or labels."""
    labels = targets if isinstance(targets, np.ndarray) else _names(root, targets)
    return Files(root, _names(root, pictures), labels)


def _names(root: Path, paths: Iterable[Path]) -> NDArray[np.bytes_]:
    start = len(os.fsencode(root)) + 1
    return np.array([os.fsencode(path)[start:] for path in paths], dtype=np.bytes_)


def digest(parts: Iterable[Files]) -> str:
    """A hash of names, sizes in bytes and labels, in the order of names; no pixel is read.

    Raises:
        InvalidInput: a file is not there, or empty.
    """
    whole = hashlib.sha256()
    for part in parts:
        sizes = _sizes(part, part.pictures)
        targets = _sizes(part, part.targets) if part.maps else part.targets
        for i in np.argsort(part.pictures, kind="stable"):
            whole.update(part.pictures[i] + f" {sizes[i]} {targets[i]}\n".encode())
        whole.update(b"\n")
    return whole.hexdigest()[:12]


def _sizes(part: Files, names: NDArray[np.bytes_]) -> list[int]:
    """Bytes of files; a network disk is asked for several at a time."""

    def size(name: bytes) -> int:
        path = part.root / os.fsdecode(name)
        try:
            found = path.stat().st_size
        except OSError as error:
            raise InvalidInput(f"{path}: {error.strerror}") from None
        if not found:
            raise InvalidInput(f"{path}: empty file")
        return found

    return in_threads(size, names, chunk=4096)


def in_threads(what: Callable[[T], R], items: Iterable[T], chunk: int = 1) -> list[R]:
    """What a function says of each item, in order; several are asked at a time, for disks that
    answer late."""
    waiting = list(items)
    chunks = [waiting[i : i + chunk] for i in range(0, len(waiting), chunk)]
    with ThreadPoolExecutor(16) as pool:
        found = pool.map(lambda some: [what(item) for item in some], chunks)
        return [value for some in found for value in some]
