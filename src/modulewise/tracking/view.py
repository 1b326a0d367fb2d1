"""What MLflow should hold of one run, read from its folder. Knows nothing of MLflow itself.

Experiments are data sets, runs are flat (nested ones hide every chart), tags are there to group by,
and every metric has a slash in its name, which gives its section in the chart view.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modulewise.config.cell import Cell
from modulewise.config.options import options_model
from modulewise.runs import record, result
from modulewise.units import duration, memory

KEY = "run.key"
"""The tag that names a cell, in every store."""
SCHEMA = 3
"""Rises when the same folder gives other contents; runs mirrored before are then looked into
again."""
SUMMARY = ("result/", "usage/", "cost/")
"""Sections of single figures; `usage` was called `cost` and stood above the errors, of which the
chart view makes an alphabet."""
STATUS = {"done": "FINISHED", "diverged": "FAILED", "out_of_memory": "FAILED"}

Point = tuple[str, int, float, int]
"""Metric, step, value, milliseconds since 1970."""


@dataclass(frozen=True)
class Wanted:
    """What MLflow should hold of one run."""

    key: str
    experiment: str
    name: str
    begun: int
    ended: int | None
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    points: list[Point]
    """Those that can no longer change, in the order they were recorded."""
    known: dict[tuple[str, int], float]
    """Every value there is by (metric, step), also those that may change yet."""
    cell: str
    files: tuple[Path, ...]


def wanted(folder: Path) -> Wanted | None:
    """What MLflow should hold of the run in `folder`; `None` as long as the run has not begun.

    Raises:
        ValueError: the result is damaged.
        KeyError: it lacks what every result has.
    """
    said = record.read(folder)
    if not said.starts:
        return None
    last, path = said.starts[-1], folder / result.FILE
    # Not by the model of this version: curves and figures of older runs are shown as well.
    final = json.loads(path.read_text()) if path.exists() else None
    status = final["status"] if final else said.end["status"] if said.end else "running"
    ended = said.end["t"] if said.end else int(path.stat().st_mtime * 1000) if final else None
    points = [(name, step, _stored(v), at) for (name, step), (v, at) in said.settled().items()]
    if final and ended:
        points += [(name, 0, _stored(v), ended) for name, v in _summary(final).items()]
    cell = _resolved(last["cell"])
    c = {k: str(cell[k]) for k in ("dataset", "network", "recipe", "modules", "seed", "method")}
    key = "/".join(
        [
            "modulewise",
            c["dataset"],
            c["network"],
            c["recipe"],
            f"K{c['modules']}",
            f"s{c['seed']}",
            last["id"],
        ]
    )
    commit = last.get("commit") or ""
    tags = {
        KEY: key,
        "recipe": c["recipe"],
        "method": c["method"],
        "K": c["modules"],
        "network": c["network"],
        "dataset": c["dataset"],
        "seed": c["seed"],
        "status": status,
        "reason": (final or {}).get("reason") or (said.end or {}).get("reason"),
        "device": last.get("device"),
        "host": last.get("host"),
        "attempts": len(said.starts),
        "slurm.job_id": last.get("slurm_job"),
        "source": last.get("source"),
        "uncommitted": "yes" if commit.endswith("+") else None,
        "mlflow.user": _owner(folder / record.FILE),
        "mlflow.source.name": "modulewise train",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": commit.rstrip("+"),
        "mlflow.note.content": _note(c, status, said, final),
    }
    return Wanted(
        key=key,
        experiment=f"modulewise-{c['dataset']}",
        name=f"{c['recipe']}-K{c['modules']}-s{c['seed']}",
        begun=said.starts[0]["t"],
        ended=ended,
        status=STATUS.get(status, "RUNNING"),
        params=_flat({k: v for k, v in cell.items() if k != "data"}),
        tags={k: str(v)[:8000] for k, v in tags.items() if v not in (None, "")},
        points=points,
        known={k: _stored(v) for k, (v, _) in said.metrics.items()}
        | {(n, s): v for n, s, v, _ in points},
        cell=json.dumps(last["cell"], indent=1) + "\n",
        files=tuple(p for p in (path, folder / "train.log") if ended and p.exists()),
    )


def _owner(path: Path) -> str | None:
    """Who trained: whose file it is, not who mirrors it."""
    try:
        return path.owner()
    except (KeyError, OSError):  # a user of another host or container
        return None


def _summary(final: dict[str, Any]) -> dict[str, float]:
    """Single figures of a finished run; at step 0, where MLflow draws bars instead of curves."""
    figures = {f"result/{k}": final.get(k) for k in ("test_last", "test_best_epoch", "val_last")}
    figures |= {f"usage/{k}": v for k, v in final["cost"].items()}
    return {k: float(v) for k, v in figures.items() if isinstance(v, int | float)}


def _note(
    c: dict[str, str], status: str, said: record.RunHistory, final: dict[str, Any] | None
) -> str:
    """The run and its result in words, as Markdown."""
    what = f"**{c['recipe']}** (method `{c['method']}`) trains **{c['network']}** on **{c['dataset']}** "
    what += f"in **{c['modules']}** module{'s' if c['modules'] != '1' else ''}, seed {c['seed']}."
    if final is None:
        errors = {
            step: v
            for (name, step), (v, _) in said.settled().items()
            if name == "test_error/overall"
        }
        at = f" Test error {errors[max(errors)]:.2f} % after epoch {max(errors)}." if errors else ""
        return f"{what}\n\n{status.capitalize()}, {said.starts[-1].get('epochs', '?')} epochs planned.{at}"
    cost, origin = final["cost"], final["origin"]
    words = [
        f"{status.replace('_', ' ').capitalize()} after {final['epochs']} of "
        f"{final['planned_epochs']} epochs"
    ]
    words[0] += f": {final['reason']}." if final.get("reason") else "."
    if final.get("test_last") is not None:
        words.append(f"Test error **{final['test_last']:.2f} %** after the last epoch.")
    if cost.get("peak_memory_bytes"):
        words.append(f"Peak memory {memory(cost['peak_memory_bytes'])} ({cost['memory_source']}).")
    if cost.get("train_seconds"):
        words.append(f"{duration(cost['train_seconds'])} of training on {origin['device']}")
        words[-1] += "." if origin["exclusive"] else ", which other work shared."
    return f"{what}\n\n{' '.join(words)}"


def _resolved(content: dict[str, Any]) -> dict[str, Any]:
    """A cell with all defaults; as it stands if this version does not know it (any more)."""
    try:
        cell = Cell.model_validate(content)
    except ValidationError:
        return content
    options = (
        options_model("methods", cell.method).model_validate(cell.options).model_dump(mode="json")
    )
    return cell.model_dump(mode="json") | {"options": options}


def _flat(tree: dict[str, Any], above: str = "") -> dict[str, str]:
    """Nested values by dotted name; lists as text, what is not set left out."""
    out: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{above}{name}.")
        elif value is not None:
            out[above + name] = (
                ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            )[:6000]
    return out


def _stored(value: float) -> float:
    """As MLflow keeps it: no infinities."""
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else value
