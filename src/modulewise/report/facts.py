"""What the page's head says of all runs together."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from modulewise.report.frame import Frame
from modulewise.runs.state import STATES, words


def facts(frame: Frame) -> dict[str, Any]:
    """Counts of states, and what the runs share or differ in: settings, code, devices, images."""
    runs = frame.runs
    states = runs["state"].value_counts()
    counts = {words(s): int(states.get(s, 0)) for s in STATES}
    have = runs[runs["versions"].notna()]
    versions: dict[str, list[str]] = {}
    for text in sorted(have["versions"].unique()):
        for name, version in json.loads(text).items():
            if version not in versions.setdefault(name, []):
                versions[name].append(version)
    return {
        "total": len(runs),
        "states": {name: n for name, n in counts.items() if n or name == "done"},
        "commits": _counted(have["commit"].fillna("unknown")),
        "settings": _added(frame),
        "devices": _counted(have["device"]),
        "images": _images(frame),
        "binomial": _binomial(frame),
        "versions": ", ".join(f"{name} {' / '.join(v)}" for name, v in sorted(versions.items())),
        "stale": int(runs["stale"].sum()),
        "other_images": int(runs["other_images"].sum()),
        "unknown_images": _unknown_images(frame.done),
        "shared": int((~have["exclusive"].astype(bool)).sum()),
    }


def _added(frame: Frame) -> list[str]:
    """The settings that the sweep adds to the recipes', in words."""
    texts = list(frame.runs["settings"].unique())
    if not frame.common:
        return [f"recipes’ own with {text}" if text else "recipes’ own" for text in texts]
    rest = [text or "nothing else" for text in texts]
    return [f"recipes’ own with {frame.common}, and with {' or with '.join(rest)}"]


def _images(frame: Frame) -> list[str]:
    """How many images the runs of every data set were trained and tested on, in words."""
    out = []
    for dataset, runs in frame.done.groupby("dataset", sort=False):
        train, test = (
            " or ".join(f"{int(n):,}" for n in sorted(runs[part].dropna().unique()))
            for part in ("train_images", "test_images")
        )
        if train:
            out.append(f"{dataset}: {train} to train on, {test} to test on")
    return out


def _binomial(frame: Frame) -> list[tuple[int, float]]:
    """Number of test images and mean of the baseline, else of all, for every data set whose metric
    is an error in percent; none where it is unknown."""
    out = []
    for dataset, runs in frame.done.groupby("dataset", sort=False):
        base = runs[runs["recipe"] == frame.baseline]
        of = base if len(base) else runs
        counts = of["test_images"].dropna().unique()
        if frame.metric(str(dataset)).name == "error" and len(counts) == 1:
            out.append((int(counts[0]), round(float(of["value"].mean()), 1)))
    return out


def _unknown_images(done: pd.DataFrame) -> int:
    """Number of runs whose images are not known, in data sets of which other runs' are."""
    known = done.loc[done["images"].notna(), "dataset"] if len(done) else ()
    return int((done["dataset"].isin(known) & done["images"].isna()).sum()) if len(done) else 0


def _counted(values: pd.Series) -> str:
    """The distinct values, with their numbers if there are several."""
    counts = values.value_counts().sort_index()
    return ", ".join(f"{v} ({n} runs)" if len(counts) > 1 else str(v) for v, n in counts.items())
