"""MLflow made equal to the run folders. It holds nothing of its own and can be deleted at any time.

A run is found again by the run ids kept in its folder, else by its key and start time. Only points
that can no longer change are sent, because MLflow cannot remove a point; a run that contradicts
its record all the same (trained again after it had ended) is deleted there and made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from modulewise.errors import InvalidInput
from modulewise.runs import jobs, record, result
from modulewise.runs.files import CELL
from modulewise.runs.state import ENDED, RunState, path_state
from modulewise.tracking import plot, reports, views
from modulewise.tracking.store import (
    PIN,
    STORES_REMEMBERED,
    Store,
    StoreDeleted,
    Unreachable,
    address,
    attach,
    experiment_id,
    keep_pins,
    masked,
    one_line,
    open_store,
    read_pins,
    sqlite_file,
)
from modulewise.tracking.view import KEY, SCHEMA, SUMMARY, Images, Point, Wanted, wanted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

__all__ = [
    "PIN",
    "Counts",
    "StoreDeleted",
    "Unreachable",
    "address",
    "mirror",
    "open_store",
    "passes",
]

log = logging.getLogger(__name__)

LOCK = ".mlflow.lock"
LOOK_AGAIN = 120.0
"""Seconds between two look-ups of the runs that a store holds; a run deleted there comes back after
this time at the latest."""
BATCH = 800
"""Number of points per request; MLflow's limits are 1,000 points, parameters and tags together, and
100 each of the latter two."""
PLOT = "plots/learning.png"


@dataclass
class Counts:
    """What a pass did."""

    runs: int = 0
    """Number of run folders."""
    new: int = 0
    """Number of runs created in MLflow."""
    points: int = 0
    """Number of points sent."""
    unchanged: int = 0
    """Number of runs of which nothing was sent."""
    failed: int = 0
    """Number of runs and reports that could not be sent."""
    reports: int = 0
    """Number of reports sent."""

    def __str__(self) -> str:
        sent = f", reports sent: {self.reports}" if self.reports else ""
        return (
            f"tracked {self.runs} runs: {self.new} new, {self.points} metrics sent, "
            f"{self.unchanged} unchanged, {self.failed} failed{sent}"
        )


def mirror(
    runs: Path,
    uri: str,
    artifacts: Path | None,
    sweep: str | None = None,
) -> Counts:
    """Make a store equal to all run folders, one pass.

    A run or report that could not be sent is a warning, and the others go on.

    Args:
        runs: folder of the run folders.
        uri: where to, see `address`.
        artifacts: folder of artifacts, see `address`.
        sweep: tag runs that belong to no sweep yet with this name.

    Raises:
        InvalidInput: MLflow is not installed, or there is no such folder.
        Unreachable: the store cannot be used, or stopped answering; what it holds by then is right,
            and the next pass sends the rest.
    """
    if not runs.is_dir():
        raise InvalidInput(f"{runs}: no such folder; --runs names the one that run folders lie in")
    return next(passes(runs, uri, artifacts, sweep))


def passes(
    runs: Path,
    uri: str,
    artifacts: Path | None,
    sweep: str | None = None,
) -> Iterator[Counts]:
    """Passes like `mirror`, one each time the next is asked for; the store's runs are looked up
    every `LOOK_AGAIN` seconds only."""
    looked, store, file = 0.0, None, None
    while True:
        if not runs.is_dir():
            raise InvalidInput(
                f"{runs}: no such folder; --runs names the one that run folders lie in"
            )
        with _alone(runs):
            if store is None or time.monotonic() - looked > LOOK_AGAIN:
                looked, store = time.monotonic(), open_store(uri, artifacts)
            file = file or _inode(uri)
            if _inode(uri) != file:
                raise StoreDeleted(f"{sqlite_file(uri)} was deleted; start again to fill a new one")
            counts = _mirror_runs(runs, store, sweep, uri)
            _mirror_reports(store, runs.resolve().parent / "reports", counts)
        yield counts


def _mirror_runs(runs: Path, store: Store, sweep: str | None, uri: str) -> Counts:
    """Mirror every run folder; one that fails is named, and the others are mirrored."""
    counts, ledger = Counts(), jobs.read(runs.parent / jobs.FILE)
    for folder in sorted(path.parent for path in runs.rglob(record.FILE)):
        counts.runs += 1
        path = folder.relative_to(runs).as_posix()
        try:
            state = partial(path_state, runs, path, job=ledger.get(path))
            _mirror_run(store, folder, state, sweep, counts)
        except Exception as error:
            counts.failed += 1
            log.warning(f"{path} not sent: {one_line(error)}")
            try:
                store.client.search_experiments(max_results=1)
            except Exception:
                raise Unreachable(
                    f"MLflow at {masked(uri)} went away; track again to send the rest"
                ) from None
    return counts


def _mirror_reports(store: Store, folder: Path, counts: Counts) -> None:
    """Send the sweeps' reports that are new or changed."""
    for page in sorted(folder.glob(f"*/{reports.FILE}")):
        try:
            counts.reports += reports.send(store, page)
        except Exception as error:
            counts.failed += 1
            log.warning(f"{page} not sent: {one_line(error)}")


