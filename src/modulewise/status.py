"""How a sweep stands, read from its run folders: what is done, running, waiting, failed and why. No torch: seconds for 1,000 runs."""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import statistics
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from . import record, result
from .config import Cell
from .ledger import Job
from .status_cost import Spent, spent

State = Literal["done", "running", "queued", "waiting", "stopped", "failed", "diverged", "out_of_memory"]
ORDER: tuple[State, ...] = ("done", "running", "queued", "waiting", "stopped", "failed", "diverged", "out_of_memory")
ENDED: tuple[State, ...] = ("done", "diverged", "out_of_memory")
REQUEUED = "asked to stop; resumes when started again"
LATEST = 600.0
"""Seconds without a word after which a run on another host counts as cut off; or five epochs, if that is longer."""


@dataclass(frozen=True)
class Standing:
    """How one cell stands."""

    cell: Cell
    state: State
    epoch: int = 0
    epochs: int | None = None
    """Of the whole run; `None` as long as its budget is not resolved to epochs."""
    error: float | None = None
    """Last test error in percent."""
    left: float | None = None
    """Seconds, if the epochs to come take as long as those before."""
    why: str = ""
    spent: Spent = field(default=Spent(), compare=False)
    """What it has cost so far."""


def standing(cell: Cell, runs: Path, logs: Path | None = None, now: float | None = None, job: Job | None = None) -> Standing:
    """How a cell stands.

    Args:
        cell: the cell.
        runs: folder of the runs.
        logs: folder of the workflow's logs of them; `logs/runs` beside `runs` if not given.
        now: seconds since 1970.
        job: its last one, if the executor's ledger knows one.
    """
    folder, now = runs / cell.path, time.time() if now is None else now
    log = (logs or runs.parent / "logs" / "runs") / f"{cell.path}.log"
    said = record.read(folder)
    found = _standing(cell, folder, log, said, now)
    if job:
        found = _queued(found, job, said)
    return replace(found, spent=spent(said, job, found.state == "running", found.state == "queued", now))


def _standing(cell: Cell, folder: Path, log: Path, said: record.Folded, now: float) -> Standing:
    """How a cell stands by its own files."""
    try:
        return _ended(cell, json.loads((folder / result.FILE).read_bytes()))
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError, AttributeError):
        return Standing(cell, "failed", why=f"{folder / result.FILE}: damaged; remove it to train again")
    if not said.starts:
        complaint = _complaint(log)
        return Standing(cell, "failed", why=complaint) if complaint else Standing(cell, "waiting")
    start = said.starts[-1]
    seen = {e: (v, t) for (name, e), (v, t) in said.metrics.items() if name == "test_error/overall"}
    epoch = max(seen, default=0)
    pace = _pace([(start.get("t", 0), start.get("epoch", 1) - 1)] + [(t, e) for e, (_, t) in seen.items()])
    epochs, left = _planned(start), None
    if epochs and pace:
        left = (epochs - epoch) * pace
    elif (budget := _training(start).get("seconds")) and ("time/train_s", epoch) in said.metrics:
        left = max(0.0, budget - said.metrics["time/train_s", epoch][0])
    error = seen[epoch][0] if epoch else None
    if _alive(start, folder, now, pace):
        return Standing(cell, "running", epoch, epochs, error, left)
    last = _last_line(folder / "train.log")
    complaint = _complaint(log)
    if complaint and _written(log) >= _written(folder / "train.log"):
        return Standing(cell, "failed", epoch, epochs, error, None, complaint)
    return Standing(cell, "stopped", epoch, epochs, error, None, _reason(last))


def _queued(found: Standing, job: Job, said: record.Folded) -> Standing:
    """What the executor knows besides: a job that waits in Slurm's queue, and why one has failed."""
    if found.state in (*ENDED, "running"):
        return found
    if job.state not in ("", "success"):
        why = job.why or found.why or job.state
        return replace(found, state="failed", why=f"{why}  {job.log}".strip())
    begun = said.spans[-1][0] >= job.submitted if said.spans else False
    if not job.state and (not begun or found.why == REQUEUED):
        return replace(found, state="queued", why="")
    return found


