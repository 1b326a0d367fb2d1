"""Which images are a data set's, and which runs were made from others."""

from __future__ import annotations

from pathlib import Path

import pytest

from modulewise.config.cell import Cell
from modulewise.runs.images import other_images
from modulewise.runs.state import run_states
from run_folders import T, end, finish, gone, start, sweep, write


def made(runs: Path, cell: Cell, images: str | None, at: float, status: str = "done") -> None:
    write(runs, cell, start(cell, at, pid=gone()), end(at + 9, status))
    origin = finish(runs, cell, status).origin.model_copy(update={"data": images})
    finish(runs, cell, status, origin=origin)


@pytest.mark.parametrize(
    ("images", "others"),
    [
        ("aaa", ""),
        ("aab", "2"),
        ("abb", "0"),
        ("ab", "0"),  # as many of each: the latest
        ("ba", "0"),
        ("a-b-", "0"),  # made before images were recorded: they count
        ("--", ""),
        ("aBB", "12"),  # runs that diverged have no vote, but their images differ all the same
        ("AB", ""),
    ],
)
def test_the_images_of_most_runs_are_the_data_sets(
    tmp_path: Path, images: str, others: str
) -> None:
    """A letter a run, a capital for one that diverged, in the order in which they began."""
    runs = tmp_path / "results" / "runs"
    _, cells = sweep(tmp_path, modules=[2], seeds=len(images))
    for n, (cell, letter) in enumerate(zip(cells, images, strict=True)):
        status = "diverged" if letter.isupper() else "done"
        made(runs, cell, None if letter == "-" else letter.lower(), T + 100 * n, status)
    found = other_images(zip(cells, run_states(cells, runs), strict=True))
    assert list(found) == [cells[int(n)].path for n in others]


def test_data_sets_are_apart_and_the_reason_names_both_images(tmp_path: Path) -> None:
    runs = tmp_path / "results" / "runs"
    _, cells = sweep(tmp_path, datasets=["fake", "digits"], modules=[2], seeds=3)
    for n, cell in enumerate(cells):
        made(runs, cell, "old" if cell.dataset == "digits" or cell.seed == 1 else "new", T + n)
    found = other_images(zip(cells, run_states(cells, runs), strict=True))
    (odd,) = [c for c in cells if (c.dataset, c.seed) == ("fake", 1)]
    assert found == {odd.path: "images old; 2 runs of fake have new"}
