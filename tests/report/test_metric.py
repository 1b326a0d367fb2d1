"""A primary metric other than test error: its name stands everywhere, its direction decides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from modulewise.errors import InvalidInput
from modulewise.report import across, figures, frame, fronts, tables
from modulewise.report.naming import named
from modulewise.runs.result import PrimaryMetric

MIOU = PrimaryMetric(name="mIoU", label="mIoU", unit="%", direction="higher")
NATS = PrimaryMetric(name="loss", label="test loss", unit="", direction="lower")
GRID: dict[str, Any] = {
    "datasets": ["fake"],
    "networks": ["resnet8"],
    "recipes": ["backprop", "dgl", "greedy"],
    "modules": [2, 4, 8],
    "seeds": 3,
}
HEADER = (
    "dataset,network,recipe,modules,metric,value,spread,spread_kind,n,selection,epochs,split,"
    "tolerance,source,note"
)
THEIRS = "fake,resnet8,{},test_mIoU,{},0.2,sd,5,last,3,test,0.5,a paper,"
EXHIBIT = {"title": "Table 1", "sources": ["a paper"], "rows": ["recipe", "modules"]}


def with_runs(site: Any, **sweep: Any) -> Any:
    """A sweep on one data set whose metric is mIoU: DGL is worse than the baseline at K = 2 and
    better at K = 4 and 8."""
    s = site({"sweep": "x", "grids": [GRID], **sweep})
    s.metrics["fake"] = MIOU
    s.fill("backprop", 1, [70.0, 71.0, 72.0])
    s.fill("dgl", 2, [68.9, 70.0, 71.1])
    s.fill("dgl", 4, [80.0, 80.1, 80.2])
    s.fill("dgl", 8, [75.0, 75.1, 75.2])
    return s


def test_the_page_has_the_words_of_the_metric_alone(site: Any, sketched: None) -> None:
    s = with_runs(site, exhibit=EXHIBIT | {"metrics": ["test_mIoU", "memory_gb"]})
    (s.root / "config/references.csv").write_text(
        "\n".join([HEADER, THEIRS.format("dgl,2", 75), THEIRS.format("dgl,4", 75)]) + "\n"
    )
    words = s.words()
    for other in ("standard error", "without an error", "with an error"):
        words = words.replace(other, "")
    assert "error" not in words.lower()
    assert (
        "Recipe K mIoU, % n Gap to Backprop, points [95 %] Memory Step time Horizon"
        in words.replace("\u00a0", " ")
    )
    assert "in mIoU, in percentage points (below zero: worse)" in words
    for caption in (
        "mIoU of the last epoch against the number of modules K",
        "mIoU against peak memory while training",
        "none has both a higher mIoU and less memory",
        "mIoU after every epoch",
        "mIoU of every module’s own head",
        "the share of runs whose mIoU is at least so many times the mean mIoU of Backprop",
    ):
        assert caption in words
    assert s.row("dgl", 2)["gap_mean"] == pytest.approx(-1.0)
    assert s.row("dgl", 2)["mIoU_mean"] == pytest.approx(70.0)
    for folder in ("tables", "figures"):
        for path in (s.root / "out" / folder).iterdir():
            assert "error" not in path.name
            assert path.suffix == ".pdf" or "error" not in path.read_text()
    assert list(s.table("exhibit")["metric"].unique()) == ["test_mIoU", "memory_gb"]


@pytest.mark.parametrize(
    ("published", "verdict"), [(60.0, "better"), (80.0, "worse"), (70.5, "reproduced")]
)
def test_the_direction_decides_the_verdict(site: Any, published: float, verdict: str) -> None:
    s = site({"sweep": "x", "grids": [GRID]})
    s.metrics["fake"] = MIOU
    other = THEIRS.format("dgl,4", 75).replace("mIoU", "error")
    (s.root / "config/references.csv").write_text(
        "\n".join([HEADER, THEIRS.format("dgl,2", published), other]) + "\n"
    )
    s.fill("dgl", 2, [70.19, 70.2, 70.21])
    s.report()
    (row,) = s.table("published_fake_resnet8").to_dict("records")
    assert (row["verdict"], row["mIoU_mean"]) == (verdict, pytest.approx(70.2))
    assert row["difference"] == pytest.approx(70.2 - published)
    page = s.words()
    assert ("inside the tolerance, yet worse" in page) == (verdict == "reproduced")


def test_the_front_is_of_the_higher_values(site: Any) -> None:
    s = site({"sweep": "x", "grids": [GRID]})
    s.metrics["fake"] = MIOU
    s.fill("backprop", 1, [70.0], peak_memory_bytes=4 * 2**20)
    s.fill("dgl", 2, [60.0], peak_memory_bytes=2 * 2**20)
    s.fill("dgl", 4, [50.0], peak_memory_bytes=3 * 2**20)
    s.fill("greedy", 2, [30.0], peak_memory_bytes=2**20)
    f = frame.read(s.plan, s.runs)
    done = f.runs[f.runs["state"] == "done"]
    fig = fronts.against_memory(done, f)
    assert fig
    (front,) = [line for line in fig.axes[0].lines if line.get_drawstyle() == "steps-post"]
    assert list(front.get_ydata()) == [30.0, 60.0, 70.0]
    assert fig.axes[0].get_ylabel() == "mIoU, %"
    curves = figures.learning_curves(done, f)
    assert curves
    assert curves.axes[0].get_ylabel() == "mIoU, %"
    assert curves.axes[0].get_yscale() == "linear"
    assert set(f.curves.loc[f.curves["epoch"] == 3, "value"]) == {70.0, 60.0, 50.0, 30.0}


def test_improvement_and_profiles_of_higher_values() -> None:
    """The same as of lower values turned around."""
    place = ("fake", "resnet8", "")
    own = {(place, 2): np.array([1.0, 2.0, 3.0]), (place, 4): np.array([2.0, 4.0, 6.0])}
    own[place, 8] = np.array([4.0, 4.0, 9.0])
    found = across.Tasks({"r": own}, {place: np.array([2.0, 3.0, 4.0])}, MIOU)
    (row,) = across.improvement(found).to_dict("records")
    wins = [0 + 0.5 + 1.5, 0.5 + 2.5 + 3, 2.5 + 2.5 + 3]  # of nine pairs each
    assert row["probability"] == pytest.approx(np.mean(wins) / 9)
    shares, _, _ = across.profile(found, "r", list(own), np.array([0.1, 1.0, 2.0, 9.0]))
    assert shares == pytest.approx([1, (1 / 3 + 2 / 3 + 1) / 3, (0 + 1 / 3 + 1 / 3) / 3, 0])


@pytest.fixture
def mixed(site: Any) -> Any:
    """Two data sets, one of test error and one of mIoU."""
    exhibit = EXHIBIT | {"rows": ["dataset", "recipe", "modules"], "sources": []}
    exhibit |= {"metrics": ["test_error", "test_mIoU"]}
    grid = GRID | {"datasets": ["fake", "pixels"]}
    s = site({"sweep": "x", "grids": [grid], "exhibit": exhibit})
    s.metrics["pixels"] = MIOU
    for recipe, modules, error in (("backprop", 1, 10.0), *(("dgl", k, 9.0) for k in (2, 4, 8))):
        s.fill(recipe, modules, [error, error + 0.5, error + 1.0], "fake")
        s.fill(recipe, modules, [70 + error, 70.5 + error, 71 + error], "pixels")
    return s


def test_data_sets_of_different_metrics_are_not_mixed(mixed: Any, sketched: None) -> None:
    words = mixed.words().replace("\u00a0", " ")
    assert {"error_mean"} == {c for c in mixed.table() if c.endswith(("error_mean", "mIoU_mean"))}
    assert "mIoU_mean" in mixed.table("headline_pixels_resnet8")
    runs = mixed.table("runs").dropna(subset=["error", "mIoU"], how="all")
    assert set(runs.loc[runs["error"].notna(), "dataset"]) == {"fake"}
    assert set(runs.loc[runs["mIoU"].notna(), "dataset"]) == {"pixels"}
    # DGL has less of both: better of the one, worse of the other
    (less,) = mixed.table("across_error").to_dict("records")
    (more,) = mixed.table("across_mIoU").to_dict("records")
    assert (less["tasks"], more["tasks"]) == (3, 3)
    assert less["probability"] + more["probability"] == pytest.approx(1)
    assert less["probability"] > 0.5
    assert "P(lower test error than Backprop)" in words and "P(higher mIoU than Backprop)" in words
    assert "Test error, mIoU are those of the last epoch" in words.replace(" ,", ",")
    assert "in test error, in percentage points (above zero: worse), or in mIoU" in words
    names = {path.name for path in (mixed.root / "out/figures").iterdir()}
    assert {"error-against-modules_fake_resnet8.svg", "mIoU-over-depth_pixels_resnet8.svg"} <= names
    assert {"performance-profiles_error.svg", "performance-profiles_mIoU.svg"} <= names


def test_an_exhibit_has_a_column_per_metric(mixed: Any) -> None:
    words = mixed.words().replace("\u00a0", " ")
    assert (
        "Test error, % mIoU, % Horizon Helpers’ parameters Helpers’ FLOPs fake Backprop 1 10.50"
        in words
    )
    assert "fake Backprop 1 10.50 ± 0.50 (3) all 0 0.0 % fake DGL" in words
    assert "pixels Backprop 1 80.50 ± 0.50 (3) all 0 0.0 %" in words
    found = mixed.table("exhibit")
    assert set(found.loc[found["metric"] == "test_mIoU", "dataset"]) == {"pixels"}


def test_an_exhibit_of_a_metric_that_no_data_set_has_is_refused(site: Any) -> None:
    s = site({"sweep": "x", "grids": [GRID], "exhibit": EXHIBIT | {"metrics": ["test_mIou"]}})
    assert "mIou" in s.words(), "before the first result nobody knows"
    s.metrics["fake"] = MIOU
    s.fill("dgl", 2, [70.0])
    with pytest.raises(InvalidInput, match="unknown metric 'test_mIou'"):
        s.report()


def test_a_run_of_another_metric_than_its_data_set_is_damaged(site: Any) -> None:
    s = site({"sweep": "x", "grids": [GRID]})
    s.fill("backprop", 1, [10.0])
    s.metrics["fake"] = MIOU
    s.fill("dgl", 2, [70.0])
    assert "1 damaged" in s.words()
    assert s.row("dgl", 2)["n"] == 0


def test_a_plain_number_has_no_unit_and_four_decimals(site: Any) -> None:
    s = site({"sweep": "x", "grids": [GRID]})
    s.metrics["fake"] = NATS
    s.fill("backprop", 1, [0.5, 0.52, 0.51])
    s.fill("dgl", 2, [0.51234, 0.53, 0.52])
    words = s.words().replace("\u00a0", " ")
    assert "Test loss n Gap to Backprop [95 %]" in words
    assert "0.5100 ± 0.0100 3 –" in words
    assert "+0.0108 [" in words
    assert "in test loss (above zero: worse)" in words
    assert s.row("dgl", 2)["loss_mean"] == pytest.approx(0.52078)


def test_names_of_columns() -> None:
    rows = pd.DataFrame({"dataset": ["a", "b"], "value": [1.0, 2.0], "value_best": [3.0, 4.0]})
    metrics = {"a": PrimaryMetric(), "b": MIOU}
    both = named(rows.assign(published_value=5.0), metrics.__getitem__)
    assert list(both) == ["dataset", "error", "mIoU", "error_best", "mIoU_best", "published_value"]
    assert tables.to_csv(both) == (
        b"dataset,error,mIoU,error_best,mIoU_best,published_value\n"
        b"a,1.0,,3.0,,5.0\nb,,2.0,,4.0,5.0\n"
    )
