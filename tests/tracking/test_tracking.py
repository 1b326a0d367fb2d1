"""MLflow equals the run folders, point by point, whatever happens on the way. Against a real
MLflow."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mirrored_runs import (
    EPOCHS,
    assert_equal,
    begin,
    cell_of,
    finish,
    points_of,
    runs_of,
    values_of,
    whole,
)

from modulewise.config.cell import Cell
from modulewise.runs import record
from modulewise.runs.record import Record
from modulewise.tracking import mirror, views
from run_folders import ledger, submitted, submitting

mlflow = pytest.importorskip("mlflow")


def test_a_finished_run_as_a_whole(tmp_path: Path, store: tuple[str, Path], dataset: str) -> None:
    cell = cell_of(dataset, lr=0.05)
    folder = whole(cell, tmp_path)
    counts = mirror.mirror(tmp_path, *store, sweep="demo")
    (run,) = runs_of(store[0], dataset)
    assert_equal(store[0], run, folder)
    said = record.read(folder)
    assert (counts.runs, counts.new, counts.failed) == (1, 1, 0)
    assert counts.points == sum(map(len, points_of(store[0], run).values())) > len(said.metrics)
    assert run.info.run_name == "greedy-sgd-K2-s0"
    assert (run.info.status, run.info.start_time, run.info.end_time) == (
        "FINISHED",
        said.starts[0]["t"],
        said.end["t"],
    )
    params = {
        "recipe": "greedy-sgd",
        "method": "dgl",
        "modules": "2",
        "seed": "0",
        "training.lr": "0.05",
    }
    params |= {"training.epochs": "4", "training.momentum": "0.9", "options.head": "1c2f"}
    assert params.items() <= run.data.params.items()
    assert not [k for k in run.data.params if k.startswith("data.")]
    tags = {
        "run.key": f"modulewise/{dataset}/resnet20/greedy-sgd/K2/s0/{cell.id}",
        "K": "2",
        "sweep": "demo",
    }
    tags |= {
        "status": "done",
        "host": "node7",
        "attempts": "1",
        "source": "fedcba",
        "device": "a CPU",
    }
    tags |= {
        "mlflow.user": folder.owner(),
        "mlflow.source.name": "modulewise train",
        "mlflow.source.git.commit": "0123456789ab",
    }
    assert tags.items() <= run.data.tags.items()
    assert "slurm.job_id" not in run.data.tags
    assert run.data.tags["images"] == "0123abcd"
    assert (
        "12.50 %" in run.data.tags["mlflow.note.content"]
        and "3 MiB" in run.data.tags["mlflow.note.content"]
    )
    assert all("/" in name for name in run.data.metrics), "without a slash a chart has no section"
    assert (
        run.data.metrics["test_error/last"] == 12.5
        and run.data.metrics["usage/peak_memory_bytes"] == 3 * 2**20
    )
    client = mlflow.MlflowClient(store[0])
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {
        "cell.json",
        "result.json",
        "train.log",
        "plots",
    }
    (images,) = run.inputs.dataset_inputs
    assert (images.dataset.name, images.dataset.digest) == (dataset, "0123abcd")
    assert images.dataset.source == '{"source": "digits"}'
    place = run.info.experiment_id
    assert [r.info.run_id for r in client.search_runs([place], f"dataset.name = '{dataset}'")] == [
        run.info.run_id
    ]
    assert client.search_runs([place], "dataset.digest = 'another'") == []
    got = client.download_artifacts(run.info.run_id, "cell.json", str(tmp_path))
    assert Cell.model_validate_json(Path(got).read_text()) == cell


def test_names_sort_so_that_the_error_after_the_last_epoch_is_the_first_chart(
    tmp_path: Path, store: tuple[str, Path], dataset: str
) -> None:
    """MLflow sorts by section, then by name."""
    cell = cell_of(dataset)
    log, folder = begin(cell, tmp_path)
    for epoch in range(1, EPOCHS + 1):
        values = values_of(cell, epoch)
        more = {"test_error/best": values["test_error/overall"], "memory/peak_mib": 3.0}
        log.metrics(epoch, values | more)
        log.commit(epoch)
    finish(cell, log, folder)
    mirror.mirror(tmp_path, *store)
    (run,) = runs_of(store[0], dataset)
    names = sorted(run.data.metrics, key=lambda name: name.split("/"))
    assert names[:4] == [
        "test_error/last",
        "test_error/module_0",
        "test_error/overall",
        "test_error/overall_best",
    ]
    assert run.data.metrics["test_error/last"] == run.data.metrics["test_error/overall"]


def test_an_experiment_has_a_list_and_charts_made_for_it(
    tmp_path: Path, store: tuple[str, Path], dataset: str
) -> None:
    whole(cell_of(dataset), tmp_path)
    mirror.mirror(tmp_path, *store)
    client = mlflow.MlflowClient(store[0])
    tags = client.get_experiment_by_name(f"modulewise-{dataset}").tags
    shown, charts = (
        json.loads(tags[f"mlflow.sharedViewState.{view}"]) for view in (views.LIST, views.CHARTS)
    )
    assert shown["selectedColumns"][:4] == [
        "metrics.`test_error/last`",
        "params.`recipe`",
        "params.`modules`",
        "params.`seed`",
    ]
    assert shown["orderByAsc"] and shown["orderByKey"] == "metrics.`test_error/last`"
    (run,) = runs_of(store[0], dataset)
    for key in charts["groupBy"]["groupByKeys"]:
        assert key["mode"] == "param" and key["groupByData"] in run.data.params


def test_a_second_pass_sends_nothing(
    tmp_path: Path, store: tuple[str, Path], dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        whole(cell_of(dataset, seed=seed), tmp_path)
    assert mirror.mirror(tmp_path, *store).new == 3
    before = {r.info.run_id: points_of(store[0], r) for r in runs_of(store[0], dataset)}

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("an unchanged run was looked into")

    with monkeypatch.context() as patch:
        patch.setattr("modulewise.tracking.mirror.wanted", refuse)
        assert (
            str(mirror.mirror(tmp_path, *store))
            == "tracked 3 runs: 0 new, 0 metrics sent, 3 unchanged, 0 failed"
        )
    for path in tmp_path.rglob(mirror.PIN):
        path.unlink()
    assert str(mirror.mirror(tmp_path, *store)).startswith(
        "tracked 3 runs: 0 new, 0 metrics sent, "
    )
    assert {r.info.run_id: points_of(store[0], r) for r in runs_of(store[0], dataset)} == before


def test_a_requeued_run_is_one_run_and_rewritten_epochs_are_not_doubled(
    tmp_path: Path, store: tuple[str, Path], dataset: str
) -> None:
    cell = cell_of(dataset)
    log, folder = begin(cell, tmp_path, slurm_job="7")
    for epoch in (1, 2, 3):
        log.metrics(epoch, values_of(cell, epoch))
        if epoch == 2:
            log.commit(2)
    mirror.mirror(tmp_path, *store)
    (run,) = runs_of(store[0], dataset)
    assert run.info.status == "RUNNING" and {step for _, step in points_of(store[0], run)} == {1, 2}

    log, folder = begin(
        cell, tmp_path, slurm_job="8"
    )  # killed in epoch 4: epoch 3 comes again, with other values
    for epoch in (3, 4):
        log.metrics(epoch, values_of(cell, epoch, shift=1.0))
    log.commit(4)
    finish(cell, log, folder)
    mirror.mirror(tmp_path, *store)
    (again,) = runs_of(store[0], dataset)
    assert_equal(store[0], again, folder)
    assert (
        points_of(store[0], again)["test_error/overall", 3][0][0]
        == values_of(cell, 3, 1.0)["test_error/overall"]
    )
    assert again.info.run_id == run.info.run_id and again.info.status == "FINISHED"
    assert again.data.tags["attempts"] == "2" and again.data.tags["slurm.job_id"] == "8"


def test_torn_lines_are_skipped(tmp_path: Path, store: tuple[str, Path], dataset: str) -> None:
    cell = cell_of(dataset)
    log, folder = begin(cell, tmp_path)
    log.metrics(1, values_of(cell, 1))
    log.commit(1)
    with (folder / record.FILE).open("a") as f:
        f.write('{"ev":"metrics","t":1,"epo')
    assert mirror.mirror(tmp_path, *store).failed == 0
    log, folder = begin(cell, tmp_path)
    log.metrics(
        2, values_of(cell, 2) | {"train_loss/module_0": math.inf, "train_loss/module_1": math.nan}
    )
    log.commit(2)
    assert mirror.mirror(tmp_path, *store).failed == 0 and record.read(folder).torn == 1
    (run,) = runs_of(store[0], dataset)
    points = points_of(store[0], run)
    assert points["test_error/overall", 2][0][0] == 25 and len(points) == 9
    assert points["train_loss/module_0", 2][0][0] == sys.float_info.max and math.isnan(
        points["train_loss/module_1", 2][0][0]
    )
    (folder / mirror.PIN).unlink()
    assert mirror.mirror(tmp_path, *store).points == 0, "not even the infinite ones are sent twice"


def test_a_diverged_run_is_failed_and_trained_again_replaced(
    tmp_path: Path, store: tuple[str, Path], dataset: str
) -> None:
    cell = cell_of(dataset)
    log, folder = begin(cell, tmp_path)
    log.metrics(1, values_of(cell, 1))
    finish(cell, log, folder, "diverged", 1)
    mirror.mirror(tmp_path, *store)
    (run,) = runs_of(store[0], dataset)
    assert_equal(store[0], run, folder)
    assert run.info.status == "FAILED" and run.data.tags["reason"] == "the run diverged"

    (folder / "result.json").unlink()  # trained again: what was final is not
    log, folder = begin(cell, tmp_path)
    for epoch in range(1, EPOCHS + 1):
        log.metrics(epoch, values_of(cell, epoch, shift=2.0))
    finish(cell, log, folder)
    mirror.mirror(tmp_path, *store)
    (again,) = runs_of(store[0], dataset)
    assert_equal(store[0], again, folder)
    assert again.info.status == "FINISHED" and again.info.run_id != run.info.run_id


def test_duplicates_with_the_same_tag(
    tmp_path: Path, store: tuple[str, Path], dataset: str
) -> None:
    folder = whole(cell_of(dataset), tmp_path)
    mirror.mirror(tmp_path, *store)
    (run,) = runs_of(store[0], dataset)
    client = mlflow.MlflowClient(store[0])
    where, key = run.info.experiment_id, {"run.key": run.data.tags["run.key"]}
    copy = client.create_run(
        where, start_time=run.info.start_time, tags=key
    )  # as a lost reply leaves it
    other = client.create_run(
        where, start_time=run.info.start_time + 1, tags=key
    )  # a colleague's run of the same cell
    os.utime(folder / record.FILE)
    assert mirror.mirror(tmp_path, *store).points == 0
    assert {r.info.run_id for r in runs_of(store[0], dataset)} == {
        run.info.run_id,
        other.info.run_id,
    }
    (folder / mirror.PIN).unlink()
    client.restore_run(copy.info.run_id)
    assert mirror.mirror(tmp_path, *store).points == 0, "without its pin the fuller one is taken"
    assert_equal(store[0], client.get_run(run.info.run_id), folder)


def test_what_was_deleted_comes_back(tmp_path: Path, store: tuple[str, Path], dataset: str) -> None:
    folders = [whole(cell_of(dataset, seed=s), tmp_path) for s in range(2)]
    mirror.mirror(tmp_path, *store)
    client, found = mlflow.MlflowClient(store[0]), runs_of(store[0], dataset)
    client.delete_run(found[0].info.run_id)
    assert mirror.mirror(tmp_path, *store).new == 1
    client.delete_experiment(found[0].info.experiment_id)
    assert mirror.mirror(tmp_path, *store).failed == 0
    runs = sorted(runs_of(store[0], dataset), key=lambda r: r.data.tags["seed"])
    for run, folder in zip(runs, folders, strict=True):
        assert_equal(store[0], run, folder)


def test_a_deleted_store_is_filled_again_and_switching_stores_works(
    tmp_path: Path, store: tuple[str, Path], dataset: str
) -> None:
    """The second store stands for the one that was deleted: to the run folders it is as empty."""
    folder = whole(cell_of(dataset), tmp_path / "runs")
    mirror.mirror(tmp_path / "runs", *store)
    fresh = mirror.address(tmp_path / "runs")
    assert fresh == (f"sqlite:///{tmp_path}/mlflow/mlflow.db", tmp_path / "mlflow" / "artifacts")
    assert mirror.mirror(tmp_path / "runs", *fresh).new == 1
    for uri, _ in (fresh, store):
        (run,) = runs_of(uri, dataset)
        assert_equal(uri, run, folder)
    for back in (store, fresh):
        assert str(mirror.mirror(tmp_path / "runs", *back)).endswith(
            "0 new, 0 metrics sent, 1 unchanged, 0 failed"
        )


@pytest.mark.parametrize("replaced", [False, True])
def test_a_store_deleted_while_following(
    tmp_path: Path, store: tuple[str, Path], dataset: str, replaced: bool
) -> None:
    """The process would go on writing to a file that has no name any more."""
    whole(cell_of(dataset), tmp_path)
    file = Path(store[0].removeprefix("sqlite:///"))
    passes = mirror.passes(tmp_path, *store)
    assert [next(passes).new, next(passes).unchanged] == [1, 1]
    file.rename(file.with_suffix(".away"))
    try:
        if replaced:
            file.write_bytes(file.with_suffix(".away").read_bytes())
        with pytest.raises(mirror.StoreDeleted, match=r"mlflow\.db was deleted; start again"):
            next(passes)
    finally:
        file.with_suffix(".away").rename(file)


def test_one_bad_run_does_not_stop_the_others(
    tmp_path: Path, store: tuple[str, Path], dataset: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = whole(cell_of(dataset, seed=0), tmp_path), whole(cell_of(dataset, seed=1), tmp_path)
    (bad / record.FILE).write_text('{"ev":"start","t":1}\n')
    Record(tmp_path / "empty").close()
    counts = mirror.mirror(tmp_path, *store)
    assert (counts.runs, counts.new, counts.failed, counts.unchanged) == (3, 1, 1, 1)
    (line,) = caplog.messages
    assert line.startswith(f"{bad.relative_to(tmp_path)} not sent: ") and "\n" not in line
    (run,) = runs_of(store[0], dataset)
    assert_equal(store[0], run, good)


def test_a_state_that_changes_without_a_file_is_sent(
    tmp_path: Path, store: tuple[str, Path], dataset: str
) -> None:
    """A process is killed, a job is submitted again: no file of the run says so."""
    cell, runs = cell_of(dataset), tmp_path / "runs"
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    log, folder = begin(cell, runs, host=socket.gethostname(), pid=sleeper.pid)
    log.close()

    def shown() -> tuple[str, str]:
        assert mirror.mirror(runs, *store).failed == 0
        (run,) = runs_of(store[0], dataset)
        return run.data.tags["status"], run.info.status

    assert shown() == ("running", "RUNNING")
    sleeper.communicate(b"\n")
    assert shown() == ("stopped", "KILLED")
    again = 1000 + record.read(folder).starts[-1]["t"] / 1000
    ledger(runs, submitting("a", [cell], again), submitted("a", "7", t=again))
    assert shown() == ("queued", "SCHEDULED")
    assert mirror.mirror(runs, *store).unchanged == 1
    (folder / "result.json").write_text("{")
    assert shown() == ("damaged", "FAILED")


def test_the_sweep_is_that_of_the_first_who_names_it(
    tmp_path: Path, store: tuple[str, Path], dataset: str
) -> None:
    whole(cell_of(dataset), tmp_path)
    for name, expected in ((None, None), ("first", "first"), ("second", "first")):
        mirror.mirror(tmp_path, *store, sweep=name)
        assert runs_of(store[0], dataset)[0].data.tags.get("sweep") == expected


def test_without_mlflow_it_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from modulewise.cli import app

    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setattr(sys, "argv", ["modulewise", "track", "--runs", str(tmp_path)])
    with pytest.raises(SystemExit) as left:
        app.main()
    assert (
        left.value.code == 2
        and capsys.readouterr().err
        == "error: MLflow is not installed: pip install 'modulewise[mlflow]'\n"
    )
