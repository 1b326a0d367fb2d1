"""The choice among trials, by the primary metric on held-out images alone."""

from __future__ import annotations

from pathlib import Path

from modulewise.config.trials import Choice, Trials, Tuned, digest
from modulewise.errors import InvalidInput
from modulewise.files import place, write_atomic
from modulewise.runs import result


def judge(found: Trials, runs: Path) -> Tuned:
    """Choose, from the results of all trials; of equals the earliest.

    Args:
        found: of `trials`.
        runs: folder that the cells' paths start from.

    Raises:
        InvalidInput: a trial has no result yet, trials of a data set were made from different
            images, or no trial of a point finished.
    """
    _same_images(found, runs)
    choices = []
    for point, tried in found.items():
        ended = [[_result(path, runs) for path in trial.cells] for trial, _ in tried]
        done = [
            trial.model_copy(update={"validation": _validation(results)})
            for (trial, _), results in zip(tried, ended, strict=True)
        ]
        metric = ended[0][0].metric
        ranks = [
            (metric.rank(t.validation), n) for n, t in enumerate(done) if t.validation is not None
        ]
        if not ranks:
            raise InvalidInput(
                f"tune: no trial of {' '.join(map(str, point[1:]))} finished; widen the search"
            )
        choices.append(Choice(point=point, trials=tuple(done), chosen=min(ranks)[1]))
    return Tuned(search=digest(found), choices=tuple(choices))


def _same_images(found: Trials, runs: Path) -> None:
    """Refuse trials of one data set that were made from different images: no choice between them
    would be fair."""
    seen: dict[str, dict[str, list[str]]] = {}
    for point, tried in found.items():
        for path in (path for trial, _ in tried for path in trial.cells):
            if images := _result(path, runs).origin.data:
                seen.setdefault(point.dataset, {}).setdefault(images, []).append(path)
    for dataset, by in seen.items():
        if len(by) > 1:
            most, *others = sorted(by, key=lambda images: -len(by[images]))
            fewer = [path for images in others for path in by[images]]
            raise InvalidInput(
                f"tune: trials of {dataset} were made from different images, {len(by[most])} of "
                f"{most}, {len(fewer)} of {', '.join(others)} such as {runs / fewer[0]}; remove "
                f"the runs of images that are gone and train them again"
            )


def _result(path: str, runs: Path) -> result.Result:
    try:
        return result.load(runs / path / result.FILE)
    except (OSError, ValueError):
        raise InvalidInput(f"tune: {runs / path} has no result; train the trials first") from None


def _validation(results: list[result.Result]) -> float | None:
    """Mean over the seeds of a trial; None unless all of them finished."""
    values = [r.val_last if r.status == "done" else None for r in results]
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def write(tuned: Tuned, path: Path) -> None:
    """Write what was chosen; the file's folder is made if need be."""
    write_atomic(place(path), tuned.model_dump_json(indent=1) + "\n")