def _ended(cell: Cell, made: dict[str, Any]) -> Standing:
    if made["status"] not in ENDED:
        raise ValueError
    return Standing(cell, made["status"], made["epochs"], made["planned_epochs"], made.get("test_last"), None, made.get("reason") or "")


def _training(start: dict[str, Any]) -> dict[str, Any]:
    cell = start.get("cell")
    training = cell.get("training") if isinstance(cell, dict) else None
    return training if isinstance(training, dict) else {}


def _planned(start: dict[str, Any]) -> int | None:
    """Epochs of the whole run: what the start says, but for a budget that was still to be resolved."""
    training = _training(start)
    unresolved = start.get("epoch", 1) == 1 and (training.get("flops") or training.get("seconds"))
    return None if unresolved else start.get("epochs")


def _pace(points: Sequence[tuple[int, int]]) -> float | None:
    """Seconds an epoch takes: the median over the last ten of this start, evaluation included, of (milliseconds, epoch)."""
    points = sorted(points)
    took = [(b[0] - a[0]) / 1000 for a, b in itertools.pairwise(points) if b[1] == a[1] + 1]
    return statistics.median(took[-10:]) if took else None


def _alive(start: dict[str, Any], folder: Path, now: float, pace: float | None) -> bool:
    """Whether the process that began the run goes on: on this host by its number, on another by when the record last grew."""
    if start.get("host") != socket.gethostname():
        return now - _written(folder / record.FILE) < max(LATEST, 5 * (pace or 0))
    pid = start.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        began = float(Path("/proc/stat").read_text().split("btime ")[1].split()[0]) + int(numbers[18]) / os.sysconf("SC_CLK_TCK")
        return state not in "ZX" and began <= start.get("t", 0) / 1000 + 5  # a later process of that number is another one
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return False
    except (OSError, ValueError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _lines(path: Path) -> list[str]:
    """The last lines of a text that are not empty."""
    try:
        with path.open("rb") as f:
            f.seek(max(0, path.stat().st_size - 8192))
            return [line for line in f.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return []


def _last_line(path: Path) -> str:
    lines = _lines(path)
    return lines[-1] if lines else ""


def _complaint(path: Path) -> str:
    """Why a job failed, if its log says so: the line of an error, or the last of a traceback."""
    last = _last_line(path).strip()
    if last.startswith("error:"):
        return last.removeprefix("error:").strip()
    return last if re.match(r"([a-z_]\w*\.)*[A-Z]\w*(Error|Exception)\b", last) or last in ("Killed", "Terminated") else ""


def _reason(last: str) -> str:
    """Why a run is not going on, from the last line of its log."""
    if "asked to stop" in last:
        return REQUEUED
    return "cut off; resumes from its last checkpoint when started again"


def counts(found: Sequence[Standing]) -> str:
    """`38 cells: 30 done, 2 running, ...`: those states that occur."""
    n = Counter(s.state for s in found)
    shown = [f"{n[s]} {s.replace('_', ' ')}" for s in ORDER if n[s]]
    return f"{len(found)} cells: {', '.join(shown)}"


def line(s: Standing) -> str:
    """A cell that is under way or in trouble, in a line."""
    at = f"epoch {s.epoch}/{s.epochs or '?'}" if s.epoch or s.state == "running" else ""
    error = f"error {s.error:.2f} %" if s.error is not None else ""
    left = f"{result.clock(s.left)} left" if s.left is not None else ""
    job = f"job {s.spent.job}" if s.spent.job else ""
    return "  ".join(filter(None, [str(s.cell), job, s.why, at, error, left]))


def table(found: Sequence[Standing], width: int = 80, rows: int = 9) -> list[str]:
    """Recipe by K: how many cells have ended, of how many; a bar; what is not as it should be is marked.

    `3/5` ended · `r` running, `q` queued, `s` stopped, `f` failed, `d` diverged, `m` out of memory: each with its number.

    Args:
        found: all cells.
        width: of a line.
        rows: at most; the recipes with most left to do come first when there are more.
    """
    recipes = list(dict.fromkeys(s.cell.recipe for s in found))
    modules = sorted({s.cell.modules for s in found})
    left = Counter(s.cell.recipe for s in found if s.state not in ENDED)
    hidden = []
    if len(recipes) > rows:
        kept = sorted(recipes, key=lambda r: (-left[r], recipes.index(r)))[: rows - 1]
        hidden = [r for r in recipes if r not in kept]
        recipes = [r for r in recipes if r in kept]
    name = min(22, max(6, *(len(r) for r in recipes)))
    cells = {(r, k): _mark([s for s in found if (s.cell.recipe, s.cell.modules) == (r, k)]) for r in recipes for k in modules}
    column = max(4, *(len(c) for c in cells.values())) + 1
    fit = max(1, (width - name - 13) // column)
    shown = modules[:fit]
    more = f" +{len(modules) - fit} K" if len(modules) > fit else ""
    out = [f"{'recipe':<{name}} {'':10} " + "".join(f"{f'K={k}':>{column}}" for k in shown) + more]
    for r in recipes:
        mine = [s for s in found if s.cell.recipe == r]
        out.append(f"{_cut(r, name):<{name}} {_bar(mine)} " + "".join(f"{cells[r, k]:>{column}}" for k in shown))
    if hidden:
        rest = [s for s in found if s.cell.recipe in hidden]
        out.append(f"{_cut(f'{len(hidden)} others', name):<{name}} {_bar(rest)} {_mark(rest):>{column}}")
    return [_cut(x.rstrip(), width) for x in out]


def _mark(found: Sequence[Standing]) -> str:
    if not found:
        return ""
    n = Counter(s.state for s in found)
    letters = {"running": "r", "queued": "q", "stopped": "s", "failed": "f", "diverged": "d", "out_of_memory": "m"}
    ended = sum(n[s] for s in ENDED)
    return f"{ended}/{len(found)}" + "".join(f"{c}{n[s]}" for s, c in letters.items() if n[s])  # type: ignore[index]


def _bar(found: Sequence[Standing], width: int = 10) -> str:
    ended = sum(s.state in ENDED for s in found)
    full = width * ended // len(found)
    return "#" * full + "." * (width - full)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def screen(name: str, found: Sequence[Standing], width: int = 80, most: int | None = 4) -> list[str]:
    """One screen: the counts, recipe by K, and what runs or needs a look.

    Args:
        name: of the sweep.
        found: all cells.
        width: of a line.
        most: lines of each list; all of them if `None`, and whole.
    """
    out = textwrap.wrap(f"sweep {name}  {counts(found)}", width, subsequent_indent="  ")
    if not found:
        return out
    out += table(found, width)
    if any(s.state not in ("done", "waiting") for s in found):
        out.append(_cut("ended/all  r running  q queued  s stopped  f failed  d diverged  m out of memory", width))
    if hours := sum(s.spent.device_hours for s in found):
        starts = sum(s.spent.starts for s in found)
        out.append(f"{hours:.2f} device-hours so far in {starts} start{'s' if starts > 1 else ''}; modulewise status --jobs lists them")
    for title, states in (("running", ("running",)), ("look at", ("failed", "stopped", "diverged", "out_of_memory"))):
        mine = sorted((s for s in found if s.state in states), key=lambda s: states.index(s.state))
        lines = [f"  {line(s)}" if s.state == "running" else f"  {s.state.replace('_', ' ')}  {line(s)}" for s in mine[:most]]
        out += [f"{title}:", *(x if most is None else _cut(x, width) for x in lines)] if mine else []
        if len(mine) > len(lines):
            out.append(f"  and {len(mine) - len(lines)} more; modulewise status --all lists them")
    return out
