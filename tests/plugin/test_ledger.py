"""The ledger: what a controller that comes back knows."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snakemake_executor_plugin_submitit.ledger import FILE, Ledger, Place


def submit(ledger: Ledger, token: str, keys: list[str], ids: list[str], pack: int = 1) -> Path:
    folder = ledger.path.parent / "train" / token
    folder.mkdir(parents=True)
    ledger.submitting(token, "train", folder, pack, [{"key": k, "output": []} for k in keys])
    ledger.submitted(token, ids)
    return folder


def test_what_has_not_ended_is_open(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    folder = submit(ledger, "t1", ["a", "b", "c"], ["7_0", "7_1", "7_2"])
    ledger.ended("b", "7_1", "success")
    assert Ledger(tmp_path).open() == (
        {"a": Place("7_0", 0, folder), "c": Place("7_2", 0, folder)},
        [],
    )


def test_packed_jobs_are_numbered_within_their_allocation(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    folder = submit(ledger, "t1", ["a", "b", "c"], ["7_0", "7_0", "7_1"], pack=2)
    assert ledger.open()[0] == {
        "a": Place("7_0", 0, folder),
        "b": Place("7_0", 1, folder),
        "c": Place("7_1", 0, folder),
    }


def test_the_end_of_an_earlier_attempt_does_not_end_the_later(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    submit(ledger, "t1", ["a"], ["7"])
    folder = submit(ledger, "t2", ["a"], ["8"])
    ledger.ended("a", "7", "FAILED")
    assert ledger.open()[0] == {"a": Place("8", 0, folder)}


def test_a_submission_cut_off_is_unsure_until_refused(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.submitting("t1", "train", tmp_path, 1, [{"key": "a", "output": []}])
    assert ledger.open() == ({}, ["t1"])
    ledger.refused("t1")
    assert ledger.open() == ({}, [])


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 10_000))
def test_cut_off_anywhere_it_loses_its_last_line_only(tmp_path_factory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    ledger = Ledger(folder)
    submit(ledger, "t1", ["a", "b"], ["7_0", "7_1"])
    ledger.ended("a", "7_0", "success")
    whole = (folder / FILE).read_bytes()
    kept = whole[: cut % (len(whole) + 1)]
    (folder / FILE).write_bytes(kept)
    again = Ledger(folder)
    again.ended("zz", "9", "success")  # and goes on, on a line of its own
    lines = kept.count(b"\n") + (
        kept.rpartition(b"\n")[2] in whole.splitlines()
    )  # all but its newline is there
    expected = {0: (set(), 0), 1: (set(), 1), 2: ({"a", "b"}, 0), 3: ({"b"}, 0)}[lines]
    places, unsure = Ledger(folder).open()
    assert (set(places), len(unsure)) == expected


def test_purge_forgets_old_ended_submissions_only(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    first, second, third = (submit(ledger, f"t{i}", [f"k{i}"], [str(i)]) for i in range(3))
    ledger.ended("k0", "0", "success")
    ledger.ended("k1", "1", "FAILED", "why", "log")
    later = time.time() + 60
    assert ledger.purge(before=0, keep=10) == []
    assert ledger.purge(before=0, keep=1) == [first]
    assert ledger.purge(before=later, keep=10) == [second]
    assert ledger.open()[0] == {"k2": Place("2", 0, third)}
    assert "k0" not in ledger.path.read_text() and "k2" in ledger.path.read_text()


@pytest.mark.parametrize(("keep", "left"), [(0, 0), (3, 3), (5, 5), (8, 8), (15, 8)])
def test_purge_keeps_as_many_submissions_as_it_may(keep: int, left: int, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    folders = [submit(ledger, f"t{i}", [f"k{i}"], [str(i)]) for i in range(8)]
    for i in range(8):
        ledger.ended(f"k{i}", str(i), "success")
    assert ledger.purge(before=0, keep=keep) == folders[: 8 - left]


def test_a_process_is_no_job_of_slurm(tmp_path: Path) -> None:
    """Its number may be the id of a job of somebody else."""
    ledger = Ledger(tmp_path)
    ledger.submitting("t1", "train", tmp_path / "x", 1, [{"key": "a", "output": []}], "local")
    assert ledger.open() == ({}, [])
    ledger.submitted("t1", ["4711"])
    assert ledger.open() == ({}, [])
