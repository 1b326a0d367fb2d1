"""A run on one screen: what was run, how it ended, its curves, and where its files are."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from modulewise.runs.files import CELL, CHECKPOINT, WEIGHTS
from modulewise.runs.logs import TRAIN_LOG
from modulewise.runs.record import RunHistory
from modulewise.runs.result import FILE, Cost, Origin, Result
from modulewise.runs.state import RunState, words
from modulewise.status.curves import blocks, plot
from modulewise.status.single import Run
from modulewise.units import disk, duration, memory, three_digits, time

TITLE = 12
"""Characters of the column of titles, at least."""
HEIGHT = 6
"""Lines of the primary metric's curve."""
FILES = {
    FILE: "the result",
    "record.jsonl": "every epoch's numbers",
    TRAIN_LOG: "what the training said",
    CELL: "what was asked for",
    WEIGHTS: "the trained weights",
    CHECKPOINT: "what it resumes from",
}
"""Files of a run, and what they hold."""
UNKEPT = f"no {WEIGHTS}: `modulewise train --keep-weights` leaves them"


def card(run: Run, width: int = 80) -> list[str]:
    """The screen.

    Args:
        run: the run.
        width: characters of a line.
    """
    out = [run.name, *_rows([("state", _state(run.state))], width)]
    if run.cell:
        out += [
            "",
            *_rows(_settings(run.cell.model_dump(mode="json", exclude_defaults=True)), width),
        ]
    if result := run.state.result:
        out += ["", *_rows([*_reached(result), *_cost(result.cost), *_made(result.origin)], width)]
    if curves := _curves(run.state.history, width):
        out += ["", *curves]
    return [*out, "", *_files(run.folder, bool(run.state.result))]


def _state(state: RunState) -> str:
    """How the run stands, in a sentence's part."""
    of = f" of {state.epochs}" if state.epochs else ""
    parts = [words(state.state), f"epoch {state.epoch}{of}"]
    if state.value is not None:
        parts.append(state.metric.text(state.value))
    if state.left is not None:
        parts.append(f"{duration(state.left)} left")
    return ", ".join(filter(None, [*parts, state.why]))


def _settings(cell: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What differs from the defaults, a row a part."""
    yield "method", cell["method"]
    for part in ("options", "partition", "training", "data", "reuse"):
        if given := cell.get(part):
            yield part, _text(given) if isinstance(given, dict) else str(given)


def _text(values: Mapping[str, Any]) -> str:
    """Keys with their values."""
    return ", ".join(
        f"{key} {{{_text(v)}}}" if isinstance(v, dict) else f"{key} {v}"
        for key, v in values.items()
    )


def _reached(result: Result) -> Iterator[tuple[str, str]]:
    """What a run reached."""
    metric = result.metric
    if result.test_last is not None:
        text = metric.number(result.test_last)
        if result.test_best_epoch is not None:
            text += f" after the last epoch; best epoch {metric.number(result.test_best_epoch)}"
        yield metric.label, text
    for it in result.secondary:
        text = f"{it.metric.number(it.last)} after the last epoch"
        if it.best != it.last:  # of a metric that is counted once they are the same
            text += f"; best epoch {it.metric.number(it.best)}"
        yield it.metric.label, text
    if result.val_last is not None:
        yield "held out", metric.number(result.val_last)
    if len(heads := result.module_metrics) > 1:
        yield "own heads", ", ".join("-" if v is None else f"{v:.2f}" for v in heads)


def _cost(cost: Cost) -> Iterator[tuple[str, str]]:
    """What a run cost."""
    if cost.peak_memory_bytes:
        text = f"{memory(cost.peak_memory_bytes)} at the peak of a step"
        if cost.workspace_bytes:
            text += f", operators' workspace {memory(cost.workspace_bytes)}"
        yield "memory", text
    times = [
        f"{time(seconds)} {what}"
        for seconds, what in (
            (cost.step_seconds, "a step"),
            (cost.epoch_seconds, "an epoch"),
            (cost.train_seconds, "in all"),
        )
        if seconds
    ]
    if times:
        yield "time", ", ".join(times)
    if use := cost.use:
        cpu, wall, held = time(use.cpu_seconds), time(use.seconds), memory(use.peak_bytes)
        yield "used", f"{cpu} of CPU time in {wall}, {held} of the machine's memory"
    if cost.parameters:
        yield (
            "parameters",
            f"{cost.parameters:,} trained, {cost.helper_parameters or 0:,} of them helpers'; "
            f"{cost.inference_parameters or 0:,} at inference",
        )
    if cost.train_flops:
        text = f"{cost.train_flops:.3g} FLOPs of training"
        if cost.inference_macs:
            text += f", {cost.inference_macs:.3g} MACs for one input"
        yield "operations", text


def _made(origin: Origin) -> Iterator[tuple[str, str]]:
    """Where and with what a run was made."""
    yield "device", origin.device + ("" if origin.exclusive else ", shared with others")
    code = f"commit {origin.commit or 'unknown'}, source {origin.source}"
    yield "code", ", ".join([code, *(f"{n} {v}" for n, v in origin.versions.items())])


def _curves(history: RunHistory, width: int) -> list[str]:
    """The primary metric as a plot, the training losses as a line each."""
    epochs = sorted(history.points)
    if len(epochs) < 2:
        return []
    metric = history.metric
    values = [history.points[epoch][0] for epoch in epochs]
    ends = (f"epoch {epochs[0]}", str(epochs[-1]))
    unit = f", {metric.unit}" if metric.unit else ""
    out = [f"{metric.label}{unit}", *plot(values, width, HEIGHT, *ends)]
    losses = sorted({name for name, _ in history.metrics if name.startswith("train_loss/")})
    room = max((len(name) for name in losses), default=0)
    for name in losses:
        series = [history.metrics[name, e][0] for e in epochs if (name, e) in history.metrics]
        first, last = three_digits(series[0]), three_digits(series[-1])
        tail = f"  {first} to {last}"
        out += [f"{name:{room}}  {blocks(series, width - room - 2 - 20)[0]}{tail}"]
    return out


def _files(folder: Path, ended: bool) -> list[str]:
    """Where the run's files are, and what they hold."""
    out = [str(folder)]
    for file in sorted(p for p in folder.iterdir() if p.is_file() and p.name[0] != "."):
        if file.name in FILES or file.name.startswith("study~"):
            what = FILES.get(file.name, "what a study found")
            out.append(f"  {file.name:<16}{disk(file.stat().st_size):>8}  {what}")
    if ended and not (folder / WEIGHTS).exists():
        out.append(f"  {UNKEPT}")
    return out


def _rows(rows: Iterable[tuple[str, str]], width: int) -> list[str]:
    """Titles and texts, which are wrapped."""
    given = list(rows)
    room = max([TITLE, *(len(title) + 2 for title, _ in given)])
    out = []
    for title, text in given:
        lines = textwrap.wrap(text, width - room) or [""]
        out += [f"{title:<{room}}{lines[0]}", *(" " * room + line for line in lines[1:])]
    return out
