"""The MLflow store behind the mirror: opening it, looking up its runs, errors in one line."""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from modulewise.errors import InvalidInput
from modulewise.files import write_atomic
from modulewise.tracking.view import KEY

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

PIN = ".mlflow_run"
"""Name of a file in a run's folder: ids of the run in the stores it was sent to, and what they hold
of it."""
STORES_REMEMBERED = 4
"""Number of stores that a run's folder keeps an id for."""
SQLITE = "sqlite:///"
LOOPBACK = ("localhost", "127.0.0.0/8", "127.0.0.1", "::1")
"""Names of this host that no proxy is asked for."""


class Unreachable(Exception):
    """The store does not answer, or its answer is not MLflow's; the message is one line."""


class StoreDeleted(Unreachable):
    """The database file was deleted while it was in use; the process still writes to the old one,
    and must be started again."""


@dataclass
class Store:
    """An MLflow store, with what was last found in it."""

    client: MlflowClient
    """Connection to the store."""
    artifacts: Path | None
    """Folder for the files of new experiments; `None` leaves it to the server."""
    experiments: dict[str, str] = field(default_factory=dict)
    """Ids of experiments, by name."""
    runs: set[str] = field(default_factory=set)
    """Ids of runs that are there and not deleted."""
    viewed: set[str] = field(default_factory=set)
    """Names of experiments that have our views."""
    swept: set[str] = field(default_factory=set)
    """Ids of runs that have the tag `sweep`."""
    first: dict[tuple[str | None, int], str] = field(default_factory=dict)
    """Ids of the runs found first, by key and start time."""
    twins: set[str] = field(default_factory=set)
    """Ids of runs of which there are copies."""


def address(runs: Path, uri: str | None = None) -> tuple[str, Path | None]:
    """Where to mirror to: URI and folder of artifacts.

    Args:
        runs: folder of the run folders, such as `results/runs`.
        uri: an MLflow tracking URI; the local store beside `runs` if not given.
    """
    local = runs.resolve().parent / "mlflow"
    uri = uri or sqlite_uri(local / "mlflow.db")
    return uri, None if uri.startswith(
        ("http://", "https://", "databricks")
    ) else local / "artifacts"


def sqlite_uri(file: Path) -> str:
    """Address of an SQLite database. A path with characters that mean something in an address is
    quoted, in SQLite's own form."""
    if not set(str(file)) & set("?#%"):
        return f"{SQLITE}{file}"
    return f"{SQLITE}file:{quote(str(file))}?uri=true"


def sqlite_file(uri: str) -> Path | None:
    """File of the SQLite database at an address; `None` for other stores."""
    if not uri.startswith(SQLITE):
        return None
    path = uri.removeprefix(SQLITE)
    if path.startswith("file:"):
        return Path(unquote(path.removeprefix("file:").partition("?")[0]))
    return Path(path)


def open_store(uri: str, artifacts: Path | None) -> Store:
    """Connect to a store and look up its runs.

    Only one process at a time may do so: two that create the same database at once break it.

    Raises:
        InvalidInput: MLflow is not installed.
        Unreachable: nothing answers, or something other than MLflow.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    reach_this_host_directly()
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise InvalidInput("MLflow is not installed: pip install 'modulewise[mlflow]'") from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if file := sqlite_file(uri):
        file.parent.mkdir(parents=True, exist_ok=True)
    try:
        store = Store(MlflowClient(uri), artifacts)
        for experiment in store.client.search_experiments(
            filter_string="name LIKE 'modulewise-%'", max_results=1000
        ):
            store.experiments[experiment.name] = experiment.experiment_id
            _belongs_here(uri, artifacts, experiment)
        look(store, list(store.experiments.values()))
    except Exception as error:
        raise Unreachable(f"cannot use MLflow at {masked(uri)}: {one_line(error)}") from None
    return store


def reach_this_host_directly() -> None:
    """Let no proxy of the environment stand between this process, its children and a server on this
    host: a proxy would look for it on its own host."""
    for name in ("no_proxy", "NO_PROXY"):
        given = os.environ.get(name, "")
        hosts = [h for h in given.replace(" ", "").split(",") if h]
        if hosts != ["*"]:
            missing = [h for h in LOOPBACK if h not in hosts]
            os.environ[name] = ",".join([*hosts, *missing])


def _belongs_here(uri: str, artifacts: Path | None, experiment: Experiment) -> None:
    """Refuse a local store that was moved or copied: MLflow keeps absolute paths of artifacts, and
    would write to the old place."""
    if artifacts is None or sqlite_file(uri) != artifacts.parent / "mlflow.db":
        return
    if experiment.artifact_location != (artifacts / experiment.name).as_uri():
        was = Path(unquote(experiment.artifact_location.removeprefix("file://"))).parents[1]
        raise Unreachable(f"it was made as {was}; delete {artifacts.parent}, it is filled again")


def experiment_id(store: Store, name: str) -> str:
    """Id of an experiment, which is created if there is none and restored if it was deleted."""
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
        look(store, [there.experiment_id])
    return store.experiments[name]


def look(store: Store, experiments: list[str]) -> None:
    """Look up the runs of experiments."""
    token = None
    while experiments:
        page = store.client.search_runs(experiments, max_results=1000, page_token=token)
        for run in page:
            twin = store.first.setdefault(
                (run.data.tags.get(KEY), run.info.start_time), run.info.run_id
            )
            store.twins |= (
                {twin, run.info.run_id}
                if twin != run.info.run_id and KEY in run.data.tags
                else set()
            )
        store.runs |= {r.info.run_id for r in page}
        store.swept |= {r.info.run_id for r in page if "sweep" in r.data.tags}
        token = page.token
        if not token:
            return


def read_pins(folder: Path) -> list[dict[str, Any]]:
    """Ids and contents of a run by store, the last used first; none if there is no such file."""
    try:
        return [p for p in json.loads((folder / PIN).read_text()) if isinstance(p["run"], str)]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def keep_pins(folder: Path, pins: list[dict[str, Any]]) -> None:
    """Write what `read_pins` reads."""
    write_atomic(folder / PIN, json.dumps(pins))


def attach(client: MlflowClient, run: str, name: str, content: bytes) -> None:
    """Make `content` the artifact `name`, such as `plots/learning.png`, of a run."""
    path = Path(name)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / path.name).write_bytes(content)
        client.log_artifact(
            run, str(Path(folder) / path.name), str(path.parent) if path.parent.name else None
        )


def one_line(error: Exception) -> str:
    """An error as one short line, without passwords."""
    text = masked(" ".join(str(error).split())) or type(error).__name__
    if "Max retries exceeded" in text:
        return "no answer"
    if "error code 401" in text:
        return (
            "user name or password refused; MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD "
            "hold them"
        )
    if refused := re.search(r"error code 403 .*?Response body: '?(.*?)'?$", text):
        return f"not allowed: {refused[1][:120]}"
    return text if len(text) <= 200 else f"{text[:197]}..."


def masked(text: str) -> str:
    """The text with `***` in place of user names and passwords in addresses."""
    return re.sub(r"//[^/\s]*@", "//***@", text)
