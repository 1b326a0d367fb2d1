"""The choice among trials, by their validation errors alone."""

from __future__ import annotations

from pathlib import Path

from modulewise.config.trials import Choice, Trial, Trials, Tuned, plan
from modulewise.errors import InvalidInput
from modulewise.runs import result


def judge(found: Trials, runs: Path) -> Tuned:
    """Choose, from the results of all trials; of equals the earliest.

    Args:
        found: of `trials`.
        runs: folder that the cells' paths start from.

    Raises:
        InvalidInput: a trial has no result yet, or no trial of a place finished.
    """
    choices = []
    for place, tried in found.items():
        done = [
            trial.model_copy(update={"validation_error": _error(trial, runs)}) for trial, _ in tried
        ]
        errors = [
            (t.validation_error, n) for n, t in enumerate(done) if t.validation_error is not None
        ]
        if not errors:
            raise InvalidInput(
                f"tune: no trial of {' '.join(map(str, place[1:]))} finished; widen the search"
            )
        choices.append(Choice(place=place, trials=tuple(done), chosen=min(errors)[1]))
    return Tuned(plan=plan(found), choices=tuple(choices))


def _error(trial: Trial, runs: Path) -> float | None:
    errors = []
    for path in trial.cells:
        try:
            run = result.load(runs / path / result.FILE)
        except (OSError, ValueError):
            raise InvalidInput(
                f"tune: {runs / path} has no result; train the trials first"
            ) from None
        errors.append(run.val_last if run.status == "done" else None)
    left = [e for e in errors if e is not None]
    return sum(left) / len(left) if len(left) == len(errors) else None


def write(tuned: Tuned, path: Path) -> None:
    """Write what was chosen, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(tuned.model_dump_json(indent=1) + "\n")
    aside.replace(path)
