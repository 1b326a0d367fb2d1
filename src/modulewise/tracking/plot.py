"""The picture of a run that its page in MLflow shows: primary metric and loss over epochs. Drawn
from the points that are sent."""

from __future__ import annotations

import io
import logging
import math
from typing import TYPE_CHECKING, Any

from modulewise.tracking.store import one_line
from modulewise.tracking.view import Wanted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

log = logging.getLogger(__name__)


def learning(want: Wanted) -> bytes | None:
    """Learning curves as a small PNG: the modules from dark to light, the network in black; `None`,
    with a warning, if they cannot be drawn."""
    try:
        from modulewise import plots

        with plots.drawing():
            return _learning(want)
    except Exception as error:
        log.warning(f"{want.key}: no plot: {one_line(error)}")
        return None


def _learning(want: Wanted) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.0), dpi=100)
    figure.subplots_adjust(left=0.08, right=0.985, bottom=0.16, top=0.89, wspace=0.2)
    figure.suptitle(
        f"{want.name} on {want.params.get('dataset', '?')}, {want.params.get('network', '?')}",
        fontsize=10,
    )
    unit = f" ({want.metric.unit})" if want.metric.unit else ""
    panels = {
        f"test_{want.metric.name}/": want.metric.label + unit,
        "train_loss/": "training loss",
    }
    for axes, (section, label) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        _draw(axes, want, section)
        axes.set_xlabel("epoch", fontsize=9)
        axes.set_ylabel(label, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _draw(axes: Axes, want: Wanted, section: str) -> None:
    """The curves of one section; what is infinite or no number leaves a gap."""
    from matplotlib import colormaps

    curves: dict[str, list[tuple[int, float]]] = {}
    for name, step, value, _ in want.points:
        if name.startswith(section) and name.removeprefix(section) not in ("last", "overall_best"):
            curves.setdefault(name.removeprefix(section), []).append(
                (step, value if abs(value) < 1e300 else math.nan)
            )
    if not curves:
        axes.text(
            0.5,
            0.5,
            "nothing recorded",
            ha="center",
            va="center",
            transform=axes.transAxes,
            fontsize=9,
            color="0.4",
        )
        return
    modules = sorted((n for n in curves if n.startswith("module_")), key=_number)
    many = max(int(want.params.get("modules", "1")), len(modules), 2)
    for name in [*modules, *(n for n in curves if n not in modules)]:
        steps, values = zip(*sorted(curves[name]), strict=True)
        look: dict[str, Any] = {
            "color": colormaps["viridis"](0.2 + 0.7 * _number(name) / (many - 1)),
            "lw": 1.1,
        }
        if name not in modules:
            look |= {"color": "black", "lw": 1.7}
        axes.plot(
            steps,
            values,
            marker="." if len(steps) == 1 else None,
            label=name.replace("_", " "),
            **look,
        )
    if len(curves) <= 5:
        axes.legend(fontsize=7, frameon=False)
    else:
        axes.set_title(
            f"{len(modules)} modules, first dark, last light",
            fontsize=7,
            loc="right",
            color="0.3",
            pad=2,
        )


def _number(name: str) -> int:
    return int(name.removeprefix("module_")) if name.startswith("module_") else 0
