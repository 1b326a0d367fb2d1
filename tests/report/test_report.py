"""The page and its files, made of whatever lies in the run folders."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from modulewise.cli.app import app
from modulewise.errors import InvalidInput
from modulewise.report import frame, tables
from modulewise.runs.record import Record

ROWS = [("backprop", 1), ("dgl", 2), ("greedy", 2)]


def fill(s: Any, recipe: str, modules: int, errors: list[float], **values: Any) -> None:
    for seed, error in enumerate(errors):
        s.run(s.cell(recipe, modules, seed), error, **values)


def text(page: str) -> str:
    """A page's words, without tags."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def test_more_epochs_than_the_baselines_are_said(site: Any) -> None:
    """As of modules that are trained one after the other, each for the baseline's epochs."""
    s = site()
    fill(s, "backprop", 1, [10.0, 11.0])
    fill(s, "dgl", 2, [11.0, 12.0], planned=6)
    fill(s, "greedy", 2, [11.0, 12.0])
    page = text(s.report())
    assert " b trained otherwise than Backprop: 6 epochs, not 3 " in page
    assert "Step time Epochs Horizon" in page
    assert re.search(r"DGL & co_1 2 11\.50 ± 0\.71 2 of 4 \+1\.00 ab ★ \S+ ★ \S+ 6 b 1 ", page)
    assert page.count(" 6 b ") == 1
    said = s.table().dropna(subset="otherwise")
    assert said[["recipe", "modules", "otherwise"]].values.tolist() == [
        ["dgl", 2, "6 epochs, not 3"]
    ]
    found = {r: (s.row(r, k)["epochs"], s.row(r, k)["baseline_epochs"]) for r, k in ROWS}
    assert found == {"backprop": (3, 3), "dgl": (6, 3), "greedy": (3, 3)}


def test_every_state_is_counted_and_left_out_of_means(site: Any) -> None:
    s = site()
    fill(s, "backprop", 1, [10.0, 10.0, 10.0])
    fill(s, "dgl", 2, [11.0, 12.0])
    s.run(s.cell("dgl", 2, 2), 90.0, status="diverged", reason="loss is NaN")
    s.run(
        s.cell("dgl", 2, 3),
        None,
        status="out_of_memory",
        reason="asked for\n too much " + "x" * 900,
    )
    damaged = s.run(s.cell("greedy", 2, 0), 1.0) / "result.json"
    damaged.write_text(damaged.read_text()[:-40])
    other = s.run(s.cell("greedy", 2, 1), 1.0) / "result.json"
    other.write_text((s.runs / s.cell("dgl", 2, 0).path / "result.json").read_text())
    record = Record(s.runs / s.cell("greedy", 2, 2).path)
    record.write("start", epochs=9)
    record.metrics(4, {"test_error/overall": 50.0})
    record.close()

    words = text(s.report())
    assert (
        "5 of 20 cells done · 1 running · 10 waiting · 2 damaged · 1 diverged · 1 out of memory"
        in words
    )
    row = s.row("dgl", 2)
    assert (row["n"], row["error_mean"], row["diverged"], row["out_of_memory"]) == (2, 11.5, 1, 1)
    greedy = s.row("greedy", 2)
    assert (greedy["n"], greedy["damaged"], greedy["running"], greedy["waiting"]) == (0, 2, 1, 1)
    left = s.table("unfinished").astype(str)
    reasons = {
        (r["Recipe"], r["K"], r["Seeds"], r["State"]): r["Reason"] for _, r in left.iterrows()
    }
    assert reasons["DGL & co_1", "2", "2", "diverged"] == "loss is NaN (after 3 of 3 epochs)"
    assert reasons["DGL & co_1", "2", "3", "out of memory"].startswith("asked for too much")
    assert max(map(len, reasons.values())) <= 240
    assert s.cell("dgl", 2, 0).id in reasons["Greedy", "2", "1", "damaged"], "whose result it is"
    assert "JSON" in reasons["Greedy", "2", "0", "damaged"]
    assert reasons["Greedy", "2", "2", "running"].startswith("epoch 4 of 9, last entry ")
    assert reasons["Greedy", "4", "0, 1, 2, 3", "waiting"] == "not begun"


def test_a_record_that_cannot_be_read_spoils_nothing(site: Any) -> None:
    s = site()
    (folder := s.runs / s.cell("dgl", 2, 0).path).mkdir(parents=True)
    (folder / "record.jsonl").write_text('{"ev":"metrics","t":1}\n')
    fill(s, "backprop", 1, [10.0])
    (s.runs / s.cell("backprop", 1, 0).path / "record.jsonl").unlink()
    assert "1 of 20 cells done · 1 running" in text(s.report())


