"""Views of an experiment in MLflow's pages: a list that shows recipe, K, seed and primary metric,
and charts of means over seeds.

MLflow keeps its own view in the browser, and a shared one in a tag of the experiment, which an
address names. The form of the tag is that of MLflow 3.17's *Share* button; one that cannot be read
leaves MLflow's own view.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from modulewise.runs.result import PrimaryMetric
from modulewise.tracking.store import Store, experiment_id

TAG = "mlflow.sharedViewState."
LIST = "modulewise-list"
CHARTS = "modulewise-charts"


def share(store: Store, experiment: str, metric: PrimaryMetric) -> None:
    """Give an experiment its views, once.

    Args:
        store: that holds it.
        experiment: its name.
        metric: primary metric of its data set.
    """
    if experiment in store.viewed:
        return
    place = experiment_id(store, experiment)
    had = store.client.get_experiment(place).tags
    for name, state in _states(metric).items():
        if had.get(TAG + name) != state:
            store.client.set_experiment_tag(place, TAG + name, state)
    store.viewed.add(experiment)


def address(base: str, place: str, view: str) -> str:
    """Address of a view of an experiment.

    Args:
        base: the server's.
        place: id of the experiment.
        view: `LIST` or `CHARTS`.
    """
    asked = {"workflowType": "machine_learning", "viewStateShareKey": view}
    if view == CHARTS:
        asked["compareRunsMode"] = "CHART"
    return f"{base}/#/experiments/{place}/runs?{urlencode(asked)}"


def _states(metric: PrimaryMetric) -> dict[str, str]:
    error = f"metrics.`test_{metric.name}/last`"
    shown = [error, *(f"params.`{p}`" for p in ("recipe", "modules", "seed")), "tags.`status`"]
    state: dict[str, Any] = {
        "selectedColumns": shown,
        "orderByKey": error,
        "orderByAsc": metric.direction == "lower",
    }
    keys = [{"mode": "param", "groupByData": name} for name in ("recipe", "modules")]
    means = {
        "groupBy": {"aggregateFunction": "average", "groupByKeys": keys},
        "runsHiddenMode": "FIRST_20_RUNS",
    }
    return {LIST: json.dumps(state), CHARTS: json.dumps(state | means)}
