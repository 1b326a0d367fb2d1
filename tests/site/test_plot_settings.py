"""Settings of matplotlib that a notebook or a user has left, and labels that are no formulas,
change no plot and stop no report."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import modulewise.report as report
from modulewise.config.plan import load_plan
from modulewise.plots import NotDrawn, drawing
from modulewise.report import drawing as drawings
from modulewise.report.gallery import KINDS
from run_folders import ROOT, end, finish, metric, start, sweep, write

BAD = b"lines.linewidth: 99\ntext.usetex: True\nsavefig.dpi: 3\nbackend: nowhere\n"
PLOTS = """
import hashlib
import modulewise.plots
from matplotlib.figure import Figure
import io
with modulewise.plots.drawing():
    figure = Figure()
    figure.subplots().plot([1, 2, 3])
    figure.savefig(out := io.BytesIO(), format="png")
print(hashlib.sha256(out.getvalue()).hexdigest())
"""


def plain() -> str:
    """Hash of the plot of `PLOTS`, made here."""
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure()
        figure.subplots().plot([1, 2, 3])
        figure.savefig(out := io.BytesIO(), format="png")
    return hashlib.sha256(out.getvalue()).hexdigest()


@pytest.mark.parametrize(
    ("variables", "content"),
    [
        ({"MPLBACKEND": "module://matplotlib_inline.backend_inline"}, b""),
        ({"MPLBACKEND": "nonsense"}, b""),
        ({"MATPLOTLIBRC": "elsewhere"}, BAD),
        ({"MPLBACKEND": "TkAgg"}, b"\xff\xfe: not text\n"),
    ],
)
def test_the_same_plot_whatever_is_set(
    tmp_path: Path, variables: dict[str, str], content: bytes
) -> None:
    """The settings lie in the working folder, or where a variable says."""
    folder = tmp_path / variables.get("MATPLOTLIBRC", "")
    folder.mkdir(exist_ok=True)
    (folder / "matplotlibrc").write_bytes(content)
    env = os.environ | variables | {"PYTHONPATH": str(Path(report.__file__).parents[2])}
    made = subprocess.run(
        [sys.executable, "-c", PLOTS], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert (made.stdout.strip(), made.stderr) == (plain(), "")


def test_settings_of_the_process_are_left_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    expected = plain()
    monkeypatch.setitem(matplotlib.rcParams, "lines.linewidth", 99)
    assert plain() == expected
    assert matplotlib.rcParams["lines.linewidth"] == 99


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    """A sweep with runs of a recipe whose label is no formula; its catalog is the repository's."""
    path, _ = sweep(tmp_path, recipes=["backprop", "dgl"], modules=[2, 3])
    plan = load_plan(path, ROOT)
    odd = plan.catalog.recipes.recipes["dgl"].model_copy(update={"label": "_a_$x costs \\frac"})
    plan.catalog.recipes.recipes["dgl"] = odd
    for n, cell in enumerate(plan.cells):
        write(tmp_path / "runs", cell, start(cell), metric(9, 1e9), end(1e9))
        finish(tmp_path / "runs", cell, test_last=10.0 + n)
    return plan


def test_a_label_that_is_no_formula_is_plain_text(plan: Any, tmp_path: Path) -> None:
    page = report.build(plan, tmp_path / "runs", tmp_path / "out").read_text()
    assert "could not be drawn" not in page and "_a_$x costs \\frac" in page
    shown = [p.stem for p in (tmp_path / "out/figures").glob("*.svg")]
    assert "error-against-modules_fake_resnet8" in shown


def test_a_plot_that_fails_costs_only_the_plot(
    plan: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no font\nat all")

    kinds = [kind._replace(draw=broken) for kind in KINDS]
    monkeypatch.setattr("modulewise.report.gallery.KINDS", (*kinds[:1], KINDS[3]))
    page = report.build(plan, tmp_path / "runs", tmp_path / "out").read_text()
    assert page.count("could not be drawn") == 1
    assert (
        "<code>error-against-modules_fake_resnet8</code> could not be drawn: "
        "RuntimeError: no font at all</p>" in page
    )
    assert {p.stem for p in (tmp_path / "out/figures").glob("*.svg")} == {
        "learning-curves_fake_resnet8"
    }


def test_what_went_wrong_is_one_line() -> None:
    with pytest.raises(NotDrawn, match=r"^KeyError: 'x'$"):
        drawings.files(lambda: {}["x"])


def test_the_mirror_goes_on_without_a_plot(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from types import SimpleNamespace

    from modulewise.tracking import plot

    def broken(*_: Any) -> bytes:
        raise ValueError("no\nfont")

    monkeypatch.setattr(plot, "_learning", broken)
    wanted: Any = SimpleNamespace(key="modulewise/x")
    assert plot.learning(wanted) is None
    assert "modulewise/x: no plot: ValueError: no font" in caplog.text
