"""One of each kind is added to a copy of the repository: a file, an entry, a row of the tests, and
nothing else. The contract tests take it up, and a sweep of all of them goes through to the report:
maps for targets, a metric that is no mean over images, and the higher the better."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPO = Path(__file__).parents[2]
HERE = Path(__file__).parent / "additions"
FILES = {
    "method_pixelwise.py": "methods/pixelwise.py",
    "network_field.py": "models/field.py",
    "schedule_rotation.py": "schedules/rotation.py",
    "source_halves.py": "data/sources/halves.py",
    "task_regions.py": "tasks/regions.py",
}
ENTRIES = {
    "config/recipes.yaml": """
  pixelwise:
    method: pixelwise
    label: Pixelwise
""",
    "config/datasets.yaml": """
  halves:
    source: halves
    task: regions
    shape: [3, 8, 8]
    classes: 2
    train_size: 64
""",
}
ROWS = {
    "CASES = [": '    Case("pixelwise", networks=("resnet8",)),\n',
    "NETWORKS = {": '    "field3": (3, 8, 8),\n',
    "SCHEDULES: dict[str, dict[str, Any]] = {": (
        '    "rotation": {"schedule": "rotation", "rotation": {"stay": 2}},\n'
    ),
    "SOURCES: dict[str, dict[str, Any]] = {": (
        '    "halves": {"shape": (3, 8, 8), "classes": 2, "train_size": 42},\n'
    ),
    "TASKS = [": '"regions", ',
}
SWEEP = {
    "sweep": "maps",
    "grids": [
        {
            "datasets": ["halves"],
            "networks": ["field3"],
            "recipes": ["backprop", "pixelwise"],
            "modules": [3],
            "seeds": 3,
            "training": {"epochs": 4, "batch_size": 16, "lr": 0.05, "warmup_epochs": 0},
        }
    ],
}
CALLED = "pixelwise or field3 or rotation or halves or regions or has_a_row or exercised"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository to which one of each is added."""
    root = tmp_path_factory.mktemp("clone")
    for name in ("src", "tests", "config", "workflow"):
        shutil.copytree(REPO / name, root / name)
    shutil.copy(REPO / "pyproject.toml", root)
    for file, place in FILES.items():
        shutil.copy(HERE / file, root / "src/modulewise" / place)
    for file, entry in ENTRIES.items():
        (root / file).write_text((root / file).read_text().rstrip("\n") + "\n" + entry)
    cases = root / "tests/cases.py"
    text = cases.read_text()
    for table, row in ROWS.items():
        assert text.count(table) == 1
        separator = "" if table == "TASKS = [" else "\n"
        text = text.replace(table, table + separator + row.rstrip("\n"))
    cases.write_text(text)
    reference = "halves,field3,pixelwise,3,test_miou,10.0,0.1,sd,5,last,4,,test,0.5,made up,\n"
    with (root / "config/references.csv").open("a") as f:
        f.write(reference)
    (root / "maps.yaml").write_text(json.dumps(SWEEP))
    return root


def run(clone: Path, *words: str) -> str:
    env = os.environ | {"PYTHONPATH": str(clone / "src")}
    made = subprocess.run(
        [sys.executable, *words], cwd=clone, env=env, capture_output=True, text=True, timeout=300
    )
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]
    return made.stdout


def test_the_contract_takes_up_what_is_added(clone: Path) -> None:
    said = run(
        clone, "-m", "pytest", "-p", "no:cacheprovider", "tests/contract", "-k", CALLED, "-m",
        "not slow", "--deselect", "tests/contract/test_declarations.py",
    )  # fmt: skip
    assert " passed" in said and "failed" not in said


def test_maps_and_their_metric_go_through_to_the_verdict(clone: Path) -> None:
    assert "6 cells" in run(clone, "-m", "modulewise", "check", "--sweep", "maps.yaml")
    script = (
        "import sys, torch; from pathlib import Path; torch.set_num_threads(1)\n"
        "from modulewise.config.plan import load_plan\n"
        "from modulewise.data.load import load\n"
        "from modulewise.engine.trainer import Trainer\n"
        "for cell in load_plan(Path('maps.yaml'), Path()).cells:\n"
        "    data = load(cell.data, Path(), cell.training, cell.seed)\n"
        "    folder = Path('results/runs') / cell.path\n"
        "    Trainer(cell, data, folder, torch.device('cpu')).fit()\n"
    )
    run(clone, "-c", script)
    found = [json.loads(p.read_text()) for p in (clone / "results/runs").rglob("result.json")]
    assert len(found) == 6
    for made in found:
        assert made["metric"]["name"] == "miou" and made["metric"]["direction"] == "higher"
        assert 50 < made["test_last"] <= 100, "the border is plain to see"
    pixelwise = next(m for m in found if m["cell"]["recipe"] == "pixelwise")
    assert len(pixelwise["module_metrics"]) == 3 and None not in pixelwise["module_metrics"]
    history = next((clone / "results/runs").rglob("recipe~pixelwise/**/record.jsonl")).read_text()
    assert "test_miou/overall" in history and "test_error" not in history
    run(clone, "-m", "modulewise", "report", "--sweep", "maps.yaml")
    page = (clone / "results/reports/maps/report.html").read_text()
    assert "test mIoU" in page
    assert "better" in page.partition("made up")[2], "far above the published 10 %"
    said = run(clone, "-m", "modulewise", "status", "--sweep", "maps.yaml")
    assert "6 done" in said
