"""Which edits of the source make a cell's result stale: those of files that decide its numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cases import Case, Row
from modulewise.runs.provenance import PACKAGE, source_hash

CELL = Row(Case("dgl"), "resnet8").cell(schedule="sequential")
"""On made-up images."""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, to edit."""
    return shutil.copytree(
        PACKAGE, tmp_path / "copy" / "modulewise", ignore=shutil.ignore_patterns("__pycache__")
    )


def edit(package: Path, name: str) -> None:
    file = package / name
    assert file.is_file(), f"{name} has gone; name another file of its kind"
    file.write_text(file.read_text() + "\n# a remark\n")


def test_where_the_package_lies_says_nothing(package: Path) -> None:
    assert source_hash(CELL, package) == source_hash(CELL)


@pytest.mark.parametrize(
    "name",
    [
        "engine/trainer.py",
        "engine/flops.py",
        "engine/__init__.py",
        "data/load.py",
        "data/sources/__init__.py",
        "data/sources/fake.py",
        "methods/__init__.py",
        "methods/dgl.py",
        "models/__init__.py",
        "models/network.py",
        "models/resnet_cifar.py",
        "schedules/__init__.py",
        "schedules/sequential.py",
        "tasks/classification.py",
        "parts/heads.py",
        "method.py",
        "optim.py",
        "rng.py",
        "config/cell.py",
        "config/dataset.py",
        "config/options.py",
        "config/training.py",
        "config/types.py",
    ],
)
def test_an_edit_in_what_the_run_uses_makes_it_stale(name: str, package: Path) -> None:
    edit(package, name)
    assert source_hash(CELL, package) != source_hash(CELL)


@pytest.mark.parametrize(
    "name",
    [
        "methods/greedy.py",
        "models/vgg.py",
        "schedules/asynchronous.py",
        "schedules/joint.py",
        "data/sources/npz.py",
        "data/staging.py",
        "parts/decoders.py",
        "config/resolve.py",
        "cli/train.py",
        "planning/estimate.py",
        "report/stats.py",
        "status/tables.py",
        "tracking/mirror.py",
        "runs/record.py",
        "runs/result.py",
        "errors.py",
        "files.py",
        "units.py",
        "__init__.py",
    ],
)
def test_an_edit_elsewhere_leaves_it_as_it_is(name: str, package: Path) -> None:
    edit(package, name)
    assert source_hash(CELL, package) == source_hash(CELL)


def test_new_files_found_by_name_leave_it_as_it_is(package: Path) -> None:
    (package / "methods" / "new.py").write_text("from modulewise.parts import heads\n")
    (package / "models" / "new.py").write_text('PATTERN = r"new(\\d+)"\n')
    (package / "schedules" / "new.py").write_text("")
    (package / "data" / "sources" / "new.py").write_text("")
    assert source_hash(CELL, package) == source_hash(CELL)


def test_what_a_method_imports_counts_wherever_and_however_far(package: Path) -> None:
    """Within a function, and through another file."""
    before = source_hash(CELL, package)
    hashes = [before]
    for n, deep in enumerate(("x = 1\n", "x = 2\n")):
        copy = shutil.copytree(package, package.parent / str(n) / "modulewise")
        method = copy / "methods" / "dgl.py"
        late = "\ndef late():\n    from modulewise.parts.extra import x\n"
        method.write_text(method.read_text() + late)
        (copy / "parts" / "extra.py").write_text("import modulewise.parts.deep\n")
        (copy / "parts" / "deep.py").write_text(deep)
        hashes.append(source_hash(CELL, copy))
    assert len(set(hashes)) == 3


def test_cells_of_other_kinds_are_of_other_code() -> None:
    """Another method, network, schedule or source of data each has files of its own; another seed
    or K has not."""
    others = [
        Row(Case("greedy"), "resnet8").cell(schedule="sequential"),
        Row(Case("dgl"), "mlp3x16").cell(schedule="sequential"),
        Row(Case("dgl"), "resnet8").cell(),
        CELL.model_copy(update={"data": CELL.data.model_copy(update={"source": "npz"})}),
    ]
    assert len({source_hash(cell) for cell in (CELL, *others)}) == 5
    alike = CELL.model_copy(update={"seed": 3, "modules": 3, "recipe": "another"})
    assert source_hash(alike) == source_hash(CELL)
