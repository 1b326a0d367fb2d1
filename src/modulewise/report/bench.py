"""What `modulewise bench` found, as tables and as a picture of memory against time."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from modulewise import plots, units
from modulewise.files import write_atomic
from modulewise.report import hover, hull
from modulewise.report.drawing import COLOURS, MARKERS, STYLE, Look

Found = dict[str, Any]
NONE = "–"
SHADES = ("#000000", "#8a8a8a")
"""Colours of end-to-end arms."""


class Column(NamedTuple):
    """A column of the tables: its title, what it shows of an arm (a missing figure is an error of
    look-up), and its title on a terminal, empty if it has no room there."""

    title: str
    text: Callable[[Found], str]
    short: str = ""


def _x(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}" if value < 99.5 else f"{value:.0f}"


def _mib(count: float) -> str:
    return f"{count / 2**20:.1f}" if count < 1000 * 2**20 else f"{count / 2**20:.0f}"


def _fit(fit: Found) -> str:
    if fit["batch"] is None:
        return "none"
    return f"{'~' if fit['how'] == 'projected' else ''}{fit['batch']}"


def columns(caps: list[int]) -> list[Column]:
    """The columns, for some sizes of memory that the largest batch was looked for."""
    step = "step", "seconds", "median"
    memory = "memory"
    rows = [
        Column("ms/step", lambda a: units.three_digits(1e3 * _at(a, *step)), "ms"),
        Column("quartiles", lambda a: _between(a["step"]["seconds"])),
        Column("×", lambda a: _x(_at(a, "over_reference", "step_seconds")), "×"),
        Column(
            "CPU-ms", lambda a: units.three_digits(1e3 * _at(a, "step", "cpu_seconds", "median"))
        ),
        Column("× (CPU)", lambda a: _x(_at(a, "over_reference", "cpu_seconds"))),
        Column("× bound (time)", lambda a: _x(_at(a, "over_bound", "step_seconds"))),
        Column("s/epoch", lambda a: units.three_digits(_at(a, "epoch", "seconds"))),
        Column(
            "s to evaluate", lambda a: units.three_digits(_at(a, "epoch", "evaluation_seconds"))
        ),
        Column("peak MiB", lambda a: _mib(a[memory]["peak"]), "MiB"),
        Column("× (peak)", lambda a: _x(_at(a, "over_reference", "peak")), "×"),
        Column("× bound", lambda a: _x(_at(a, "over_bound", "memory")), "×min"),
        Column("parameters", lambda a: _mib(a[memory]["parameters"] + a[memory]["buffers"])),
        Column("optimiser", lambda a: _mib(a[memory]["optimizer"])),
        Column("helpers", lambda a: _mib(a[memory]["helpers"] + a[memory]["helper_optimizer"])),
        Column("batch", lambda a: _mib(a[memory]["batch"])),
        Column("activations", lambda a: _mib(a[memory]["activations"])),
        Column("workspace", lambda a: _mib(a[memory]["workspace"])),
        Column("MFLOP/image", lambda a: f"{sum(a['flops'].values()) / 1e6:.0f}"),
        Column("× (FLOPs)", lambda a: _x(_at(a, "over_reference", "flops"))),
        Column("MMAC deployed", lambda a: units.three_digits(a["inference_macs"] / 1e6)),
        Column("parameters trained", lambda a: str(a["parameters"]["trained"])),
        Column("deployed", lambda a: str(a["parameters"]["inference"])),
    ]
    for n, cap in enumerate(caps):
        size = units.memory(cap)
        short = f"in {size}" if n == 0 else ""
        rows.insert(11 + n, Column(f"batch in {size}", lambda a, n=n: _fit(a["fits"][n]), short))  # type: ignore[misc]
    return rows


def _between(values: Found) -> str:
    low, high = (units.three_digits(1e3 * values[k]) for k in ("low", "high"))
    return f"{low} to {high}"


def _at(found: Found, *keys: str) -> Any:
    """A figure inside of figures; None where something on the way is missing."""
    for key in keys:
        found = found[key]
    return found


def cells(arm: Found, shown: list[Column]) -> list[str]:
    """An arm's texts; a dash for a figure that is missing."""
    if arm["status"] != "measured":
        return ["out of memory", *[NONE] * (len(shown) - 1)]
    out = []
    for column in shown:
        try:
            out.append(column.text(arm))
        except (TypeError, KeyError):
            out.append(NONE)
    return out


def title(group: Found) -> str:
    """What the group's arms share."""
    return f"{group['dataset']} {' '.join(group['networks'])} batch {group['batch_size']}"


def terminal(group: Found, caps: list[int]) -> Table:
    """The figures that decide, at most 80 columns wide."""
    shown = [c for c in columns(caps) if c.short]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    table.add_column(title(group), overflow="fold", width=36)
    for column in shown:
        table.add_column(column.short, justify="right", overflow="fold")
    for arm in group["arms"]:
        table.add_row(f"  {arm['name']}", *cells(arm, shown))
    return table


