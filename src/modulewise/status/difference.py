"""What differs between two runs: settings, where and with what they were made, results, curves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

from modulewise.config.cell import Cell
from modulewise.config.options import options_model
from modulewise.runs.record import RunHistory
from modulewise.runs.result import Result
from modulewise.status.layout import lines, table
from modulewise.status.single import Run
from modulewise.units import memory, time

LEFT_OUT = ("host", "starts", "slurm_job")
"""Of the origin: they differ from run to run and decide nothing."""
Values = dict[str, Any]
"""Values by their key, the parts of which have dots between them."""


def difference(one: Run, other: Run, width: int = 80) -> list[str]:
    """What differs, in lines.

    Args:
        one: a run.
        other: another.
        width: characters of a line.
    """
    a, b = one.state.result, other.state.result
    found = [
        *_part("settings", _settings(one.cell), _settings(other.cell), width),
        *_part("made with", _made(a), _made(b), width),
        *_part("result", _reached(one), _reached(other), width, "b - a", _more),
        *_part("cost", _cost(a), _cost(b), width, "b / a", _times),
        *_curves(one.state.history, other.state.history),
    ]
    return [f"a  {one.name}", f"b  {other.name}", *(found or ["", "nothing differs"])]


def _part(
    title: str,
    a: Values,
    b: Values,
    width: int,
    beside: str = "",
    compared: Callable[[float, float], str] = lambda *_: "",
) -> list[str]:
    """A table of the keys whose values differ, with two numbers compared; no lines if there are
    none."""
    made = table(title, "a", "b", beside)
    keys = [key for key in {**a, **b} if a.get(key) != b.get(key)]
    for key in keys:
        x, y = a.get(key), b.get(key)
        words = compared(x, y) if _number(x) and _number(y) else ""
        made.add_row(_name(key), _shown(key, x), _shown(key, y), words)
    return ["", *lines(made, width)] if keys else []


def _name(key: str) -> str:
    """A key as people read it: `peak_memory_bytes` is peak memory."""
    return key.removesuffix("_bytes").removesuffix("_seconds")


def _shown(key: str, value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "-"
    if not _number(value):
        return str(value)
    if key.endswith("_bytes"):
        return memory(value)
    if key.endswith("_seconds"):
        return time(value)
    return f"{value:.6g}" if isinstance(value, float) else f"{value:,}"


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _more(a: float, b: float) -> str:
    return f"{b - a:+.4g}"


def _times(a: float, b: float) -> str:
    return f"{b / a:.2f}" if a else ""


def _flat(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Values with their keys."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _flat(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, content


def _settings(cell: Cell | None) -> Values:
    """Everything that defines a run, defaults of options and settings too."""
    if cell is None:
        return {}
    given = options_model("methods", cell.method).model_validate(cell.options)
    return dict(_flat(cell.model_dump(mode="json") | {"options": given.model_dump(mode="json")}))


def _made(result: Result | None) -> Values:
    """Where and with what a run was made."""
    if result is None:
        return {}
    return dict(_flat(result.origin.model_dump(mode="json", exclude=set(LEFT_OUT))))


def _reached(run: Run) -> Values:
    """What a run reached: its state, and the primary metric."""
    state, result = run.state, run.state.result
    out: Values = {"state": state.state, "epochs": state.epoch, state.metric.label: state.value}
    if result:
        out["best epoch"], out["held out"] = result.test_best_epoch, result.val_last
        out |= {f"own head {k}": value for k, value in enumerate(result.module_metrics[:-1])}
        out |= {"cuts": result.cuts, "horizon": result.horizon}
    return out


def _cost(result: Result | None) -> Values:
    """What a run cost."""
    return dict(_flat(result.cost.model_dump(mode="json"))) if result else {}


def _curves(a: RunHistory, b: RunHistory) -> list[str]:
    """Since when the curves differ; no line if they do not."""
    keys = sorted(_learnt(a).keys() & _learnt(b).keys(), key=lambda key: key[1])
    parted = next(
        (epoch for name, epoch in keys if a.metrics[name, epoch][0] != b.metrics[name, epoch][0]),
        None,
    )
    return ["", f"curves differ from epoch {parted} on"] if parted else []


def _learnt(history: RunHistory) -> dict[tuple[str, int], float]:
    """What the training decides: losses, and the primary metric."""
    return {
        key: value
        for key, (value, _) in history.metrics.items()
        if key[0] == history.primary or key[0].startswith("train_loss/")
    }
