"""A run by what people write for it: its folder, its `result.json`, or the beginning of the id of
its cell or of its path below the folder of the runs."""

from __future__ import annotations

from pathlib import Path

from modulewise.errors import InvalidInput
from modulewise.runs import record, result

RUNS = Path("results/runs")
"""Folder of the runs, unless another one is given."""
KEYS = ("dataset", "network", "recipe", "modules", "seed", "cell")
"""Names of the folders that a run lies in, outermost first: each `key~value`."""
SHOWN = 8
"""Number of candidates that are listed."""


def find(run: str, runs: Path = RUNS) -> Path:
    """The folder of a run.

    Args:
        run: what somebody wrote for it.
        runs: folder of the runs.

    Raises:
        InvalidInput: there is no such run, or there are several.
    """
    path = Path(run)
    if path.name == result.FILE and path.exists():
        return path.parent
    if any((path / name).exists() for name in (result.FILE, record.FILE)):
        return path
    found = matching(run.removeprefix(f"{runs}/"), runs)
    if not found and path.is_dir():
        return path
    if not found:
        raise InvalidInput(
            f"no run {run!r}: neither a run's folder nor the beginning of an id or a path in {runs}"
        )
    if len(found) > 1:
        listed = [f"{p.rpartition('~')[2]} ({words(p)})" for p in found[:SHOWN]]
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise InvalidInput(f"{run!r} is {len(found)} runs: {', '.join(listed)}{more}")
    return runs / found[0]


def matching(beginning: str, runs: Path = RUNS) -> list[str]:
    """Paths below the folder of the runs, sorted, of the runs whose cell's id or path begins so."""
    folders = runs.glob("/".join(f"{key}~*" for key in KEYS))
    paths = (folder.relative_to(runs).as_posix() for folder in folders)
    return sorted(
        path
        for path in paths
        if path.startswith(beginning) or path.rpartition("~")[2].startswith(beginning)
    )


def words(path: str) -> str:
    """A run's path as a cell is written: `digits resnet20 dgl K=4 s0`."""
    dataset, network, recipe, modules, seed, _ = (p.partition("~")[2] for p in path.split("/"))
    return f"{dataset} {network} {recipe} K={modules} s{seed}"


def placed(folder: Path) -> tuple[Path, str]:
    """The folder of all runs, and a run's path below it; of a run that lies elsewhere, the folder
    that it lies in, and its name."""
    parts = folder.resolve().parts
    depth = len(KEYS) if _as_a_cell(parts[-len(KEYS) :]) else 1
    return Path(*parts[:-depth]), "/".join(parts[-depth:])


def _as_a_cell(parts: tuple[str, ...]) -> bool:
    return [p.partition("~")[0] for p in parts] == list(KEYS)
