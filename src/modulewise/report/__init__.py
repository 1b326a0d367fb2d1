"""The report of a sweep: run folders in, one page with its tables and figures out. Never torch,
never MLflow.

`frame` reads the folders, `stats` compares, `tables` and `figures` show, `answer` says it in
sentences, `render` writes.
"""

from __future__ import annotations

import modulewise.plots  # noqa: F401  before anything of matplotlib
from modulewise.report.brief import brief
from modulewise.report.render import build

__all__ = ["brief", "build"]
