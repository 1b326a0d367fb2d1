"""What may be heavy is not imported where it must not be, as far as the import rules of
`pyproject.toml` cannot say it; and what `make imports` counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from modulewise.cli.app import VERBS

TOOL = Path(__file__).parents[1] / "tools" / "imports.py"


@pytest.mark.parametrize(
    ("module", "never"),
    [
        (
            ", ".join(f"modulewise.cli.{verb}" for verb in VERBS),
            ("torch", "pandas", "mlflow", "matplotlib"),
        ),
        ("modulewise.report", ("torch", "mlflow")),
        ("modulewise.tracking.mirror", ("torch", "matplotlib")),
    ],
)
def test_importing(module: str, never: tuple[str, ...]) -> None:
    """Imports within functions, and what other packages import."""
    code = f"import sys, {module}; print(*sorted(sys.modules.keys() & {set(never)}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == []


LAYERS = """
[[tool.importlinter.contracts]]
type = "layers"
layers = ["cli", "a | (b)", "c"]
"""


@pytest.mark.parametrize("layers", [LAYERS, ""])
def test_imports_are_counted(layers: str, tmp_path: Path) -> None:
    files = {
        "__init__": "",
        "cli": "from modulewise import a",
        "a/__init__": "",
        "a/one": "from modulewise.a import two\nfrom modulewise.b import f",
        "a/two": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import modulewise.a.one",
        "b": "import modulewise.c",
        "c": "def f():\n    from modulewise import cli",
    }
    for name, text in files.items():
        path = tmp_path / "src" / "modulewise" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "pyproject.toml").write_text(f"[tool.x]\n{layers}")
    out = subprocess.run(
        [sys.executable, str(TOOL), str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert out[0].split() == ["modules", "folders", "imports", "chain", "circles", "upward"]
    assert out[1].split()[:5] == ["7", "1", "6", "5", "1"]
    assert out[2] == "circle: modulewise.a.one, modulewise.a.two"
    if layers:
        assert out[1].split()[5] == "1"
        assert out[3:] == ["upward: modulewise.c -> modulewise.cli"]
    else:
        assert out[1].endswith("no layers ") and len(out) == 3
