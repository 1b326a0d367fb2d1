"""MLflow made equal to the run folders. The folders are the truth and MLflow is a window on them: it can be deleted at any time.

A run is found again by the run ids kept in its folder, else by its key and start time. Only points that can no longer change are
sent, because MLflow cannot take a point back; a run that contradicts its record all the same (trained again after it had ended)
is deleted there and made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import math
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import record, result
from .errors import InvalidInput
from .tracking_view import KEY, Point, Wanted, wanted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PIN = ".mlflow_run"
"""File in a run folder: the ids of the run in the stores it was sent to, and what of it they hold."""
LOCK = ".mlflow.lock"
STORES_REMEMBERED = 4
LOOK_AGAIN = 120.0
"""Seconds until it is looked up again which runs a store holds; a run deleted there stays away for so long at most."""
SQLITE = "sqlite:///"
BATCH = 800
"""Points per request; MLflow takes 1,000 points, parameters and tags together, of the latter two 100 each."""


class Unreachable(Exception):
    """The store does not answer, or not as a store should; its text is one line."""


class StoreDeleted(Unreachable):
    """The database file was deleted under our feet; this process holds on to the old one and must be started again."""


@dataclass
class Counts:
    """What a pass did."""

    runs: int = 0
    new: int = 0
    points: int = 0
    unchanged: int = 0
    failed: int = 0

    def __str__(self) -> str:
        done = f"tracked {self.runs} runs: {self.new} new, {self.points} metrics sent, {self.unchanged} unchanged"
        return f"{done}, {self.failed} failed"


@dataclass
class Store:
    """An MLflow store as the last look at it found it."""

    client: MlflowClient
    artifacts: Path | None
    """Where experiments made here put their files; `None` leaves it to the server."""
    experiments: dict[str, str] = field(default_factory=dict)
    """Name to id."""
    runs: set[str] = field(default_factory=set)
    """Ids of runs that are there and not deleted."""
    swept: set[str] = field(default_factory=set)
    """Ids of those that carry the tag `sweep`."""
    first: dict[tuple[str | None, int], str] = field(default_factory=dict)
    """Key and start time to the run that was found first."""
    twins: set[str] = field(default_factory=set)
    """Ids of runs of which there are copies."""


def address(runs: Path, uri: str | None = None) -> tuple[str, Path | None]:
    """Where to mirror to: URI and folder of artifacts.

    Args:
        runs: folder of the run folders, such as `results/runs`.
        uri: an MLflow tracking URI; the local store beside `runs` if not given.
    """
    local = runs.resolve().parent / "mlflow"
    uri = uri or f"{SQLITE}{local / 'mlflow.db'}"
    return uri, None if uri.startswith(("http://", "https://", "databricks")) else local / "artifacts"


def open_store(uri: str, artifacts: Path | None) -> Store:
    """Connect and look which runs are there; one at a time: two that create the same database at once break it.

    Raises:
        InvalidInput: MLflow is not installed.
        Unreachable: nothing answers, or no MLflow.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise InvalidInput("MLflow is not installed: pip install 'modulewise[mlflow]'") from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if uri.startswith(SQLITE):
        Path(uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
    try:
        store = Store(MlflowClient(uri), artifacts)
        for experiment in store.client.search_experiments(filter_string="name LIKE 'modulewise-%'", max_results=1000):
            store.experiments[experiment.name] = experiment.experiment_id
        _look(store, list(store.experiments.values()))
    except Exception as error:
        raise Unreachable(f"cannot use MLflow at {_masked(uri)}: {_line(error)}") from None
    return store


def mirror(runs: Path, uri: str, artifacts: Path | None, sweep: str | None = None, say: Callable[[str], None] = print) -> Counts:
    """Make a store equal to all run folders, one pass.

    Args:
        runs: folder of the run folders.
        uri: where to, see `address`.
        artifacts: folder of artifacts, see `address`.
        sweep: tag runs that belong to no sweep yet with this name.
        say: called with a line per run that failed.

    Raises:
        InvalidInput: MLflow is not installed, or there is no such folder.
        Unreachable: the store cannot be used or went away; what it holds by then is right, the next pass sends the rest.
    """
    if not runs.is_dir():
        raise InvalidInput(f"{runs}: no such folder; --runs names the one that run folders lie in")
    return next(passes(runs, uri, artifacts, sweep, say))


def passes(runs: Path, uri: str, artifacts: Path | None, sweep: str | None = None, say: Callable[[str], None] = print) -> Iterator[Counts]:
    """A pass like `mirror` whenever the next one is asked for; what is in the store is looked up only now and then."""
    looked, store = 0.0, None
    while True:
        if not runs.is_dir():
            raise InvalidInput(f"{runs}: no such folder; --runs names the one that run folders lie in")
        with _alone(runs, say):
            if store is None or time.monotonic() - looked > LOOK_AGAIN:
                looked, store = time.monotonic(), open_store(uri, artifacts)
            if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
                raise StoreDeleted(f"{uri.removeprefix(SQLITE)} was deleted; start again to fill a new one")
            counts = _mirror_runs(runs, store, sweep, say, uri)
        yield counts


def _mirror_runs(runs: Path, store: Store, sweep: str | None, say: Callable[[str], None], uri: str) -> Counts:
    """Go through the run folders; one that fails is named and the others go on."""
    counts = Counts()
    for path in sorted(runs.rglob(record.FILE)):
        counts.runs += 1
        try:
            _mirror_run(store, path.parent, sweep, counts)
        except Exception as error:
            counts.failed += 1
            say(f"failed: {path.parent.relative_to(runs)}: {_line(error)}")
            try:
                store.client.search_experiments(max_results=1)
            except Exception:
                raise Unreachable(f"MLflow at {_masked(uri)} went away; track again to send the rest") from None
    return counts


def _mirror_run(store: Store, folder: Path, sweep: str | None, counts: Counts) -> None:
    """Send what is missing of one run."""
    seen, pins = _sizes(folder), _pins(folder)
    pin = next((p for p in pins if p["run"] in store.runs), {})
    known = pin.get("seen") == seen and pin["run"] not in store.twins
    if known and (not sweep or pin["run"] in store.swept):
        counts.unchanged += 1
        return
    want = wanted(folder)
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
    pin = pin if pin.get("run") == run.info.run_id else {"run": run.info.run_id}
    others = [p for p in pins if p["run"] != pin["run"]][: STORES_REMEMBERED - 1]
    # Until all is sent the pin says nothing of what the store holds: after a crash the next pass compares point by point.
    _keep(folder, [{"run": pin["run"]}, *others])
    sent = _send(store, run, want, missing or [], sweep, pin.get("files", {}))
    digest = _digest(want.points)
    _keep(folder, [{"run": pin["run"], "seen": seen, "points": len(want.points), "digest": digest, "files": sent.files}, *others])
    store.runs.add(pin["run"])
    counts.new += created
    counts.points += len(missing or [])
    counts.unchanged += not (created or sent.anything)


@dataclass
class _Sent:
    anything: bool
    files: dict[str, str]
    """Hash of every artifact by name."""


def _send(store: Store, run: Run, want: Wanted, points: list[Point], sweep: str | None, had: dict[str, str]) -> _Sent:
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
    contents = {"cell.json": want.cell.encode()} | {p.name: p.read_bytes() for p in want.files}
    hashes = {name: hashlib.sha256(content).hexdigest()[:16] for name, content in contents.items()}
    for name in (n for n, h in hashes.items() if had.get(n) != h):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / name).write_bytes(contents[name])
            client.log_artifact(run_id, str(Path(folder) / name))
    moved = run.info.status != want.status or (want.ended is not None and run.info.end_time != want.ended)
    if moved and want.ended is not None:
        client.set_terminated(run_id, want.status, want.ended)
    elif moved:
        client.update_run(run_id, status=want.status)
    if sweep:
        store.swept.add(run_id)
    return _Sent(bool(points or params or tags or moved or hashes != had), hashes)


