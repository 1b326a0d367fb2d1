"""What may be heavy is not imported where it must not be."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("modulewise.config.resolve", ("torch", "pandas", "mlflow")),
        ("modulewise.runs.record", ("torch", "pandas", "pydantic", "mlflow")),
        ("modulewise.runs.result", ("torch", "pandas", "mlflow")),
        ("modulewise.cli.app", ("torch", "pandas", "mlflow", "matplotlib")),
        ("modulewise.report", ("torch", "mlflow")),
        ("modulewise.tracking.mirror", ("torch", "matplotlib")),
        ("modulewise.engine.trainer", ("mlflow", "pandas", "matplotlib", "snakemake")),
    ],
)
def test_importing(module: str, never: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*sorted(sys.modules.keys() & {set(never)}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == []
