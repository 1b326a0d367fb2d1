"""The answers of every data set and network: for the page, for programs, for a terminal."""

from __future__ import annotations

import textwrap
from typing import Any

import pandas as pd

from modulewise.report.answer import Question, Sentence, sentences
from modulewise.report.decision import margin_of
from modulewise.report.frame import Frame
from modulewise.report.stats import PLACE

FILE = "answer.json"
"""In the report's folder: the answers, for programs."""


def section(rows: pd.DataFrame, frame: Frame, margin: float | None) -> list[dict[str, Any]]:
    """The answers of one data set and network, for each of its settings that has any.

    Args:
        rows: of `pairs.against_baseline`, one data set and network.
        frame: the runs.
        margin: the sweep's, if it sets one.
    """
    out = []
    for (dataset, network, settings), mine in rows.groupby(PLACE, sort=False):
        asked = _question(frame, str(dataset), mine, margin)
        if found := sentences(mine, asked):
            place = {"dataset": dataset, "network": network, "settings": settings}
            metric = asked.metric.model_dump() | {"margin": asked.margin}
            out.append(
                place
                | {"metric": metric, "baseline": asked.baseline}
                | {"line": _line(found, asked.metric.label)}
                | {"sentences": [sentence._asdict() for sentence in found]}
            )
    return out


def terminal(answers: list[dict[str, Any]], width: int = 80, lines: int = 6) -> list[str]:
    """The answers in few lines: the sentences of one place, or a line for each of several.

    Args:
        answers: of `section`, of all sections.
        width: of a line.
        lines: at most.
    """
    if len(answers) == 1:
        found = [sentence["brief"] for sentence in answers[0]["sentences"]]
    else:
        found = [f"{_title(a, answers)}: {a['line']}" for a in answers]
    if len(found) > lines:
        found[lines - 1 :] = [f"and {len(found) - lines + 1} more, in the page"]
    return [textwrap.shorten(line, width, placeholder=" …") for line in found]


def _title(answer: dict[str, Any], answers: list[dict[str, Any]]) -> str:
    several = len({a["settings"] for a in answers}) > 1
    words = [answer["dataset"], answer["network"]]
    return " ".join(words + [f"({answer['settings']})"] * bool(several and answer["settings"]))


def _line(found: list[Sentence], metric: str) -> str:
    """The sentence that stands for all of a place: of too few seeds, else of the best."""
    said = {sentence.about: sentence.brief for sentence in found}
    return said.get("seeds") or said["best"].replace(f" {metric}", "", 1)


def _question(frame: Frame, dataset: str, rows: pd.DataFrame, margin: float | None) -> Question:
    """What is asked of the rows of one data set, network and settings.

    Args:
        frame: the runs.
        dataset: of the rows.
        rows: of `stats.headline`.
        margin: the sweep's, if it sets one.
    """
    metric = frame.metric(dataset)
    label = frame.labels[frame.baseline] if frame.baseline and rows["is_baseline"].any() else None
    return Question(metric, label, margin_of(metric, margin))