def test_stale_runs_stay_but_are_shown(site: Any) -> None:
    s = site()
    fill(s, "backprop", 1, [10.0, 10.0])
    assert "stale" not in text(s.report()).split("How to read")[0]
    fill(s, "dgl", 2, [12.0, 14.0], source="0123456789ab")
    words = text(s.report())
    assert "2 runs were made by code that was edited since" in words
    assert (
        s.row("dgl", 2)["stale"],
        s.row("dgl", 2)["error_mean"],
        s.row("backprop", 1)["stale"],
    ) == (2, 13.0, 0)


def test_the_images_are_counted_and_what_their_number_leaves_open_is_said(
    site: Any, sketched: None
) -> None:
    """A tenth of 900 images wrong: the standard deviation of the share is 1 point."""
    s = site()
    s.fill("backprop", 1, [10.0, 10.0], train_images=320, test_images=900)
    words = s.report()
    assert "fake: 320 to train on, 900 to test on" in words
    assert (
        "of 900 test images at an error of 10.0 % the standard deviation of that alone is" in words
    )
    assert "is 1.0 points" in words


def test_recipes_say_what_their_methods_are(site: Any, sketched: None) -> None:
    words = site().report()
    assert (
        "Decoupled greedy learning (Belilovsky et al., arXiv 1901.08164): every module has" in words
    )


def test_settings_that_all_grids_share_are_said_once(site: Any, sketched: None) -> None:
    grid = {"datasets": ["fake"], "networks": ["resnet8"], "recipes": ["backprop"], "seeds": 2}
    grid["modules"] = [1]
    grids = [
        grid | {"training": {"batch_size": 64, "lr": 0.1} | more}
        for more in ({"epochs": 5}, {"epochs": 9}, {})
    ]
    s = site({"sweep": "a", "grids": grids})
    words = s.report().replace("\u00a0", " ")
    said = "batch_size=64, lr=0.1, and with epochs=5 or with epochs=9 or with nothing else"
    assert f"recipes’ own with {said}" in words and words.count("batch_size=64") == 1


def test_nothing_finished_makes_a_page_that_says_so(site: Any, sketched: None) -> None:
    s = site()
    words = text(s.report())
    assert "0 of 20 cells done · 20 waiting" in words
    assert "No run has finished yet" in words
    assert list((s.root / "out/figures").iterdir()) == []


def test_the_table_is_in_the_page_and_in_latex(site: Any) -> None:
    s = site()
    fill(s, "backprop", 1, [10.0, 10.0, 10.0], exclusive=False)
    fill(s, "dgl", 2, [9.0, 9.5, 10.0])
    page = s.report()
    words = text(page)
    assert "DGL & co_1 2 ★ 9.50 ± 0.50 3 of 4 −0.50 [−1.74, +0.74] ★ 1.00× – c 1 10 25.0 %" in words
    assert "c no baseline run had the same kind and number of devices to itself" in words
    assert "A small <sweep>" in words
    assert "heads <ours>" in words
    latex = (s.root / "out/tables/headline_fake_resnet8.tex").read_text()
    assert (
        r"DGL \& co\_1 & 2 & \textbf{9.50 $\pm$ 0.50}$^{\star}$ & 3 of 4 & $-$0.50 [$-$1.74, "
        r"+0.74] & \textbf{1.00$\times$}$^{\star}$ & --$^{c}$ & 1 & 10" in latex
    )
    assert (
        latex.index(r"\toprule")
        < latex.index(r"\midrule")
        < latex.index(r"\bottomrule")
        < latex.index(r"\end{tabular}")
    )
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", latex)
    assert columns
    assert {line.count(" & ") + 1 for line in latex.splitlines() if " & " in line} == {
        len(columns[1])
    }


def built(s: Any) -> dict[str, bytes]:
    """The files of a report of whatever there is, but for the time in the page."""
    s.report()
    found = (p for p in (s.root / "out").rglob("*") if p.is_file())
    files = {str(p.relative_to(s.root / "out")): p.read_bytes() for p in found}
    return files | {"report.html": re.sub(rb"Made [^<]*", b"", files["report.html"])}


