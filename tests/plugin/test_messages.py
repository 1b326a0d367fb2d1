"""What is said of jobs: the end of a log, ids in short, and why submitit's part of a job failed."""

import pickle
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.messages import (
    END,
    TAIL,
    log_tail,
    result,
    span,
    text,
)


def log(folder: Path, *lines: str) -> Path:
    path = folder / "7_0_log.out"
    path.write_text("".join(line + "\n" for line in lines))
    return path


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    lines = [f"line {i}" for i in range(50)]
    assert log_tail(log(tmp_path, *lines)) == lines[-TAIL:]


def test_they_leave_out_blank_lines_submitit_and_snakemakes_account_of_the_failure(
    tmp_path: Path,
) -> None:
    said = [
        "submitit INFO (x) - Starting",
        "",
        "no such file",
        "  ",
        "Error in rule train:",
        "    jobid: 0",
        "    output: x",
    ]
    assert log_tail(log(tmp_path, *said)) == ["no such file"]


@pytest.mark.parametrize("who", ["RuleException:", "Error in rule a:", "Error in group g:"])
def test_what_slurm_says_after_that_account_stays(who: str, tmp_path: Path) -> None:
    said = [
        "mine",
        who,
        "    jobid: 0",
        "slurmstepd: error: exceeded memory limit",
        "srun: error: n1: task 0: Killed",
    ]
    assert log_tail(log(tmp_path, *said)) == ["mine", *said[-2:]]


def test_of_nothing_they_are_empty(tmp_path: Path) -> None:
    assert log_tail(log(tmp_path)) == log_tail(tmp_path / "nowhere") == ["(empty)"]


def test_of_a_large_log_only_the_end_is_read(tmp_path: Path) -> None:
    path = log(tmp_path, "Error in rule x:", *["y" * 99] * (2 * END // 100), "the end")
    assert log_tail(path)[-1] == "the end", "an error far above the end is not seen"
    assert len(text(path, END)) <= END < len(text(path))


def test_a_log_of_other_bytes_is_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\xff\xfe \xe9\nend\n")
    assert log_tail(tmp_path / "log")[-1] == "end"


@pytest.mark.parametrize(
    ("ids", "short"),
    [
        (["7"], "7"),
        (["7_0", "7_1", "7_2"], "7_0 to 7_2"),
        (["7_0", "7_0", "7_1"], "7_0 to 7_1"),
        (["7", "7"], "7"),
        (["7", "9"], "7 to 9"),
    ],
)
def test_ids_in_short(ids: list[str], short: str) -> None:
    assert span(ids) == short


TRACEBACK = (
    'Traceback (most recent call last):\n  File "x.py", line 1, in f\n'
    "RuntimeError: reached its limit: give it more\n"
)


@pytest.mark.parametrize(
    ("left", "why"),
    [
        (("success", None), ""),
        (("error", TRACEBACK), "reached its limit: give it more"),
        (("error", "Traceback:\nKeyboardInterrupt"), "Traceback:\nKeyboardInterrupt"),
        (("error", ""), "submitit reported an error without a message"),
    ],
)
def test_why_submitits_part_failed(left: tuple[str, object], why: str, tmp_path: Path) -> None:
    path = tmp_path / "7_0_result.pkl"
    path.write_bytes(pickle.dumps(left))
    assert result(path) == why


@pytest.mark.parametrize(
    "left", [b"", b"\x80\x04", b"no pickle", b"cnowhere\nNothing\n.", pickle.dumps(3)]
)
def test_a_result_that_cannot_be_read_says_nothing(left: bytes, tmp_path: Path) -> None:
    path = tmp_path / "7_0_result.pkl"
    path.write_bytes(left)
    assert result(path) == result(tmp_path / "nowhere") == ""
