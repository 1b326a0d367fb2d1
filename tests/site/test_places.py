"""Folders and files as other programs and people leave them: names with `?`, clones of others,
tables saved by a spreadsheet."""

import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from modulewise.config import references
from modulewise.runs import checkout
from modulewise.tracking.store import SQLITE, address, sqlite_file


@pytest.mark.parametrize("name", ["plain", "a b", "what?", "c#", "50%", "a%20b", "%j ?x=1#y"])
def test_the_database_is_in_the_project_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    runs = tmp_path / name / "runs"
    runs.mkdir(parents=True)
    uri, _ = address(runs)
    file = runs.parent / "mlflow" / "mlflow.db"
    assert sqlite_file(uri) == file
    file.parent.mkdir()
    path = uri.removeprefix(SQLITE)
    with sqlite3.connect(path, uri=path.startswith("file:")) as database:
        database.execute("create table t (x)")
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == {file}
    database.close()


def test_other_stores_have_no_file() -> None:
    assert sqlite_file("http://127.0.0.1:5000") is None


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with one commit, of somebody else as git sees it."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for name in ("src/modulewise/engine/code.py", "workflow/rules.smk", "config/sweep.yaml"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setattr(checkout, "__file__", str(tmp_path / "src/modulewise/engine/code.py"))
    checkout.git_commit.cache_clear()
    yield tmp_path
    checkout.git_commit.cache_clear()


def test_a_clone_of_somebody_else_has_its_commit(clone: Path) -> None:
    plain = subprocess.run(["git", "-C", str(clone), "status"], capture_output=True, text=True)
    assert "dubious ownership" in plain.stderr, "git trusts it anyway"
    (head,) = (clone / ".git" / "refs" / "heads").iterdir()
    assert checkout.git_commit() == head.read_text()[:12]


@pytest.mark.parametrize(
    ("path", "uncommitted"),
    [
        ("src/modulewise/engine/code.py", True),
        ("src/modulewise/methods/mine.py", True),
        ("workflow/rules.smk", True),
        ("config/sweep.yaml", False),
        ("config/mine.yaml", False),
        ("README.md", False),
    ],
)
def test_source_that_differs_is_uncommitted_and_a_sweep_is_not(
    path: str, uncommitted: bool, clone: Path
) -> None:
    (clone / path).parent.mkdir(exist_ok=True)
    (clone / path).write_text("22\n")
    commit = checkout.git_commit()
    assert commit and len(commit) == 12 + uncommitted and commit.endswith("+") == uncommitted


def test_a_clone_of_somebody_else_runs_no_program_of_theirs(clone: Path) -> None:
    spy = clone / "spy"
    spy.write_text(f"#!/bin/sh\ntouch {clone}/ran\n")
    spy.chmod(0o755)
    with (clone / ".git" / "config").open("a") as config:
        config.write(f"[core]\n\tfsmonitor = {spy}\n")
    assert checkout.git_commit() and not (clone / "ran").exists()


def test_published_numbers_saved_by_a_spreadsheet_are_read(tmp_path: Path) -> None:
    """They begin with a byte-order mark."""
    own = Path("config/references.csv")
    marked = tmp_path / "references.csv"
    marked.write_bytes(b"\xef\xbb\xbf" + own.read_bytes())
    assert references.load(marked) == references.load(own) != []
