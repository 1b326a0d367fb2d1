"""Experimental recipes: a section of their own, and nothing else of the report moves."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from modulewise.cli.app import app
from modulewise.report import frame

HEADER = (
    "dataset,network,recipe,modules,metric,value,spread,spread_kind,n,selection,epochs,split,source"
)
PUBLISHED = "fake,resnet8,{},{},test_error,{},0.2,sd,5,last,3,test,a paper"
OF_ALL = {"tables/runs.csv", "tables/tuning.csv", "tables/tuning.tex"}
"""Files that list every cell or recipe of the sweep."""


def filled(site: Any) -> Any:
    """Three tasks with three seeds of two recipes, and published numbers of one of them."""
    s = site().other(recipes=["backprop", "dgl"], modules=[2, 3, 4], seeds=3)
    s.fill("backprop", 1, [10.0, 10.5, 11.0])
    for k in (2, 3, 4):
        s.fill("dgl", k, [10.4 + k, 11.0 + k, 11.3 + k])
    rows = [PUBLISHED.format(*r) for r in (("dgl", 2, 12), ("dgl", 4, 14), ("floor", 2, 30))]
    (s.root / "config/references.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return s


def try_floor(s: Any) -> Any:
    """The same with an experimental recipe, far off, which stands first in the grid."""
    tried = s.other(recipes=["floor", "backprop", "dgl"])
    for k in (2, 3, 4):
        tried.fill("floor", k, [40.0, 41.0, 42.5], peak_memory_bytes=1, step_seconds=0.01)
    return tried


def made(s: Any) -> dict[str, bytes]:
    """Builds the report; its files but for the page."""
    s.report()
    out = s.root / "out"
    return {
        str(p.relative_to(out)): p.read_bytes()
        for folder in ("tables", "figures")
        for p in sorted(Path(out, folder).iterdir())
    }


def test_nothing_else_of_the_report_moves(site: Any, drawn: None) -> None:
    """Tables, verdicts with Holm's correction, figures, fronts and profiles are the same bytes."""
    s = filled(site)
    without = made(s)
    assert {"tables/across.csv", "tables/published_fake_resnet8.csv"} <= without.keys()
    assert any(name.startswith("figures/error-against-memory") for name in without)
    assert any(name.startswith("figures/performance-profiles") for name in without)
    mixed = made(try_floor(s))
    for name in without.keys() - OF_ALL:
        assert mixed[name] == without[name], name
    stems = ("experimental_fake_resnet8", "experimental-published_fake_resnet8")
    assert mixed.keys() - without.keys() == {
        f"tables/{stem}.{suffix}" for stem in stems for suffix in ("csv", "tex")
    }


def test_the_section_has_the_headlines_columns_and_a_family_of_its_own(site: Any) -> None:
    s = try_floor(filled(site))
    page = s.report()
    table, headline = s.table("experimental_fake_resnet8"), s.table()
    assert list(table.columns) == list(headline.columns)
    assert list(table["recipe"]) == ["backprop", "floor", "floor", "floor"]
    assert list(table["gap_mean"])[1] == pytest.approx((40 + 41 + 42.5) / 3 - 10.5)
    own = [n for n in table if not n.endswith("_standing")]
    assert table[own].iloc[0].equals(headline[own].iloc[0])
    beside = s.table("experimental-published_fake_resnet8")
    assert list(beside["recipe"]) == ["floor"]
    assert beside["p_holm"][0] == beside["p"][0]
    assert beside["verdict"][0] == "worse"
    words = html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))
    before, _, after = words.partition("Experimental recipes Here to be looked at")
    assert "Floor" not in before
    assert "Floor 2 41.17 ± 1.26" in after
    assert "Beside published numbers (experimental)" in after
    assert '<code>floor</code> <span class="badge">experimental</span>' in page


def test_a_sweep_of_experimental_recipes_alone(site: Any) -> None:
    """Without a baseline there are no gaps; an exhibit of them would be empty."""
    s = site().other(recipes=["floor", "whole"])
    assert "Experimental recipes" not in s.words()
    s.fill("floor", 2, [40.0, 41.0])
    s.fill("whole", 1, [9.0])
    words = s.words()
    assert "No run has finished yet" not in words
    assert "Experimental recipes Here to be looked at" in words
    assert frame.read(s.plan, s.runs).baseline is None, "Whole is no baseline"
    assert s.table("experimental_fake_resnet8")["gap_n"].eq(0).all()


def test_what_an_earlier_report_said_of_them_is_removed(site: Any) -> None:
    s = filled(site)
    made(try_floor(s))
    assert not [name for name in made(s) if "experimental" in name]


def test_check_says_which_they_are(site: Any) -> None:
    s = site()
    path = s.root / "sweep.yaml"
    text = path.read_text().replace("- greedy", "- floor").replace("resnet8", "mlp4x8")
    path.write_text(text)
    call = ["check", "--sweep", str(path), "--root", str(s.root), "--runs", str(s.runs)]
    said = " ".join(CliRunner().invoke(app, call).output.split())
    assert "experimental floor: the report shows them in a section of their own" in said