def _missing(client: MlflowClient, run: Run, want: Wanted, pin: dict[str, Any]) -> list[Point] | None:
    """Points the run lacks; `None` if it holds some that contradict the record."""
    sent = pin.get("points")
    if pin.get("run") == run.info.run_id and sent is not None and _digest(want.points[:sent]) == pin["digest"]:
        return want.points[sent:] if len(want.points) >= sent else None
    have: dict[tuple[str, int], float] = {}
    for name in run.data.metrics:
        for m in client.get_metric_history(run.info.run_id, name):
            at = (name, m.step)
            ours = at in want.known or name.startswith(("result/", "cost/"))
            if ours and (at in have or at not in want.known or not _same(m.value, want.known[at])):
                return None
            have[at] = m.value
    return [p for p in want.points if p[:2] not in have]


def _find(store: Store, want: Wanted, pinned: set[str]) -> Run | None:
    """The run of a record; copies left by lost replies are deleted."""
    place = _experiment(store, want.experiment)
    found = [
        r for r in store.client.search_runs([place], f"tags.`{KEY}` = '{want.key}'", max_results=100) if r.info.start_time == want.begun
    ]
    found.sort(key=lambda r: (r.info.run_id not in pinned, -len(r.data.metrics), r.info.run_id))
    for copy in found[1:]:
        store.client.delete_run(copy.info.run_id)
    store.twins -= {r.info.run_id for r in found}
    return found[0] if found else None


