"""The append-only record: torn lines, repeated epochs, what is settled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modulewise.runs import record
from modulewise.runs.record import FILE, Record, RunHistory


def values(folded: RunHistory) -> dict[tuple[str, int], float]:
    return {k: v for k, (v, _) in folded.metrics.items()}


def test_no_record_is_an_empty_one(tmp_path: Path) -> None:
    assert record.read(tmp_path) == RunHistory()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    r = Record(tmp_path / "new" / "folder")
    r.write("start", id="abc")
    r.metrics(1, {"a": 1.5, "b": 2.0})
    r.commit(1)
    r.metrics(2, {"a": 0.5})
    r.write("end", status="done")
    r.close()
    folded = record.read(tmp_path / "new" / "folder")
    assert values(folded) == {("a", 1): 1.5, ("b", 1): 2.0, ("a", 2): 0.5}
    assert [s["id"] for s in folded.starts] == ["abc"]
    assert (folded.committed, folded.torn) == (1, 0)
    assert folded.end is not None
    assert folded.end["status"] == "done"
    lines = (tmp_path / "new" / "folder" / FILE).read_text().splitlines()
    assert len(lines) == 5
    assert all(json.loads(line)["t"] > 1e12 for line in lines)


def test_the_last_word_on_an_epoch_counts(tmp_path: Path) -> None:
    for value in (3.0, 2.0):
        r = Record(tmp_path)
        r.write("start")
        r.metrics(1, {"a": value})
        r.close()
    folded = record.read(tmp_path)
    assert values(folded) == {("a", 1): 2.0}
    assert len(folded.starts) == 2


def test_before_the_end_only_what_a_checkpoint_holds_is_settled(tmp_path: Path) -> None:
    r = Record(tmp_path)
    r.write("start")
    for epoch in (1, 2, 3):
        r.metrics(epoch, {"a": float(epoch)})
        if epoch == 2:
            r.commit(2)
    assert {e for _, e in record.read(tmp_path).settled()} == {1, 2}
    r.write("end", status="done")
    assert {e for _, e in record.read(tmp_path).settled()} == {1, 2, 3}
    r.write("start")
    assert {e for _, e in record.read(tmp_path).settled()} == {1, 2}, (
        "begun again: the third may change"
    )
    r.close()


def test_commits_never_go_back(tmp_path: Path) -> None:
    r = Record(tmp_path)
    r.commit(3)
    r.commit(1)
    r.close()
    assert record.read(tmp_path).committed == 3


@given(st.integers(0, 400))
def test_a_record_torn_anywhere_loses_nothing_but_its_last_line(cut: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        r = Record(folder)
        for epoch in range(1, 6):
            r.metrics(epoch, {"a": float(epoch)})
        r.close()
        whole = (folder / FILE).read_bytes()
        kept = whole[: min(cut, len(whole))]
        (folder / FILE).write_bytes(kept)
        complete = kept.count(b"\n")
        r = Record(folder)
        r.metrics(9, {"a": 9.0})
        r.close()
        folded = record.read(folder)
        tail = kept.split(b"\n")[-1]
        whole_line = (
            tail + b"\n" in whole and tail != b""
        )  # torn between the line and its end: still readable
        expected = {("a", e): float(e) for e in range(1, complete + 1 + whole_line)} | {
            ("a", 9): 9.0
        }
        assert values(folded) == expected
        assert folded.torn == (0 if whole_line or not tail else 1)


@pytest.mark.parametrize(
    "line", [b"{", b"\xff\xfe", b"[1]", b"3", b'{"ev": "metrics"}', b"null", b'{"t": 1}']
)
def test_lines_that_are_no_events_are_counted_and_passed_over(line: bytes, tmp_path: Path) -> None:
    r = Record(tmp_path)
    r.metrics(1, {"a": 1.0})
    r.close()
    with (tmp_path / FILE).open("ab") as f:
        f.write(line + b"\n")
    r = Record(tmp_path)
    r.metrics(2, {"a": 2.0})
    r.close()
    folded = record.read(tmp_path)
    assert values(folded) == {("a", 1): 1.0, ("a", 2): 2.0}
    assert folded.torn == 1


def test_unknown_events_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    r = Record(tmp_path)
    r.write("novelty", x=1)
    r.metrics(1, {"a": 1.0})
    r.close()
    folded = record.read(tmp_path)
    assert values(folded) == {("a", 1): 1.0}
    assert folded.torn == 0


EVENTS = st.one_of(
    st.builds(
        lambda e, m: {"ev": "start", "epoch": e} | m,
        st.integers(1, 4),
        st.sampled_from(
            [{}, {"metric": {"name": "iou", "label": "IoU", "unit": "", "direction": "higher"}}]
        ),
    ),
    st.builds(
        lambda e, v: {"ev": "metrics", "epoch": e, "values": v},
        st.integers(1, 5),
        st.dictionaries(
            st.sampled_from(["test_error/overall", "test_iou/overall", "a", "b"]),
            st.floats(allow_infinity=True) | st.integers(-9, 9),
        ),
    ),
    st.builds(lambda e: {"ev": "commit", "epoch": e}, st.integers(1, 4)),
    st.just({"ev": "end", "status": "done"}),
)


@given(st.lists(st.tuples(EVENTS, st.integers(0, 60)), max_size=14), st.booleans())
def test_a_part_of_a_record_is_what_all_of_it_says(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[dict[str, Any], int]], cut: bool
) -> None:
    """Lines may be cut short, as a killed process leaves them."""
    folder, lines = tmp_path_factory.mktemp("run"), []
    for n, (event, short) in enumerate(events):
        line = json.dumps({"ev": event["ev"], "t": 100 + n} | event, separators=(",", ":"))
        lines.append(line[:-short] if short and cut else line)
    (folder / FILE).write_text("\n".join(lines) + "\n")
    whole = record.read(folder)
    for keep in ("primary", "none"):
        part = record.read(folder, keep)  # type: ignore[arg-type]
        wanted = {k: v for k, v in whole.metrics.items() if k[0] == whole.primary}
        got = {k: v for k, v in part.metrics.items() if k[0] == whole.primary}
        assert repr(got) == repr(wanted if keep == "primary" else {})
        for name in ("starts", "committed", "end", "spans", "primary"):
            assert getattr(part, name) == getattr(whole, name), name


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_every_digit_is_read(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    r = Record(folder)
    r.write("start")
    for epoch, number in enumerate(numbers, 1):
        r.metrics(epoch, {"test_error/overall": number})
    for keep in ("all", "primary"):
        points = record.read(folder, keep).points  # type: ignore[arg-type]
        assert [points[e][0] for e in range(1, len(numbers) + 1)] == numbers
