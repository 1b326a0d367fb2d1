"""Texts beside marks, as matplotlib's own renderer measures them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from modulewise import plots
from modulewise.report.drawing import FULL, HALF, STYLE
from modulewise.report.placing import Spot, beside

WORDS = ("2", "16", "8: 93.2", "")
SHAPES = st.sampled_from([(HALF, 3.6), (FULL, 4.2)])


def spots_of(seed: int, count: int) -> list[Spot]:
    """Marks as a sweep's costs and errors lie: some spread, some in clusters, some at one place."""
    random = np.random.default_rng(seed)
    middles = random.uniform(0, 10, (max(1, count // 3), 2))
    at = middles[random.integers(len(middles), size=count)]
    at += random.choice([0, 0.2, 3], (count, 1)) * random.normal(size=(count, 2))
    words = random.choice(WORDS, count)
    return [
        Spot(float(x), float(y), float(random.choice([2.5, 7, 9])), str(word), "#000000")
        for (x, y), word in zip(at, words, strict=True)
    ]


def overlap(a: Bbox, b: Bbox) -> bool:
    return bool(min(a.x1, b.x1) > max(a.x0, b.x0) and min(a.y1, b.y1) > max(a.y0, b.y0))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 25), SHAPES)
def test_no_text_covers_a_mark_or_a_text(seed: int, count: int, size: tuple[float, float]) -> None:
    spots = spots_of(seed, count)
    with plots.drawing(STYLE):
        fig = Figure(figsize=size, layout="constrained")
        ax = fig.subplots()
        ax.plot([s.x for s in spots], [s.y for s in spots], ls="")
        ax.margins(0.1)
        made = beside(fig, ax, spots, [(0, 0), (5, 0), (5, 9)])
        fig.draw_without_rendering()
        texts = [Text.get_window_extent(one) for one in made]
        room = ax.get_window_extent()
        for spot in spots:
            x, y = ax.transData.transform((spot.x, spot.y))
            half = spot.size / 2 * fig.dpi / 72
            mark = Bbox.from_extents(x - half, y - half, x + half, y + half)
            assert not any(overlap(mark, text) for text in texts)
    assert not any(overlap(a, b) for a, b in combinations(texts, 2))
    assert all(room.x0 <= t.x0 and t.x1 <= room.x1 for t in texts)
    assert all(room.y0 <= t.y0 and t.y1 <= room.y1 for t in texts)
    assert [t.get_text() for t in made] == [s.text for s in spots if s.text], "none is left out"


def test_a_text_that_stands_apart_is_joined_to_its_mark() -> None:
    crowd = [Spot(0.5 + 0.011 * n, 0.5, 7, "12: 10.4", "#000000") for n in range(12)]
    with plots.drawing(STYLE):
        for spots, joined in ((crowd[:1], False), (crowd, True)):
            fig = Figure(figsize=(HALF, 3.6), layout="constrained")
            ax = fig.subplots()
            ax.set(xlim=(0, 1), ylim=(0, 1))
            made = beside(fig, ax, spots)
            assert len(made) == len(spots)
            assert any(one.arrow_patch is not None for one in made) == joined


def test_no_place_is_no_text() -> None:
    with plots.drawing(STYLE):
        fig = Figure(figsize=(1, 1))
        ax = fig.subplots()
        assert beside(fig, ax, [Spot(0.5, 0.5, 6, "a text that is wider than all", "red")]) == []