def test_the_page_stands_alone_and_same_runs_make_the_same_bytes(site: Any, drawn: None) -> None:
    s = site()
    for recipe, modules in (("backprop", 1), ("dgl", 2), ("greedy", 2), ("dgl", 4)):
        fill(s, recipe, modules, [10.0, 11.0, 12.0])
    first = built(s)
    page = first["report.html"].decode()
    assert page.count("<svg") == 6
    assert not re.search(
        r"""(src|href)=["']https?:|@import|url\(["']?(https?:|//)"""
        r"""|<script [^>]|<link|fetch\(|import\(""",
        page,
    )
    assert not re.search(r"<\?xml|<!DOCTYPE svg|<metadata", page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = re.findall(r'(?:xlink:href="|url\()#([^")]+)', page)
    assert used
    assert set(used) <= set(ids)
    assert not re.search(r'(?:href|src)="(?!#|data:)', page), "no link to another file"
    held = re.findall(r'<a download="([^"]+)" href="data:[a-z/]+;base64,([^"]+)"', page)
    beside = {name.rpartition("/")[2]: content for name, content in first.items()}
    assert all(base64.b64decode(data) == beside[name] for name, data in held)
    names = {name for name, _ in held}
    assert {"runs.csv", "headline_fake_resnet8.tex", "learning-curves_fake_resnet8.pdf"} < names
    assert "it can be sent by itself" in text(page)
    assert {p.suffix for p in (s.root / "out/figures").iterdir()} == {".svg", ".pdf"}
    assert built(s) == first


def test_an_older_report_leaves_nothing(site: Any, sketched: None) -> None:
    s = site()
    fill(s, "dgl", 2, [11.0, 12.0, 13.0])
    first = built(s)
    for old in ("learning-curves_gone_resnet8.svg", "mIoU-against-modules_gone_resnet8.pdf"):
        (s.root / "out/figures" / old).write_text("old")
    (s.root / "out/tables/mine.csv").write_text("a file of the reader's")
    assert built(s) == first | {"tables/mine.csv": b"a file of the reader's"}


def test_figures_show_the_seeds_until_there_are_three(site: Any) -> None:
    from modulewise.report import figures

    s = site()
    fill(s, "backprop", 1, [10.0, 11.0, 12.0])
    fill(s, "dgl", 2, [11.0, 12.0, 16.0])
    fill(s, "dgl", 4, [15.0, 17.0])
    s.run(s.cell("dgl", 4, 2), 80.0, status="diverged")
    f = frame.read(s.plan, s.runs)
    done = f.runs[f.runs["state"] == "done"]
    fig = figures.against_modules(done, f)
    assert fig
    (ax,) = fig.axes
    dots = [line.get_ydata() for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert [list(y) for y in dots] == [[15.0, 17.0]]
    (bar,) = ax.containers
    low, high = (line.get_ydata()[0] for line in bar.lines[1])
    half = 0.95 / (2 * 0.975 * 0.025) ** 0.5 * (7 / 3) ** 0.5
    assert (low, high) == (pytest.approx(13 - half), pytest.approx(13 + half))
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["Backprop", "DGL & co_1"]

    fig = figures.learning_curves(done, f)
    assert fig
    assert [ax.get_title() for ax in fig.axes] == ["K = 2", "K = 4"]
    thick = [list(line.get_ydata()) for line in fig.axes[1].lines if line.get_linewidth() > 1]
    assert thick == [[33.0, 22.0, 11.0], [48.0, 32.0, 16.0]]

    fig = figures.over_depth(done, f)
    assert fig
    means = [list(line.get_ydata()) for line in fig.axes[0].lines if line.get_marker() == "o"]
    assert means == [[18.0, 13.0]]


def test_curves_are_of_done_runs_and_means_of_epochs_that_all_seeds_have(site: Any) -> None:
    from modulewise.report import figures

    s = site()
    fill(s, "dgl", 2, [10.0, 20.0])
    s.run(s.cell("dgl", 2, 2), 30.0, status="diverged")
    longer = Record(s.runs / s.cell("dgl", 2, 0).path)
    longer.metrics(4, {"test_error/overall": 1.0})
    longer.write("end", status="done")
    longer.close()
    f = frame.read(s.plan, s.runs)
    assert (
        set(f.curves["path"])
        == set(f.depth["path"])
        == {s.cell("dgl", 2, seed).path for seed in (0, 1)}
    )
    fig = figures.learning_curves(f.runs[f.runs["state"] == "done"], f)
    assert fig
    (centre,) = [line for line in fig.axes[0].lines if line.get_linewidth() > 1]
    assert list(centre.get_xdata()) == [1, 2, 3]
    assert list(centre.get_ydata()) == [45.0, 30.0, 15.0]
    assert sorted(len(line.get_xdata()) for line in fig.axes[0].lines) == [3, 3, 4]


def test_the_baseline_is_the_recipe_that_does_not_cut(site: Any) -> None:
    s = site()
    s.catalog.recipes.recipes["first"] = s.catalog.recipes.recipes["backprop"]

    def baseline(*names: str) -> str | None:
        return frame.read(s.other(recipes=list(names)).plan, s.runs).baseline

    assert baseline("dgl", "first", "backprop") == "backprop"
    assert baseline("dgl", "first") == "first"
    assert baseline("dgl", "greedy") is None


def test_a_sweep_without_baseline(site: Any) -> None:
    grid = {
        "datasets": ["fake"],
        "networks": ["resnet8"],
        "recipes": ["dgl"],
        "modules": [2],
        "seeds": 2,
    }
    s = site({"sweep": "x", "grids": [grid]})
    fill(s, "dgl", 2, [11.0, 13.0])
    assert "12.00 ± 1.41" in text(s.report())
    assert s.row("dgl", 2)["gap_n"] == 0


def test_equal_labels_are_told_apart(site: Any) -> None:
    s = site()
    twin = s.catalog.recipes.recipes["greedy"].model_copy(update={"label": "DGL & co_1"})
    s.catalog.recipes.recipes["greedy"] = twin
    f = frame.read(s.plan, s.runs)
    assert f.labels == {
        "backprop": "Backprop",
        "dgl": "DGL & co_1 (dgl)",
        "greedy": "DGL & co_1 (greedy)",
    }


@pytest.mark.parametrize(
    ("number", "shown"),
    [(77_652, "77.7 k"), (466_906, "467 k"), (1.73e6, "1.73 M"), (25.5e9, "25.5 G"), (999, "999")],
)
def test_large_numbers(number: float, shown: str) -> None:
    assert tables.count(number) == shown


def test_what_latex_would_print_as_something_else() -> None:
    assert tables.escape("> 100 | a<b") == r"$>$ 100 \textbar{} a$<$b"


@pytest.mark.parametrize(
    ("number", "shown"), [(-0.001, "+0.00"), (-0.5, "−0.50"), (1.237, "+1.24")]
)
def test_signed_numbers(number: float, shown: str) -> None:
    assert tables.number(number, sign=True) == shown


def test_how_to_train_a_cell_again(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the workflow says, which knows its command; made by hand, one that is whole too."""
    s = site()
    assert "Settings recipes’ own Results" in text(s.report())
    assert "Settings recipes’ own with epochs=9 " in text(s.other(training={"epochs": 9}).report())
    monkeypatch.chdir(s.root)
    words = ("--sweep", "sweep.yaml", "--runs", "runs", "--out", "out")
    assert invoke(*words).exit_code == 0
    page = html.unescape((s.root / "out/report.html").read_text())
    assert (
        "snakemake --profile profiles/local --configfile sweep.yaml --forcerun "
        f"'runs/{s.plan.cells[0].path}/result.json'" in page
    )
    monkeypatch.setenv("MODULEWISE_RERUN", "snakemake --profile slurm --forcerun 'x<y'")
    assert invoke(*words).exit_code == 0
    page = html.unescape((s.root / "out/report.html").read_text())
    assert "<pre>snakemake --profile slurm --forcerun 'x<y'</pre>" in page


def invoke(*words: object) -> Any:
    return CliRunner().invoke(app, ["report", *map(str, words)])


def test_command_line(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s = site()
    fill(s, "backprop", 1, [10.0])
    monkeypatch.chdir(s.root)
    answer = invoke("--sweep", "sweep.yaml", "--runs", "runs")
    assert answer.exit_code == 0, answer.output
    assert answer.output.splitlines()[-1] == "results/reports/small/report.html"
    answer = invoke(
        "--sweep", s.root / "sweep.yaml", "--runs", s.runs, "--out", "there", "--root", s.root
    )
    assert answer.output.splitlines()[-1] == "there/report.html"
    pd.testing.assert_frame_equal(
        pd.read_csv("there/tables/headline_fake_resnet8.csv"),
        pd.read_csv("results/reports/small/tables/headline_fake_resnet8.csv"),
    )


def test_command_line_errors_are_one_line(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s = site()
    monkeypatch.chdir(s.root)
    Path("file").write_text("in the way")
    for words, message in (
        (("--sweep", "none.yaml"), "none.yaml: No such file"),
        (("--sweep", "sweep.yaml", "--out", "file"), "file"),
    ):
        error = invoke(*words).exception
        assert isinstance(error, InvalidInput)
        assert message in str(error)
        assert "\n" not in str(error)
