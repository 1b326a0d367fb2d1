"""Formulas as docstrings write them, `L_k = CE( a_k(h_k), y )`, typeset as HTML."""

from __future__ import annotations

import html
import re

GREEK = {
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "lambda": "λ",
    "phi": "φ",
    "sigma": "σ",
    "tau": "τ",
    "theta": "θ",
}
SIGNS = {"&lt;-": "←", "-&gt;": "→", "&gt;=": "≥", "&lt;=": "≤", "...": "…", ") x [": ") × ["}
_BASE = rf"(?<![A-Za-z])(?:[A-Za-z]|{'|'.join(GREEK)})|[)\1\3]|(?<=\w)(?=_\w\b)"
_LOW = r"_(?:\{([^}]*)\}|([A-Za-z0-9]+))"
_HIGH = r" ?\^(?:\{([^}]*)\}|(\w+)|\(([^()]*)\))"


def typeset(text: str) -> str:
    """A piece of a formula as HTML: indices, powers, Greek letters, italic variables.

    Example:
        >>> typeset("h_{k-1}^2 of a stage")
        '<i>h</i><sub><i>k</i>−1</sub><sup>2</sup> of a stage'
        >>> typeset("stop_gradient(h)")
        'stop_gradient(<i>h</i>)'
    """
    out = html.escape(text, quote=False)
    for word, sign in SIGNS.items():
        out = out.replace(word, sign)
    out = re.sub(r"`([^`]*)`", r"<code>\1</code>", out)
    out = re.sub(r"(?<=\d)x(?=\d)", "×", out)
    out = re.sub(rf"({_BASE}){_LOW}", lambda m: f"{m[1]}\0{_inner(m, 2)}\1", out)
    out = re.sub(_LOW, lambda m: f"\0{_inner(m, 1)}\1" if out[m.start() - 1] == "\1" else m[0], out)
    out = re.sub(_HIGH, lambda m: f"\2{_inner(m, 1)}\3", out)
    out = re.sub(rf"(?<![A-Za-z])({'|'.join(GREEK)})(\d?)(?![A-Za-z])", _greek, out)
    out = re.sub(r"(?<![\w&.])([A-Za-z])(\d)(?![\w.])", "\\1\0\\2\1", out)
    out = re.sub(r"(?<![\w&;’'<>/_])([A-Za-z])(?![\w;’'>_])(?! [a-z]{2})", r"<i>\1</i>", out)
    out = re.sub(r"(?<![\w&;’'<>/_])([B-Zb-z])(?![\w;’'>_])", r"<i>\1</i>", out)
    out = out.replace(" - ", " − ").replace("\0", "<sub>").replace("\1", "</sub>")
    return out.replace("\2", "<sup>").replace("\3", "</sup>")


def _inner(found: re.Match[str], first: int) -> str:
    text = next(part for part in found.groups()[first - 1 :] if part is not None)
    return text.replace("-", "−")


def _greek(found: re.Match[str]) -> str:
    return GREEK[found[1]] + (f"\0{found[2]}\1" if found[2] else "")


def block(text: str) -> str:
    """Indented lines of a docstring as a block of HTML; three spaces or more in a line are a gap.

    Args:
        text: the lines, as they stand there.
    """
    rows = []
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip()) - 4
        pieces = [typeset(piece) for piece in re.split(r" {3,}", line.strip())]
        gap = '<span class="gap"></span>'
        rows.append(
            f'<div style="padding-left:{min(8, max(0, indent) / 2):g}em">{gap.join(pieces)}</div>'
        )
    return f'<div class="formula">{"".join(rows)}</div>'


def prose(text: str) -> str:
    """Markdown whose variables, such as h_k or F_{k+1}, have indices; code stays as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else _VARIABLE.sub(_set, p) for p in parts)


_VARIABLE = re.compile(rf"(?<![\w/])(?:[A-Za-z]|{'|'.join(GREEK)})(?:{_LOW})(?!\w)")


def _set(found: re.Match[str]) -> str:
    return typeset(found[0])
