"""Published numbers beside ours: `config/references.csv`, and what `results/published` holds."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from generator.markdown import number, table
from modulewise.config import references
from modulewise.config.references import Reference

METRICS = {
    "test_error": "test error, %",
    "memory_gb": "memory, GB",
    "memory_reduction": "memory saved, %",
    "compute_overhead": "more FLOPs, %",
    "time_overhead": "more time, %",
}
Key = tuple[str, str, str, int, str]
"""Data set, network, recipe, K, metric."""


class Ours(NamedTuple):
    """What finished runs of ours found for one cell."""

    value: str
    seeds: int
    settings: str
    folder: str
    verdict: str = ""
    reason: str = ""


class Results:
    """All published numbers and all of ours that the repository holds.

    Args:
        root: the repository.
    """

    def __init__(self, root: Path) -> None:
        self.theirs = references.load(root / "config" / references.FILE)
        self.ours: dict[Key, Ours] = {}
        folders = sorted((root / "results/published").iterdir())
        for pattern in ("headline_*.csv", "experimental_*.csv", "published_*.csv", "exhibit.csv"):
            for path in (p for folder in folders for p in sorted(folder.glob(pattern))):
                with path.open() as file:
                    for row in csv.DictReader(file):
                        self._add(row, path.parent.name)

    def _add(self, row: dict[str, str], folder: str) -> None:
        metric = row.get("metric", "test_error")
        mean = row.get("value") or row.get("value_mean") or row.get("error_mean")
        if not mean:
            return
        spread = row.get("value_std") or row.get("error_std")
        value = number(float(mean)) + (f" ± {number(float(spread))}" if spread else "")
        key = (row["dataset"], row["network"], row["recipe"], int(row["modules"]), metric)
        verdict, reason = row.get("verdict") or "", row.get("reason") or row.get("why") or ""
        self.ours[key] = Ours(value, int(float(row["n"])), row["settings"], folder, verdict, reason)

    def beside(self, recipes: list[str]) -> str:
        """A table of the recipes' published numbers, with ours, verdict and seeds where we have
        some; those that were run first."""
        found = [r for r in self.theirs if r.recipe in recipes]
        rows = [(self.ours.get(_key(r)), r) for r in found]
        rows.sort(key=lambda pair: pair[0] is None)
        titles = ("data, network", "recipe", "K", "what", "published", "ours", "seeds", "verdict")
        return table((*titles, "source"), (_beside(r, ours) for ours, r in rows))

    def alone(self, recipes: list[str]) -> str:
        """A table of what we measured of the recipes where no number is published."""
        known = {_key(r) for r in self.theirs}
        rows = []
        for key, ours in self.ours.items():
            if key[2] in recipes and key[4] == "test_error" and key not in known:
                page = f"../../results/published/{ours.folder}"
                rows.append(
                    (
                        f"{key[0]}, {key[1]}",
                        f"`{key[2]}`",
                        str(key[3]),
                        ours.value,
                        str(ours.seeds),
                        ours.settings,
                        f"[{ours.folder}]({page})",
                    )
                )
        titles = ("data, network", "recipe", "K", "test error, %", "seeds", "settings", "sweep")
        return table(titles, rows)


def _key(reference: Reference) -> Key:
    r = reference
    return (r.dataset, r.network, r.recipe, r.modules, r.metric)


def _beside(r: Reference, ours: Ours | None) -> tuple[str, ...]:
    spread = f" ± {number(r.spread)}" if r.spread is not None else ""
    runs = f" (n = {r.n})" if r.n else ""
    verdict = ": ".join(filter(None, (ours.verdict, ours.reason))) if ours else "not run"
    return (
        f"{r.dataset}, {r.network}",
        f"`{r.recipe}`",
        str(r.modules),
        METRICS.get(r.metric, r.metric),
        number(r.value) + spread + runs,
        ours.value if ours else "–",
        str(ours.seeds) if ours else "–",
        verdict or "not judged",
        r.source + (f". {r.note}" if r.note else ""),
    )
