"""The sweeps' reports in MLflow: an experiment of their own, in it a run per sweep that holds the
report's folder as artifacts: the page, those of its studies, tables, figures, the plan.

Apart from the data sets, so that charts show trainings only and a page is stored once, not once per
run. A file is sent again when its content changes.
"""

from __future__ import annotations

import hashlib
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from modulewise.config.options import names
from modulewise.tracking.store import (
    STORES_REMEMBERED,
    Store,
    attach,
    experiment_id,
    keep_pins,
    read_pins,
)
from modulewise.tracking.view import KEY, SCHEMA

FILE = "report.html"
WORDS = ("plan.json", "answer.json")
EXPERIMENT = "modulewise-reports"
FOLDER = "report"
ARTIFACT = f"{FOLDER}/{FILE}"
INSIDE = {"tables": (".csv", ".tex"), "figures": (".svg", ".pdf")}
"""Folders of a report, and the endings of its files in each."""


def send(store: Store, page: Path) -> bool:
    """Attach a sweep's report if it is new or changed; returns whether it was. The page comes last.

    Args:
        store: where to.
        page: `results/reports/<sweep>/report.html`.
    """
    stat, pins = page.stat(), read_pins(page.parent)
    seen, at = [SCHEMA, stat.st_size, stat.st_mtime_ns], int(stat.st_mtime * 1000)
    pin = next((p for p in pins if p["run"] in store.runs), None)
    if pin and pin.get("seen") == seen and "files" in pin:
        return False
    run = pin["run"] if pin else _find(store, page) or _create(store, page, at)
    others = [p for p in pins if p["run"] != run][: STORES_REMEMBERED - 1]
    sent = pin.get("files", {}) if pin else {}
    keep_pins(page.parent, [{"run": run}, *others])
    content = page.read_bytes()
    beside = {str(p.relative_to(page.parent)): p.read_bytes() for p in _beside(page.parent)}
    hashes = {name: hashlib.sha256(held).hexdigest()[:16] for name, held in beside.items()}
    new = {name: held for name, held in beside.items() if sent.get(name) != hashes[name]}
    with tempfile.TemporaryDirectory() as folder:
        for name, held in new.items():
            (Path(folder) / name).parent.mkdir(exist_ok=True)
            (Path(folder) / name).write_bytes(held)
        if new:
            store.client.log_artifacts(run, folder, FOLDER)
    attach(store.client, run, ARTIFACT, content)
    store.client.set_terminated(run, "FINISHED", at)
    keep_pins(page.parent, [{"run": run, "seen": seen, "files": hashes}, *others])
    store.runs.add(run)
    return True


def _beside(folder: Path) -> Iterator[Path]:
    """The files of a report beside its page."""
    for name in (*(f"{study}.html" for study in names("studies")), *WORDS):
        if (folder / name).is_file():
            yield folder / name
    for inside, endings in INSIDE.items():
        for path in sorted((folder / inside).glob("*")):
            if path.suffix in endings and path.is_file():
                yield path


def link(store: Store, base: str) -> dict[str, str]:
    """Addresses of the reports, by sweep; `base` is the server's address."""
    place = store.experiments.get(EXPERIMENT)
    found = store.client.search_runs([place], max_results=50) if place else []
    return {
        r.info.run_name: f"{base}/#/experiments/{place}/runs/{r.info.run_id}/artifacts/{ARTIFACT}"
        "?workflowType=machine_learning"
        for r in found
    }


def _key(page: Path) -> str:
    """Name of a report in every store, with a hash of host and folder: sweeps may share a name."""
    origin = f"{socket.gethostname()}:{page.parent.resolve()}"
    return f"modulewise/report/{page.parent.name}/{hashlib.sha256(origin.encode()).hexdigest()[:8]}"


def _find(store: Store, page: Path) -> str | None:
    found = store.client.search_runs(
        [experiment_id(store, EXPERIMENT)], f"tags.`{KEY}` = '{_key(page)}'", max_results=1
    )
    return found[0].info.run_id if found else None


def _create(store: Store, page: Path, at: int) -> str:
    sweep = page.parent.name
    note = (
        f"Report of the sweep **{sweep}**: `{ARTIFACT}` under *Artifacts*. Its runs are found by "
        f"`tags.sweep = '{sweep}'`."
    )
    tags = {
        KEY: _key(page),
        "sweep": sweep,
        "mlflow.note.content": note,
        "mlflow.source.name": "modulewise report",
    }
    return str(
        store.client.create_run(experiment_id(store, EXPERIMENT), at, tags, sweep).info.run_id
    )
