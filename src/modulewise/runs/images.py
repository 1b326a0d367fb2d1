"""Which runs were made from other images than the rest of their data set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from modulewise.config.cell import Cell
from modulewise.runs.state import RunState


def other_images(found: Iterable[tuple[Cell, RunState]]) -> dict[str, str]:
    """Runs that ended, but with other images than the other runs of their data set.

    The images of a data set are those of most runs that are done; of equal numbers, those of the
    run that was begun last. Results from before images were recorded count as made from the same
    images.

    Args:
        found: cells of one sweep, each with the state of its run.

    Returns:
        Path of each such run, with what differs in one sentence.
    """
    groups: dict[str, list[tuple[Cell, RunState]]] = defaultdict(list)
    for cell, run in found:
        if digest_of(run):
            groups[cell.dataset].append((cell, run))
    out = {}
    for dataset, runs in groups.items():
        usual, votes = _usual([run for _, run in runs if run.state == "done"])
        for cell, run in runs:
            if usual and digest_of(run) != usual:
                out[cell.path] = f"images {digest_of(run)}; {votes} of {dataset} have {usual}"
    return out


def digest_of(run: RunState) -> str | None:
    """Hash of the images that a run was made from; `None` without a result that has it."""
    return run.result.origin.data if run.result else None


def _usual(done: list[RunState]) -> tuple[str | None, str]:
    """Images of most runs, and how many these are; no images without runs."""
    count: dict[str, tuple[int, int]] = {}
    for run in done:
        number, last = count.get(digest := str(digest_of(run)), (0, 0))
        begun = run.history.spans[-1][0] if run.history.spans else 0
        count[digest] = (number + 1, max(last, begun))
    if not count:
        return None, ""
    usual = max(count, key=lambda digest: (*count[digest], digest))
    number = count[usual][0]
    return usual, f"{number} run{'s' * (number > 1)}"
