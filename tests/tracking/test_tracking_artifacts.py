"""What hangs on a run in MLflow beside its numbers: learning curves, the sweep's report. And stores
that cannot be used."""

from __future__ import annotations

import math
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mirrored_runs import begin, cell_of, finish, values_of, whole

from modulewise.runs import record
from modulewise.runs.state import run_state
from modulewise.tracking import mirror, plot, reports
from modulewise.tracking import store as store_module
from modulewise.tracking.view import Wanted, wanted

mlflow = pytest.importorskip("mlflow")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("store")
    return f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts"


def artifact(uri: str, experiment: str, name: str, into: Path) -> bytes:
    """Content of an artifact of the only run of an experiment."""
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return Path(client.download_artifacts(run.info.run_id, name, str(into))).read_bytes()


def test_learning_curves_are_drawn_once_and_at_the_end(
    tmp_path: Path, store: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Wanted] = []
    draw = plot.learning
    monkeypatch.setattr(plot, "learning", lambda want: drawn.append(want) or draw(want))
    runs, cell = tmp_path / "runs", cell_of("curves")
    log, folder = begin(cell, runs)
    for epoch in (1, 2, 3, 4):
        log.metrics(epoch, values_of(cell, epoch))
        log.commit(epoch)
        mirror.mirror(runs, *store)
    assert not drawn
    finish(cell, log, folder)
    for _ in range(2):
        mirror.mirror(runs, *store)
        os.utime(folder / record.FILE)
    assert len(drawn) == 1 and len(drawn[0].points) > 16
    picture = artifact(store[0], "modulewise-curves", "plots/learning.png", tmp_path)
    assert picture.startswith(b"\x89PNG") and len(picture) < 100_000


@pytest.mark.parametrize("modules", [1, 2, 16])
def test_any_run_can_be_drawn(tmp_path: Path, modules: int) -> None:
    cell = cell_of("curves", modules=modules)
    want = wanted(whole(cell, tmp_path), run_state(cell, tmp_path))
    assert want is not None
    strange = [
        ("test_error/overall", 5, math.nan, 0),
        ("train_loss/module_0", 5, 1.7e308, 0),
        ("train_loss/other", 1, 1.0, 0),
    ]
    for points in (want.points, want.points + strange, want.points[:1], []):
        assert plot.learning(replace(want, points=points)).startswith(b"\x89PNG")


def test_a_report_is_attached_and_sent_again_when_it_changes(
    tmp_path: Path, store: tuple[str, Path]
) -> None:
    runs, page = tmp_path / "runs", tmp_path / "reports" / "spring" / "report.html"
    runs.mkdir()
    page.parent.mkdir(parents=True)
    said: list[str] = []
    for text in ("first", "first", "second, longer", "second, longer"):
        if not page.exists() or page.read_text() != text:
            page.write_text(text)
        said.append(str(mirror.mirror(runs, *store)).partition("0 failed")[2])
        assert (
            artifact(store[0], "modulewise-reports", "report/report.html", tmp_path).decode()
            == text
        )
    assert said == [", reports sent: 1", "", ", reports sent: 1", ""]
    (page.parent / mirror.PIN).unlink()
    assert mirror.mirror(runs, *store).reports == 1, "without its pin the same run is found again"
    assert artifact(store[0], "modulewise-reports", "report/report.html", tmp_path)
    links = reports.link(mirror.open_store(*store), "http://127.0.0.1:5000")
    assert list(links) == ["spring"] and links["spring"].partition("?")[0].endswith(
        "/artifacts/report/report.html"
    )


