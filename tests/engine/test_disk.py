"""A full or read-only disk, and too little memory: one line, nothing lost or half written, and the
run goes on once there is room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import forked
from modulewise.config.cell import Cell
from modulewise.runs import record, result

CELL = Cell.model_validate(
    {
        "dataset": "fake",
        "network": "mlp3x64",
        "recipe": "plain",
        "modules": 1,
        "seed": 0,
        "method": "backprop",
        "training": {"epochs": 6, "batch_size": 32, "lr": 0.01, "warmup_epochs": 0},
        "data": {"source": "fake", "shape": [3, 4, 4], "classes": 4, "train_size": 64},
    }
)
MOUNTED = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


def train(
    folder: Path, cell: Cell = CELL, before: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    """Train a cell for real; `before` is Python that the process runs first."""
    words = [
        "train",
        "--cell",
        cell.to_json(),
        "--out",
        str(folder),
        "--device",
        "cpu",
        "--threads",
        "1",
        "--save-every",
        "0",
    ]
    return forked.run(*words, before=before, env=env)


def one_line(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """The run failed and said why in one line, its last."""
    assert done.returncode == 1, done.stdout + done.stderr
    *progress, last = done.stderr.splitlines()
    assert all("  epoch " in line for line in progress), done.stderr
    assert last.startswith("error: ") and all(p in last for p in parts), done.stderr


def numbers(folder: Path) -> dict[tuple[str, int], float]:
    folded = record.read(folder)
    assert folded.end is not None and folded.torn <= 1
    return {
        k: v
        for k, (v, _) in folded.metrics.items()
        if k[0].startswith(("test_error", "train_loss"))
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left alone."""
    folder = tmp_path_factory.mktemp("whole")
    assert train(folder).returncode == 0
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 KiB: room for one checkpoint of about 110 KiB and the next beside it, and not
    for much more."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)], capture_output=True
    ).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def sizes(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_size for p in folder.iterdir()}


@MOUNTED
@pytest.mark.parametrize("room", [0, 1, 4, 40])
def test_a_disk_that_fills_up_keeps_the_last_checkpoint(
    room: int, small: Path, whole: Path
) -> None:
    folder, ballast = small / "run", small / "ballast"
    stopped = train(folder, before="import os; from modulewise.runs import record; write = "
                                   "record.Record.commit\n"
        f"def commit(self, epoch):\n    write(self, epoch)\n    if epoch == 2:\n        "
        f"fill({str(ballast)!r}, {room})\n"
        "record.Record.commit = commit\n"
        "def fill(path, room):\n    free = os.statvfs(os.path.dirname(path)); n = free.f_bavail * "
        "free.f_frsize - room * 1024\n"
        "    open(path, 'wb').write(b'x' * max(n, 0))\n")  # fmt: skip
    one_line(
        stopped, "No space left on device", "resumes from its last checkpoint", "fake mlp3x64 plain"
    )
    assert not (folder / "result.json").exists() and not list(folder.glob("*.tmp"))
    ballast.unlink()
    again = train(folder)
    assert again.returncode == 0, again.stderr
    assert "resumed in epoch" in (folder / "train.log").read_text()
    assert numbers(folder) == numbers(whole)
    assert (
        result.load(folder / "result.json").module_losses
        == result.load(whole / "result.json").module_losses
    )


@MOUNTED
def test_a_read_only_disk(small: Path) -> None:
    (small / "before").write_text("x")
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    one_line(train(small / "run"), "Read-only file system", "begins anew")
    assert sizes(small) == {"before": 1}


@pytest.mark.parametrize("limit", [2_000, 30_000, 60_000])
def test_a_limit_of_file_size_stands_for_a_full_disk(
    limit: int, tmp_path: Path, whole: Path
) -> None:
    stopped = train(
        tmp_path,
        before=f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n",
    )
    one_line(stopped, "File too large; make room")
    assert not any(
        p.name in ("result.json", "checkpoint.pt") or p.suffix == ".tmp" for p in tmp_path.iterdir()
    )
    assert train(tmp_path).returncode == 0
    assert numbers(tmp_path) == numbers(whole)


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    one_line(
        train(tmp_path / "run" / "deeper"),
        str(tmp_path / "run"),
        "a file stands where a folder should",
    )


def test_a_damaged_checkpoint_is_named_and_kept(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"PK torn")
    stopped = train(tmp_path)
    assert stopped.returncode == 2
    assert (
        stopped.stderr
        == f"error: {tmp_path / 'checkpoint.pt'}: damaged (UnpicklingError); remove it to train "
        f"this cell from the start\n"
    )
    assert (tmp_path / "checkpoint.pt").read_bytes() == b"PK torn"


@pytest.mark.parametrize(
    "torn",
    [
        b'{"ev":"metr',
        b"\x00\xff garbage",
        b'{"ev":"start","t":1}\n[1]\n7\n{"ev":"commit"}\n{"ev":"met',
    ],
)
def test_a_torn_record_costs_nothing_else(torn: bytes, tmp_path: Path, whole: Path) -> None:
    (tmp_path / "record.jsonl").write_bytes(torn)
    assert train(tmp_path).returncode == 0
    folded = record.read(tmp_path)
    assert {k: v for k, (v, _) in folded.metrics.items() if k[0] == "test_error/overall"} == {
        k: v for k, (v, _) in record.read(whole).metrics.items() if k[0] == "test_error/overall"
    }
    assert folded.end and folded.end["status"] == "done"


def test_a_loss_that_is_not_a_number_ends_as_a_result(tmp_path: Path) -> None:
    wild = CELL.model_copy(update={"training": CELL.training.model_copy(update={"lr": 1e30})})
    done = train(tmp_path, wild)
    assert done.returncode == 0, done.stderr
    made = result.load(tmp_path / "result.json")
    assert made.status == "diverged" and "not finite in epoch" in (made.reason or "")
    assert (
        json.loads((tmp_path / "record.jsonl").read_text().splitlines()[-1])["status"] == "diverged"
    )


def short_of_memory(mib: int) -> str:
    """Python that leaves the process so much address space beyond what it has once torch is
    loaded."""
    return (
        "import resource, torch, modulewise.engine.trainer as t, sklearn.utils\nbegin = "
        "t.Trainer.fit\ndef fit(self):\n"
        "    now = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        f"    resource.setrlimit(resource.RLIMIT_AS, (now + {mib} * 2**20,) * 2)\n    return "
        f"begin(self)\nt.Trainer.fit = fit\n"
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_too_little_memory_ends_as_a_result(tmp_path: Path) -> None:
    large = {"shape": [3, 64, 64], "train_size": 4000}
    cell = CELL.model_copy(
        update={
            "network": "vgg8b-w64",
            "training": CELL.training.model_copy(update={"batch_size": 4000}),
            "data": CELL.data.model_validate(CELL.data.model_dump() | large),
        }
    )
    done = train(tmp_path, cell, before=short_of_memory(300))
    assert done.returncode == 0, done.stdout + done.stderr
    made = result.load(tmp_path / "result.json")
    assert made.status == "out_of_memory" and made.epochs == 0 and made.reason
    assert "out_of_memory" in done.stderr
    assert "finished already" in train(tmp_path, cell).stderr