def _mirror_run(
    store: Store,
    folder: Path,
    read_state: Callable[[], RunState],
    sweep: str | None,
    counts: Counts,
) -> None:
    """Send what is missing of one run."""
    seen, pins = _sizes(folder), read_pins(folder)
    pin = next((p for p in pins if p["run"] in store.runs), {})
    known = pin.get("seen") == seen and pin["run"] not in store.twins
    known &= not sweep or pin.get("run") in store.swept
    if known and pin.get("state", [""])[0] in ENDED:
        counts.unchanged += 1
        return
    state = read_state()  # it changes without any file: a process is killed, a host falls silent
    said = [state.state, state.why]
    want = None if known and pin.get("state") == said else wanted(folder, state)
    if want is None:
        counts.unchanged += 1
        return
    run = _find(store, want, {p["run"] for p in pins})
    missing = _missing(store.client, run, want, pin) if run else want.points
    if run and missing is None:
        store.client.delete_run(run.info.run_id)
        run, missing = None, want.points
    created = run is None
    run = run or _create(store, want)
    views.share(store, want.experiment, want.metric)
    pin = pin if pin.get("run") == run.info.run_id else {"run": run.info.run_id}
    others = [p for p in pins if p["run"] != pin["run"]][: STORES_REMEMBERED - 1]
    # Until all is sent the pin says nothing of what the store holds: after a crash the next pass
    # compares point by point.
    keep_pins(folder, [{"run": pin["run"]}, *others])
    sent = _send(store, run, want, missing or [], sweep, pin.get("files", {}))
    digest = _digest(want.points)
    keep_pins(
        folder,
        [
            {
                "run": pin["run"],
                "seen": seen,
                "state": said,
                "points": len(want.points),
                "digest": digest,
                "files": sent.files,
            },
            *others,
        ],
    )
    store.runs.add(pin["run"])
    counts.new += created
    counts.points += len(missing or [])
    counts.unchanged += not (created or sent.anything)


@dataclass
class _Sent:
    anything: bool
    files: dict[str, str]
    """Hash of every artifact by name."""