def test_the_whole_folder_of_a_report_is_in_the_store(tmp_path: Path) -> None:
    """What a page links to lies beside it there too; only what changed is sent again."""
    store = f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts"
    (tmp_path / "runs").mkdir()
    folder, sent = tmp_path / "reports" / "whole", tmp_path / "artifacts"
    files = {
        "plan.json": "[]",
        "answer.json": "[]",
        "probe.html": "the study",
        "tables/runs.csv": "a,b",
        "tables/headline_a b_%.tex": "&",
        "figures/error.svg": "<svg/>",
        "figures/error.pdf": "%PDF",
        "report.html": '<a href="tables/runs.csv">CSV</a> <img src="figures/error.svg">',
    }
    own = {"tables/mine.xlsx": "a user's own", "mine.html": "likewise"}
    for name, content in (files | own).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    def held() -> dict[str, Path]:
        assert mirror.mirror(tmp_path / "runs", *store).reports == 1
        (top,) = sent.rglob("report")
        return {str(p.relative_to(top)): p for p in top.rglob("*") if p.is_file()}

    found = held()
    assert {name: p.read_text() for name, p in found.items()} == files
    for link in re.findall(r'(?:href|src)="([^"]+)"', found["report.html"].read_text()):
        assert (found["report.html"].parent / link).is_file()
    for name in found:
        os.utime(found[name], (1, 1))
    (folder / "report.html").write_text("made again")
    (folder / "tables/runs.csv").write_text("a,b,c")
    again = held()
    assert again.keys() == found.keys() and again["tables/runs.csv"].read_text() == "a,b,c"
    assert {name for name, p in again.items() if p.stat().st_mtime > 1} == {
        "report.html",
        "tables/runs.csv",
    }


def test_a_report_that_cannot_be_read_is_named_and_the_runs_go_on(
    tmp_path: Path, store: tuple[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    whole(cell_of("beside"), tmp_path / "runs")
    (tmp_path / "reports" / "bad" / "report.html").mkdir(parents=True)
    counts = mirror.mirror(tmp_path / "runs", *store)
    assert (counts.new, counts.failed, counts.reports) == (1, 1, 0)
    (line,) = caplog.messages
    assert "bad/report.html not sent: " in line


def test_runs_mirrored_by_an_older_version_are_brought_up_to_date(
    tmp_path: Path, store: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole(cell_of("older"), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(mirror, "SCHEMA", 1)
        patch.setattr("modulewise.tracking.view._summary", lambda made: {"cost/train_seconds": 1.0})
        mirror.mirror(tmp_path, *store)
    assert mirror.mirror(tmp_path, *store).new == 1, "it held what this version does not send"
    client = mlflow.MlflowClient(store[0])
    (run,) = client.search_runs([client.get_experiment_by_name("modulewise-older").experiment_id])
    assert (
        not [n for n in run.data.metrics if n.startswith("cost/")]
        and run.data.metrics["usage/train_seconds"] == 12.5
    )


def test_a_local_store_that_was_moved_says_so(tmp_path: Path, store: tuple[str, Path]) -> None:
    """Its artifacts would go on to the old place."""
    whole(cell_of("moved"), tmp_path / "here" / "runs")
    mirror.mirror(tmp_path / "here" / "runs", *store)
    place = tmp_path / "here" / "mlflow"
    place.mkdir()
    shutil.copy(store[0].removeprefix("sqlite:///"), place)
    with pytest.raises(mirror.Unreachable) as caught:
        mirror.mirror(tmp_path / "here" / "runs", *mirror.address(tmp_path / "here" / "runs"))
    old = Path(store[0].removeprefix("sqlite:///")).parent
    assert str(caught.value).endswith(f"it was made as {old}; delete {place}, it is filled again")


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("HTTPConnectionPool: Max retries exceeded with url: /api", "no answer"),
        (
            "API request to endpoint /api/2.0 failed with error code 401 != 200. Response body: "
            "'You are not authenticated.'",
            "user name or password refused; MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD "
            "hold them",
        ),
        (
            "API request to /x failed with error code 403 != 200. Response body: 'Permission "
            "denied'",
            "not allowed: Permission denied",
        ),
        (
            "could not connect to postgresql://me:se@cret@db/x",
            "could not connect to postgresql://***@db/x",
        ),
        ("a\n b" + "c" * 300, "a b" + "c" * 194 + "..."),
        ("", "Exception"),
    ],
)
def test_errors_are_one_line_and_keep_secrets(said: Any, line: str) -> None:
    assert store_module.one_line(Exception(said)) == line