def _create(store: Store, want: Wanted) -> Run:
    place = _experiment(store, want.experiment)
    return store.client.create_run(place, start_time=want.begun, run_name=want.name, tags={KEY: want.key})


def _experiment(store: Store, name: str) -> str:
    """Id of an experiment, made if need be; one that was deleted is brought back."""
    if name not in store.experiments:
        there = store.client.get_experiment_by_name(name)
        if there is None:
            place = (store.artifacts / name).as_uri() if store.artifacts else None
            tags = {"mlflow.experimentKind": "custom_model_development"}
            try:
                store.experiments[name] = store.client.create_experiment(name, place, tags)
                return store.experiments[name]
            except Exception:
                there = store.client.get_experiment_by_name(name)
                if there is None:
                    raise
        if there.lifecycle_stage == "deleted":
            store.client.restore_experiment(there.experiment_id)
        store.experiments[name] = there.experiment_id
        _look(store, [there.experiment_id])
    return store.experiments[name]


def _look(store: Store, experiments: list[str]) -> None:
    """Note which runs the experiments hold."""
    token = None
    while experiments:
        page = store.client.search_runs(experiments, max_results=1000, page_token=token)
        for run in page:
            twin = store.first.setdefault((run.data.tags.get(KEY), run.info.start_time), run.info.run_id)
            store.twins |= {twin, run.info.run_id} if twin != run.info.run_id and KEY in run.data.tags else set()
        store.runs |= {r.info.run_id for r in page}
        store.swept |= {r.info.run_id for r in page if "sweep" in r.data.tags}
        token = page.token
        if not token:
            return


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _digest(points: list[Point]) -> str:
    return hashlib.sha256(json.dumps(points).encode()).hexdigest()[:16]


def _sizes(folder: Path) -> list[int]:
    """Size and time of the files a mirrored run depends on."""
    stats = [p.stat() for p in (folder / record.FILE, folder / result.FILE) if p.exists()]
    return [n for s in stats for n in (s.st_size, s.st_mtime_ns)]


def _pins(folder: Path) -> list[dict[str, Any]]:
    """What is remembered of the run in each store, the last used first."""
    try:
        return [p for p in json.loads((folder / PIN).read_text()) if isinstance(p["run"], str)]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _keep(folder: Path, pins: list[dict[str, Any]]) -> None:
    tmp = folder / f"{PIN}.tmp"
    tmp.write_text(json.dumps(pins))
    tmp.replace(folder / PIN)


@contextmanager
def _alone(runs: Path, say: Callable[[str], None]) -> Iterator[None]:
    """One pass at a time on this host; a second one waits."""
    with (runs / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another mirror of {runs} is at work; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _line(error: Exception) -> str:
    """An error as one short line, without passwords."""
    text = _masked(" ".join(str(error).split())) or type(error).__name__
    if "Max retries exceeded" in text:
        return "no answer"
    return text if len(text) <= 200 else f"{text[:197]}..."


def _masked(text: str) -> str:
    return re.sub(r"//[^@/\s]*@", "//***@", text)
