"""A method's picture, drawn by rule from the flow of one step: modules in a row, the losses of each
above it with the helpers that they go through, where their gradients go, where they are cut off."""

from __future__ import annotations

import html

from generator.measured import Flow, Helper

BOX, STEP, LEFT = 130, 205, 100
TRUNK, TALL, ROW, TOP = 40, 26, 46, 10
SAID = {"class": "", "pair": ": same class?", "none": ": no labels"}


def drawn(flow: Flow) -> str:
    """The picture as a figure of HTML.

    Args:
        flow: of the step.
    """
    modules = [_Module(flow, k) for k in range(flow.method.k)]
    top = TOP + ROW * (1 + max(m.rows for m in modules))
    parts = [part for m in modules for part in m.drawn(top)]
    for k in range(flow.method.k - 1):
        parts += _cut(flow, k, LEFT + k * STEP + BOX, top)
    end = LEFT + (flow.method.k - 1) * STEP + BOX
    y = top + TRUNK // 2
    parts += [
        _text(38, y + 4, "two views" if flow.method.two_views else "image"),
        _arrow(72, y, LEFT - 2, y, "ahead"),
        _arrow(end + 2, y, end + 30, y, "ahead"),
        _text(end + 56, y + 4, "scores"),
    ]
    below = max((len(m.before) for m in modules), default=0)
    height, width = top + TRUNK + 30 + ROW * below, max(end + 90, 520)
    note = "Grey: forward. Red: where a loss's gradient goes. Double bar: detached, no gradient "
    note += "crosses. Dashed box: no gradient moves it. Bold box: stays at inference. A loss's "
    note += "helpers are stacked, whatever their order."
    if flow.method.feedback == "later":
        note += " Violet: detached tensors of a later module."
    if flow.method.feedback == "fixed":
        note += " The error of the scores enters the dashed boxes."
    if flow.method.k > 1:
        note += " Drawn from one step with three modules."
    svg = f'<svg viewBox="0 0 {width} {height}" style="max-width:{width}px" role="img" '
    svg += 'aria-label="modules, helpers, losses">'
    caption = f"<figcaption>{html.escape(note)}</figcaption>"
    return f'<figure class="flow">{svg}{_MARKERS}{"".join(parts)}</svg>{caption}</figure>'


class _Module:
    """One module: its losses side by side, each above the helpers that it goes through; what stays
    at inference and feeds the module stands below it."""

    def __init__(self, flow: Flow, k: int) -> None:
        self.flow, self.k, self.x = flow, k, LEFT + k * STEP
        losses = [
            (name, [g.split("/")[0] for g in groups if g.endswith(f"/{k}")], groups)
            for name, groups in flow.losses
            if max(int(g.split("/")[1]) for g in groups) == k
        ]
        by_name = {h.name: h for h in flow.helpers[k]}
        self.before: list[Helper] = []
        self.columns: list[tuple[str, bool, list[Helper]]] = []
        fixed = [h for h in flow.helpers[k] if not h.learns]
        for name, own, groups in losses:
            reaches = any(g.startswith("trunk/") for g in groups)
            mine = [by_name[n] for n in own if n in by_name]
            self.before += [h for h in mine if h.stays and reaches]
            over = [h for h in mine if not (h.stays and reaches)]
            self.columns.append((name, reaches, [*over, *fixed]))
            fixed = []
        self.rows = max((len(over) for _, _, over in self.columns), default=0)

    def drawn(self, top: int) -> list[str]:
        """Its boxes and arrows, the module's own box beginning at this height."""
        words = f"module {self.k}" if self.flow.method.k > 1 else "the whole net"
        out = [_box(self.x, top, BOX, TRUNK, "box stays"), _text(self.x + 65, top + 25, words)]
        wide = BOX // max(1, len(self.columns))
        for place, (name, reaches, over) in enumerate(self.columns):
            x, y = self.x + place * wide, top
            out_y = y - (len(over) + 1) * ROW
            for number, helper in enumerate(over):
                at = y - (number + 1) * ROW
                kind = "box" + " stays" * helper.stays + " fixed" * (not helper.learns)
                out.append(_box(x + 3, at, wide - 6, TALL, kind))
                out.append(_text(x + wide / 2, at + 17, helper.name, "small"))
                out += _between(x, wide, at, reaches or number > 0)
            out.append(_box(x + 3, out_y, wide - 6, TALL, "loss", 13))
            out.append(_text(x + wide / 2, out_y + 17, self._said(name, reaches), "small"))
            out += _between(x, wide, out_y, reaches or bool(over))
        for number, helper in enumerate(self.before):
            at = top + TRUNK + 20 + number * ROW
            out.append(_box(self.x + 3, at, BOX - 6, TALL, "box stays"))
            out.append(_text(self.x + 65, at + 17, helper.name, "small"))
            out.append(_arrow(self.x + 53, at - 1, self.x + 53, at - 19, "ahead"))
            out.append(_arrow(self.x + 77, at - 19, self.x + 77, at - 1, "back"))
        return out

    def _said(self, name: str, reaches: bool) -> str:
        kind = name.removesuffix(f"_{self.k}")
        if kind != "module":
            return kind
        last = self.k == self.flow.method.k - 1
        return f"loss {self.k}" + (
            "" if last or not reaches else SAID[self.flow.method.supervision]
        )


