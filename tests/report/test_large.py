"""Numbers and pages of large sweeps: the same as of small ones, made quicker."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modulewise.report import across, alone, drawing, figures, gallery, stats

COSTS = ["device", "memory_source"]
MAYBE = st.none() | st.sampled_from([1.0, 2.0, 3.5, 8.0])


def runs_of(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    """Runs with different seeds."""
    names = ["value", "cost", "device", "memory_source"]
    made = pd.DataFrame([r[:4] for r in rows], columns=names).astype(
        {"value": float, "cost": float}
    )
    return made.assign(seed=pd.Series([r[4] for r in rows], dtype=int))


RUNS = st.lists(
    st.tuples(
        MAYBE,
        MAYBE,
        st.sampled_from(["A", "B"]),
        st.sampled_from(["live tensors", None]),
        st.integers(0, 8),
    ),
    max_size=8,
    unique_by=lambda run: run[4],
).map(runs_of)


@given(RUNS, RUNS)
def test_comparisons_are_those_of_tables(mine: pd.DataFrame, base: pd.DataFrame) -> None:
    """By joins of tables, as pandas makes them, for arrays and tables alike."""
    arrays = [{str(c): f[c].to_numpy() for c in f} for f in (mine, base)]
    both = mine.merge(base, on="seed", suffixes=("", "_base"))
    gaps = (both["value"] - both["value_base"]).dropna()
    for made in (stats.paired(mine, base), stats.paired(*arrays)):
        assert made.n == len(gaps)
        assert made[1:3] == pytest.approx((gaps.mean(), gaps.std()), nan_ok=True)
    ours, theirs = (f.dropna(subset=["cost", *COSTS]) for f in (mine, base))
    anchors = theirs.groupby(COSTS)["cost"].median().rename("anchor").reset_index()
    joined = ours.merge(anchors, on=COSTS)
    for made in (
        stats.relative(mine, base, "cost", COSTS, ("none", "no partner")),
        stats.relative(*arrays, "cost", COSTS, ("none", "no partner")),
    ):
        assert made.n == len(joined)
        assert made.reason == ("none" if ours.empty else "no partner" if joined.empty else "")
        assert made.value == pytest.approx(
            (joined["cost"] / joined["anchor"]).median(), nan_ok=True
        )


@given(
    st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), min_size=1),
    st.lists(st.integers(-4, 4), min_size=1),
)
def test_shares_are_counted(values: list[list[int]], limits: list[int]) -> None:
    many, at = np.array(values, float), np.array(limits, float)
    assert across.at_most(many, at) == pytest.approx((many[None] <= at[:, None, None]).mean(-1))
    assert across.at_most(many[0], at) == pytest.approx((many[0] <= at[:, None]).mean(-1))


def test_figures_lose_no_more_than_hundredths_of_a_point(site: Any, drawn: None) -> None:
    s = site()
    s.fill("backprop", 1, [10.0, 11.0, 12.0])
    s.fill("dgl", 2, [12.0, 13.0, 14.5])
    s.fill("dgl", 4, [13.0, 15.0, 15.5])
    page = s.report()
    outlines = re.findall(r'<path id="(DejaVuSans-[0-9a-f]+)"', page)
    used = set(re.findall(r'href="#(DejaVuSans-[0-9a-f]+)"', page))
    assert len(outlines) == len(set(outlines)) and set(outlines) == used
    others = re.findall(r'\bid="([^"]*)"', page)
    assert len(others) == len(set(others))
    outline = b'<path d="M 1.23456 -7.005001 \nL 3 4.5 \n"/>'
    place = b'<g transform="translate(9.87654 1) scale(0.015625)">'
    assert drawing.compact(outline) == b'<path d="M 1.23 -7.01L3 4.5 \n"/>'
    assert drawing.compact(place) == b'<g transform="translate(9.88 1) scale(0.015625)">'


def test_many_seeds_are_a_band(site: Any) -> None:
    s = site().other(seeds=figures.MOST_SEEDS + 1)
    few = pd.DataFrame({"recipe": ["dgl"] * 4, "modules": [2] * 4})
    many = pd.DataFrame({"recipe": ["greedy"] * 11, "modules": [2] * 11})
    assert figures.seeds_shown(few) == "every seed thin"
    assert "every seed" not in figures.seeds_shown(many)
    assert "of more than 10" in figures.seeds_shown(pd.concat([few, many]))
    s.fill("dgl", 2, [10.0 + n for n in range(figures.MOST_SEEDS + 1)])
    from modulewise.report import frame

    found = frame.read(s.plan, s.runs)
    (ax,) = (figures.learning_curves(found.done, found) or pytest.fail()).axes
    (band,) = ax.collections
    ends = band.get_paths()[0].vertices[:, 1]
    assert (ends.min(), ends.max()) == (10.0, 3 * (10.0 + figures.MOST_SEEDS))


def test_a_large_sweep_draws_some_kinds_and_says_so(
    site: Any, sketched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "MOST", 4)
    s = site()
    for recipe, k in (("backprop", 1), ("dgl", 2), ("dgl", 4)):
        s.fill(recipe, k, [10.0, 11.0, 12.0])
    page, folder = s.report(), s.root / "out" / "figures"
    kinds = {p.name.split("_")[0] for p in folder.iterdir()}
    assert len(kinds) == 4 and not {"error-over-depth", "decision"} & kinds
    assert {p.suffix for p in folder.iterdir()} == {".svg"} and ".pdf" not in page
    assert "the first 4 are drawn" in s.words()
    from modulewise.report import build

    page = build(s.plan, s.runs, s.root / "out", all_figures=True).read_text()
    assert "error-over-depth_fake_resnet8.pdf" in page and "--all-figures" not in page
    for link in re.findall(r'(?:href|src)="((?:tables|figures)/[^"]*)"', page):
        assert (s.root / "out" / link).is_file(), link


def test_a_page_with_large_files_says_that_its_folder_is_needed(
    site: Any, sketched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = site()
    for recipe, k in (("backprop", 1), ("dgl", 2), ("dgl", 4)):
        s.fill(recipe, k, [10.0, 11.0, 12.0])
    assert 'href="tables/' not in s.report() and "it can be sent by itself" in s.words()
    monkeypatch.setattr(alone, "MOST", 1000)
    page, words = s.report(), s.words()
    links = re.findall(r'(?:href|src)="((?:tables|figures)/[^"]*)"', page)
    assert {path.rpartition(".")[2] for path in links} == {"csv", "tex", "svg", "pdf"}
    assert all((s.root / "out" / link).is_file() for link in links)
    assert "base64" not in page and "by itself" not in words
    assert "send its folder: downloads lie in tables/ and figures/ beside it" in words


def test_a_page_holds_no_more_figures_than_it_should(
    site: Any, drawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = site()
    for recipe, k in (("backprop", 1), ("dgl", 2), ("dgl", 4)):
        s.fill(recipe, k, [10.0, 11.0, 12.0])
    whole = s.report()
    monkeypatch.setattr(gallery, "INLINE", 40_000)
    page = s.report()
    linked = re.findall(r'<img loading="lazy" src="(figures/[^"]*)"', page)
    assert linked and "<img" not in whole
    assert f"downloads and {len(linked)} of the figures lie in tables/" in s.words()
    assert all((s.root / "out" / link).is_file() for link in linked)
    assert sum(map(drawing.weight, re.findall(r"<svg.*?</svg>", page, re.DOTALL))) <= 40_000
    assert page.count("<figure") == whole.count("<figure")
    assert math.isclose(page.count("<tr"), whole.count("<tr"))