def _send(
    store: Store,
    run: Run,
    want: Wanted,
    points: list[Point],
    sweep: str | None,
    had: dict[str, str],
) -> _Sent:
    """Log points, parameters, tags, artifacts and status that the run lacks."""
    from mlflow.entities import Metric, Param, RunTag

    client, run_id = store.client, run.info.run_id
    # A parameter cannot be changed once logged; the first word stays.
    params = [Param(k, v) for k, v in want.params.items() if k not in run.data.params]
    tags = [RunTag(k, v) for k, v in want.tags.items() if run.data.tags.get(k) != v]
    if sweep and "sweep" not in run.data.tags:
        tags.append(RunTag("sweep", sweep))
    batches = [points[i : i + BATCH] for i in range(0, len(points), BATCH)] or [[]]
    for i, batch in enumerate(batches if points or params or tags else []):
        metrics = [Metric(name, value, at, step) for name, step, value, at in batch]
        client.log_batch(run_id, metrics, params if i == 0 else [], tags if i == 0 else [])
    if want.images and not (run.inputs and run.inputs.dataset_inputs):
        client.log_inputs(run_id, [_input(want.images)])
    contents = {CELL: want.cell.encode()} | {p.name: p.read_bytes() for p in want.files}
    hashes = {name: hashlib.sha256(content).hexdigest()[:16] for name, content in contents.items()}
    if want.ended is not None:
        hashes[PLOT] = _digest(
            want.points
        )  # of what it shows: drawing takes longer than all the rest
    for name in (n for n, h in hashes.items() if had.get(n) != h):
        content = contents[name] if name in contents else plot.learning(want)
        if content is not None:
            attach(client, run_id, name, content)
    moved = run.info.status != want.status or (
        want.ended is not None and run.info.end_time != want.ended
    )
    if moved and want.ended is not None:
        client.set_terminated(run_id, want.status, want.ended)
    elif moved:
        client.update_run(run_id, status=want.status)
    if sweep:
        store.swept.add(run_id)
    return _Sent(bool(points or params or tags or moved or hashes != had), hashes)


def _input(images: Images) -> DatasetInput:
    """A run's data set, in MLflow's words."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = Dataset(images.name, images.digest, "modulewise", images.source)
    return DatasetInput(data, [InputTag("mlflow.data.context", "training and test")])


def _missing(
    client: MlflowClient, run: Run, want: Wanted, pin: dict[str, Any]
) -> list[Point] | None:
    """Points the run lacks; `None` if it holds some that contradict the record."""
    sent = pin.get("points")
    if (
        pin.get("run") == run.info.run_id
        and sent is not None
        and _digest(want.points[:sent]) == pin["digest"]
    ):
        return want.points[sent:] if len(want.points) >= sent else None
    have: dict[tuple[str, int], float] = {}
    for name in run.data.metrics:
        for m in client.get_metric_history(run.info.run_id, name):
            at = (name, m.step)
            ours = at in want.known or name.startswith(SUMMARY)
            if ours and (at in have or at not in want.known or not _same(m.value, want.known[at])):
                return None
            have[at] = m.value
    return [p for p in want.points if p[:2] not in have]


def _find(store: Store, want: Wanted, pinned: set[str]) -> Run | None:
    """The run of a record; copies, which lost replies leave, are deleted."""
    place = experiment_id(store, want.experiment)
    found = [
        r
        for r in store.client.search_runs([place], f"tags.`{KEY}` = '{want.key}'", max_results=100)
        if r.info.start_time == want.begun
    ]
    found.sort(key=lambda r: (r.info.run_id not in pinned, -len(r.data.metrics), r.info.run_id))
    for copy in found[1:]:
        store.client.delete_run(copy.info.run_id)
    store.twins -= {r.info.run_id for r in found}
    return found[0] if found else None


def _create(store: Store, want: Wanted) -> Run:
    place = experiment_id(store, want.experiment)
    return store.client.create_run(
        place, start_time=want.begun, run_name=want.name, tags={KEY: want.key}
    )


def _inode(uri: str) -> int | None:
    """Number that tells a database file from one that replaced it: this process would go on writing
    to the first."""
    path = sqlite_file(uri)
    return (path.stat().st_ino if path.exists() else None) if path else 0


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _digest(points: list[Point]) -> str:
    return hashlib.sha256(json.dumps(points).encode()).hexdigest()[:16]


def _sizes(folder: Path) -> list[int]:
    """Version of the mirror, and sizes and times of the files that a mirrored run depends on."""
    stats = [p.stat() for p in (folder / record.FILE, folder / result.FILE) if p.exists()]
    return [SCHEMA, *(n for s in stats for n in (s.st_size, s.st_mtime_ns))]


@contextmanager
def _alone(runs: Path) -> Iterator[None]:
    """One pass at a time on this host; a second one waits."""
    lock = FileLock(runs / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info(f"another mirror of {runs} is at work; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