def sentences(group: Found) -> list[str]:
    """What the group comes to: a sentence for every local arm."""
    if group["reference"] is None:
        said = "no plain backprop (fp32, no other setting) among these arms: no ratios"
        return [f"{title(group)}: {said}"]
    out = []
    for arm in group["arms"]:
        if v := arm["verdict"]:
            margin = f"{v['margin']:.2f}"
            out.append(
                f"{arm['name']}: outside, by a factor of {margin}"
                if v["outside"]
                else f"{arm['name']}: {v['beaten_by']} is as small and as fast (factor {margin})"
            )
    return out


def markdown(found: Found) -> str:
    """All figures as a page."""
    lines = [
        f"# {found['title'] or found['sweep']}",
        "",
        f"{found['device']}, torch {found['versions']['torch']}, commit {found['commit']}, "
        f"{found['rounds']} rounds. What the figures mean: docs/bench.md.",
    ]
    peaks = ", ".join(f"{k} {v / 1e9:.4g} GFLOP/s" for k, v in found["peak_flops"].items())
    lines += [f"Measured peak of a large matrix product: {peaks}."] if peaks else []
    for group in found["groups"]:
        shown = columns(found["memory_caps"])
        heads = ["arm", *(c.title for c in shown)]
        lines += ["", f"## {title(group)}", ""]
        lines += [_row(heads), _row(["---", *["---:"] * len(shown)])]
        lines += [_row([arm["name"], *cells(arm, shown)]) for arm in group["arms"]]
        lines += ["", *(f"- {sentence}" for sentence in sentences(group))]
    return "\n".join(lines) + "\n"


def _row(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"


def table_csv(found: Found) -> str:
    """All figures of all arms, a row each, a column a figure; empty where one is missing."""
    rows = []
    for group in found["groups"]:
        shared = {k: group[k] for k in ("dataset", "batch_size", "reference")}
        rows += [shared | dict(_flat(arm)) for arm in group["arms"]]
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _flat(found: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Names with dots, and values that are no mappings."""
    items = found.items() if isinstance(found, dict) else enumerate(found)
    out = []
    for key, value in items:
        name = f"{prefix}{key}"
        if key == "peaks":
            continue
        out += _flat(value, f"{name}.") if isinstance(value, dict | list) else [(name, value)]
    return out


def picture(group: Found, device: str) -> dict[str, bytes]:
    """Memory against time as `svg` and `png`.

    Raises:
        Nothing: no arm on one side of the comparison.
        NotDrawn: with the reason.
    """
    arms = [a for a in group["arms"] if a["status"] == "measured" and a["step"]]
    marks = [_mark(arm, look) for arm, look in zip(arms, _looks(arms), strict=True)]
    with plots.drawing(STYLE):
        fig = hull.draw(marks, f"{title(group)}, {device}")
        svg, png = io.BytesIO(), io.BytesIO()
        fig.savefig(svg, format="svg", metadata={"Date": None})
        fig.savefig(png, format="png", dpi=160, metadata={"Software": None})
    titled = hover.titled(svg.getvalue().decode()).encode()
    return {"svg": titled, "png": png.getvalue()}


def _mark(arm: Found, look: Look) -> hull.Mark:
    """End-to-end arms and local ones that none of them beats are filled; K stands beside."""
    place = hull.Arm(arm["name"], arm["memory"]["peak"], arm["step"]["seconds"]["median"])
    full = arm["end_to_end"] or bool(arm["verdict"] and arm["verdict"]["outside"])
    text = "" if arm["modules"] == 1 else str(arm["modules"])
    return hull.Mark(place, look, text, arm["end_to_end"], full)


def _looks(arms: list[Found]) -> list[Look]:
    """The look of each arm; arms that differ in K alone share theirs, end-to-end ones are grey."""
    names = [a["name"].replace(f" K={a['modules']}", "") for a in arms]
    order: dict[bool, list[str]] = {True: [], False: []}
    for name, arm in zip(names, arms, strict=True):
        if name not in order[arm["end_to_end"]]:
            order[arm["end_to_end"]].append(name)
    out = []
    for name, arm in zip(names, arms, strict=True):
        n = order[arm["end_to_end"]].index(name)
        colour = SHADES[n // len(MARKERS) % 2] if arm["end_to_end"] else COLOURS[n % len(COLOURS)]
        out.append(Look(name, colour, MARKERS[n % len(MARKERS)], ""))
    return out


def write(found: Found, folder: Path) -> list[Path]:
    """Write table and pictures beside the file of figures.

    Raises:
        NotDrawn: a picture could not be drawn.
    """
    out = {"table.md": markdown(found), "table.csv": table_csv(found)}
    for name, text in out.items():
        write_atomic(folder / name, text)
    paths = [folder / name for name in out]
    for group in found["groups"]:
        stem = f"pareto_{group['dataset']}_{group['networks'][0]}_b{group['batch_size']}"
        try:
            drawn = picture(group, found["device"])
        except plots.Nothing:
            continue
        for kind, content in drawn.items():
            paths.append(folder / f"{stem}.{kind}")
            write_atomic(paths[-1], content)
    return paths
