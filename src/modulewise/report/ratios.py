"""Every figure of a bench's arm beside the plain backprop of the same run, and the verdict."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from modulewise.report.hull import Arm, beaten_by

Found = dict[str, Any]
"""What the file of a bench says of an arm, or of a group."""


def compare(group: Found) -> None:
    """Add `over_reference` and `verdict` to every arm of a group.

    A ratio of times is the median over rounds of the ratio within a round: arms that follow one
    another within seconds meet the same machine.

    Args:
        group: as measured.
    """
    arms: list[Found] = group["arms"]
    reference = next((a for a in arms if a["name"] == group["reference"] and done(a)), None)
    for arm in arms:
        arm["over_reference"] = reference and done(arm) and _ratios(group["steps"], arm, reference)
        arm["over_reference"] = arm["over_reference"] or None
    ends = [point for a in arms if a["end_to_end"] and (point := _point(a))]
    for arm in arms:
        mine = None if arm["end_to_end"] else _point(arm)
        arm["verdict"] = verdict(mine, ends) if mine and ends else None


def done(arm: Found) -> bool:
    """Whether an arm was measured."""
    return bool(arm["status"] == "measured")


def _point(arm: Found) -> Arm | None:
    """An arm's place in the picture of memory and time; None without either."""
    if not done(arm) or not arm["step"]:
        return None
    return Arm(arm["name"], arm["memory"]["peak"], arm["step"]["seconds"]["median"])


def verdict(mine: Arm, ends: list[Arm]) -> Found:
    """Whether a local arm gives what no end-to-end arm does.

    Args:
        mine: the local arm.
        ends: the end-to-end arms.

    Returns:
        `outside`: no end-to-end arm is at once as small and as fast. `beaten_by`: the fastest that
        is. `margin`: the factor by which both memory and time could grow before one is; at most 1
        if one is.

    Example:
        >>> ends = [Arm("backprop", 20, 1), Arm("checkpointed", 12, 3)]
        >>> verdict(Arm("dgl", 10, 2), ends)["margin"]
        1.5
    """
    better = beaten_by(mine, ends)
    return {
        "outside": better is None,
        "beaten_by": better and better.name,
        "margin": min(max(e.memory / mine.memory, e.seconds / mine.seconds) for e in ends),
    }


def _ratios(steps: list[Found], arm: Found, reference: Found) -> Found:
    """An arm's figures over the reference's; None where one of the two is missing or zero."""

    def ratio(of: Callable[[Found], float | None]) -> float | None:
        mine, theirs = of(arm), of(reference)
        return mine / theirs if mine is not None and theirs else None

    return {
        "step_seconds": _paired(steps, arm, reference, "seconds"),
        "cpu_seconds": _paired(steps, arm, reference, "cpu_seconds"),
        "epoch_seconds": ratio(lambda a: (a["epoch"] or {}).get("seconds")),
        "evaluation_seconds": ratio(lambda a: (a["epoch"] or {}).get("evaluation_seconds")),
        "peak": ratio(lambda a: a["memory"]["peak"]),
        "activations": ratio(lambda a: a["memory"]["activations"]),
        "fits": [
            mine["batch"] / theirs["batch"] if mine["batch"] and theirs["batch"] else None
            for mine, theirs in zip(arm["fits"], reference["fits"], strict=True)
        ],
        "flops": ratio(lambda a: a["flops"]["trunk"] + a["flops"]["helpers"]),
        "inference_macs": ratio(lambda a: a["inference_macs"]),
        "parameters": ratio(lambda a: a["parameters"]["trained"]),
    }


def _paired(steps: list[Found], arm: Found, reference: Found, key: str) -> float | None:
    """Median over rounds of the ratio within a round."""
    mine, theirs = (
        {s["round"]: s[key] for s in steps if s["arm"] == a["name"]} for a in (arm, reference)
    )
    ratios = [value / theirs[n] for n, value in mine.items() if value is not None and theirs.get(n)]
    return statistics.median(ratios) if ratios else None
