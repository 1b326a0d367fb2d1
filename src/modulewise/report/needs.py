"""What a training step of every recipe needs: a table of what the methods declare, as the runs
recorded it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from modulewise import units
from modulewise.report import tables
from modulewise.report.frame import Frame
from modulewise.report.tables import NONE, Item, Table
from modulewise.runs.result import Needs

COLUMNS = {
    "Passes": "forward passes that a layer of the network makes of an image in a step, at most",
    "Horizon": tables.ABOUT["Horizon"],
    "Labels": "what losses that move the network’s stages are told",
    "Feedback": "what a module is given from beyond the horizon: tensors or weights of later "
    "modules; the error at the output, by fixed random weights",
    "Waits for": "what an update of a module’s stages waits for within a step",
    "Extra networks": "what is trained beside the network, with its parameters",
    "Helpers’ FLOPs": tables.ABOUT["Helpers’ FLOPs"],
    "Alive": "modules whose activations are kept at one time, at most; in part: the rest of the "
    "network’s is computed again",
    "Kept": "what no gradient moves, kept from step to step: fixed weights, moving averages, "
    "tensors of earlier steps",
    "Schedules": "joint: all modules on every batch; any: also one after the other, "
    "asynchronously, or in processes of their own",
}
"""Title -> what the column says."""
LABELS = {"class": "class", "pair": "same or not", "none": "none"}
FEEDBACK = {"none": "nothing", "later": "of later modules", "fixed": "error, fixed weights"}
LOCKED = {"input": "its input", "scores": "the scores", "later": "later modules"}


def words(needs: Needs, horizon: int, modules: int, share: float | None) -> tuple[str, ...]:
    """The columns of one run.

    Args:
        needs: what it recorded.
        horizon: of its method.
        modules: K.
        share: of the helpers in a step's operations.
    """
    again = needs.passes > 1 and horizon >= modules
    helpers = (f"{_spaced(name)} {tables.count(size)}" for name, size in needs.helpers.items())
    kept = [f"{_spaced(name)} {units.memory(size)}" for name, size in needs.kept.items()]
    back = f"of {needs.history} step{'s' * (needs.history > 1)}"
    return (
        str(needs.passes) + ", two views" * (needs.views > 1),
        _all(horizon, modules),
        LABELS[needs.supervision],
        FEEDBACK[needs.feedback],
        LOCKED[needs.locked],
        ", ".join(helpers) or "none",
        NONE if share is None else f"{100 * share:.1f} %",
        "in part" if again else _all(needs.alive, modules),
        ", ".join([*kept, *([back] if needs.history else [])]) or "nothing",
        "joint" if needs.joint_only else "any",
    )


def section(frame: Frame, files: dict[str, bytes]) -> Table | None:
    """A row a recipe and network, from least to most K; None if no run recorded its needs. Adds the
    files."""
    if not frame.needs:
        return None
    runs = frame.runs[frame.runs["path"].isin(frame.needs)]
    several = runs["network"].nunique() > 1
    columns = [("Recipe", "l"), *([("Network", "l")] if several else []), ("K", "r")]
    table = Table(columns + [(title, "l") for title in COLUMNS], [])
    for (label, network), mine in runs.groupby(["label", "network"], sort=False):
        ordered = mine.sort_values("modules")
        ends = [_row(ordered.iloc[end], frame) for end in (0, -1)]
        told = [" – ".join(dict.fromkeys(texts)) for texts in zip(*ends, strict=True)]
        names = [str(label), *([str(network)] if several else [])]
        table.rows.append([Item(text) for text in (*names, *told)])
    files["tables/needs.csv"] = tables.to_csv(tables.to_plain(table))
    files["tables/needs.tex"] = tables.to_latex(table)
    return table


def _row(run: pd.Series, frame: Frame) -> tuple[str, ...]:
    whole = run["trunk_flops"] + run["helper_flops"]
    share = run["helper_flops"] / whole if whole > 0 else None
    said: Any = frame.needs[run["path"]]
    return (str(run["modules"]), *words(said, int(run["horizon"]), run["modules"], share))


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _all(number: int, modules: int) -> str:
    return "all" if number >= modules else str(number)