def _between(x: float, wide: float, y: float, learns: bool) -> list[str]:
    """From the box below to the one that begins at this height, and back if gradients go there."""
    low, high, middle = y + ROW - 1, y + TALL + 1, x + wide / 2
    out = [_arrow(middle - 10, low, middle - 10, high, "ahead")]
    if learns:
        return [*out, _arrow(middle + 10, high, middle + 10, low, "back")]
    bars = (
        f'<line class="cut" x1="{middle + 3}" x2="{middle + 19}" y1="{m}" y2="{m}"/>'
        for m in (y + TALL + 7, y + TALL + 13)
    )
    return [*out, *bars]


def _cut(flow: Flow, k: int, x: int, top: int) -> list[str]:
    """Between module k, which ends at x, and the next one."""
    y, gap = top + TRUNK // 2, STEP - BOX
    out = [_arrow(x + 2, y - 8, x + gap - 2, y - 8, "ahead")]
    stages = [{g for g in groups if g.startswith("trunk/")} for _, groups in flow.losses]
    crossing = any({f"trunk/{k}", f"trunk/{k + 1}"} <= reached for reached in stages)
    if crossing or flow.method.horizon > 1:
        out.append(_arrow(x + gap - 2, y + 9, x + 2, y + 9, "back"))
    else:
        for shift in (-4, 4):
            m = x + gap // 2 + shift
            out.append(f'<line class="cut" x1="{m}" y1="{y - 20}" x2="{m}" y2="{y + 20}"/>')
    if flow.method.feedback == "later" and (flow.helpers[k] or not any(flow.helpers)):
        out.append(
            f'<path class="later" marker-end="url(#later)" d="M{x + gap + 8},{top - 3} '
            f'C{x + gap - 10},{top - 40} {x + 40},{top - 34} {x - 1},{top - TALL - 7}"/>'
        )
    return out


_MARKERS = (
    "<defs>"
    + "".join(
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" '
        f'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'
        for name, colour in (("ahead", "#888"), ("back", "#d62728"), ("later", "#9467bd"))
    )
    + "</defs>"
)


def _box(x: float, y: float, width: float, height: float, kind: str, round_: int = 4) -> str:
    return (
        f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
        f'rx="{round_}"/>'
    )


def _arrow(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return (
        f'<line class="{kind}" marker-end="url(#{kind})" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" '
        f'y2="{y2:g}"/>'
    )


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{html.escape(words)}</text>'
