"""Copies of data sets on a node's own disk."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modulewise.config.dataset import Dataset
from modulewise.data.load import load
from modulewise.data.staging import STAGE, staged
from modulewise.errors import InvalidInput


def npz(path: Path, seed: int = 0) -> Dataset:
    g = np.random.default_rng(seed)
    x, y = g.integers(0, 255, (8, 3, 4, 4), dtype=np.uint8), np.arange(8) % 2
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    return Dataset(source="npz", path=str(path))


def test_unset_it_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STAGE, raising=False)
    entry = npz(tmp_path / "a.npz")
    assert staged(entry, tmp_path) == (entry, tmp_path)


def test_the_copy_is_read_and_holds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = npz(tmp_path / "a.npz")
    original = load(entry, tmp_path).digest
    monkeypatch.setenv(STAGE, str(tmp_path / "node"))
    local, root = staged(entry, tmp_path)
    assert Path(local.path or "").is_relative_to(tmp_path / "node")
    assert load(local, root).digest == original


def test_a_changed_original_is_copied_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STAGE, str(tmp_path / "node"))
    entry = npz(tmp_path / "a.npz")
    first = staged(entry, tmp_path)[0].path
    npz(tmp_path / "a.npz", seed=1)
    os.utime(tmp_path / "a.npz", (1, 1))
    second = staged(entry, tmp_path)[0]
    assert second.path != first
    assert load(second, tmp_path).digest == load(entry, tmp_path).digest


@pytest.mark.parametrize("change", ["another", "overwritten", "removed", "as old as before"])
def test_a_folder_of_which_a_picture_changed_is_copied_anew(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder's own time of change says nothing of what lies deeper in it."""
    monkeypatch.setenv(STAGE, str(tmp_path / "node"))
    for part in ("train", "test"):
        for name in "ab":
            (tmp_path / "mine" / part / name).mkdir(parents=True)
            for i in range(2):
                grey = Image.new("L", (4, 4), i)
                grey.save(tmp_path / "mine" / part / name / f"{i}.bmp")
    shape = (1, 4, 4)
    entry = Dataset(source="imagefolder", path=str(tmp_path / "mine"), shape=shape, classes=2)
    first = staged(entry, tmp_path)[0]
    assert staged(entry, tmp_path)[0] == first
    picture = tmp_path / "mine" / "train" / "a" / "1.bmp"
    before = picture.stat()
    if change == "removed":
        picture.unlink()
    else:
        made = picture.with_name("2.bmp") if change == "another" else picture
        Image.new("L", (5 if change == "as old as before" else 4, 4), 99).save(made)
    if change == "as old as before":
        os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = staged(entry, tmp_path)[0]
    assert second.path != first.path
    assert load(second, tmp_path).digest == load(entry, tmp_path).digest
    assert load(second, tmp_path).digest != load(first, tmp_path).digest


def test_a_download_folder_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STAGE, str(tmp_path / "node"))
    (tmp_path / "data" / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "MNIST" / "raw" / "x").write_text("bytes")
    entry, root = staged(
        Dataset(source="torchvision", torchvision_class="MNIST", shape=(1, 28, 28), classes=10),
        tmp_path / "data",
    )
    assert (
        (root / "MNIST" / "raw" / "x").read_text() == "bytes"
        and root != tmp_path / "data"
        and entry.path is None
    )


def test_many_at_once_copy_once(tmp_path: Path) -> None:
    entry = npz(tmp_path / "a.npz")
    code = (
        "from pathlib import Path; from modulewise.config.dataset import Dataset\n"
        "from modulewise.data.staging import staged\n"
        f"print(staged(Dataset(source='npz', path={entry.path!r}), Path('.'))[0].path)"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, STAGE: str(tmp_path / "node")},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    said = {run.communicate()[0].strip() for run in runs}
    assert len(said) == 1 and Path(said.pop()).read_bytes() == (tmp_path / "a.npz").read_bytes()


def test_no_room_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "node").write_text("a file")
    monkeypatch.setenv(STAGE, str(tmp_path / "node"))
    with pytest.raises(
        InvalidInput, match=r"MODULEWISE_STAGE=.*: cannot hold a copy of .*a.npz"
    ) as error:
        staged(npz(tmp_path / "a.npz"), tmp_path)
    assert "\n" not in str(error.value)
