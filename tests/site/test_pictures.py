"""Pictures that a site has: of 16 bits, with a notebook's folders among them, far too large."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import forked


def pictures(root: Path, deep: bool) -> None:
    """Two classes that differ in brightness, both dark; `deep`: the same in 16 bits."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 6), ("test", 3)):
        for label, name in enumerate(("faint", "fainter")):
            (root / part / name).mkdir(parents=True)
            for i in range(n):
                grey = rng.integers(20 + 40 * label, 40 + 40 * label, (8, 8)).astype(np.uint8)
                made = grey.astype(np.uint16) * 257 if deep else grey
                Image.fromarray(made).save(root / part / name / f"{i}.png")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with entries of two data sets of pictures."""
    monkeypatch.chdir(tmp_path)
    entry = {"source": "imagefolder", "shape": [1, 8, 8], "classes": 2}
    entries = {name: {**entry, "path": name} for name in ("eight", "sixteen")}
    vast = {"source": "fake", "shape": [3, 2**14, 2**14], "classes": 2**20}
    (tmp_path / "datasets.yaml").write_text(yaml.safe_dump({"datasets": {**entries, "vast": vast}}))
    pictures(tmp_path / "eight", deep=False)
    pictures(tmp_path / "sixteen", deep=True)
    return tmp_path


def digest(name: str) -> str:
    from modulewise.config.dataset import Dataset
    from modulewise.data.load import load

    entry = Dataset(source="imagefolder", path=name, shape=(1, 8, 8), classes=2)
    return load(entry, Path()).digest


def test_sixteen_bits_train_like_eight(site: Path) -> None:
    assert digest("eight") == digest("sixteen")


def told(name: str) -> tuple[int, str]:
    done = forked.run("data", "--config", ".", "--dataset", name)
    return done.returncode, done.stdout + done.stderr


def test_what_a_notebook_and_a_file_manager_leave_is_no_data(site: Path) -> None:
    for place in ("train", "test", "train/faint"):
        (site / "eight" / place / ".ipynb_checkpoints").mkdir()
        Image.new("L", (8, 8)).save(site / "eight" / place / ".ipynb_checkpoints" / "a.png")
    (site / "eight" / "train" / "faint" / "Thumbs.db").write_bytes(b"thumbnails")
    code, said = told("eight")
    assert code == 0
    assert said == 'eight: {"train": [12, 1, 8, 8], "test": [6, 1, 8, 8], "classes": 2}\n'


def test_a_picture_of_400_megapixels_is_one_line(site: Path) -> None:
    file = site / "eight" / "train" / "faint" / "map.pgm"
    file.write_bytes(b"P5 20000 20000 255\n")
    code, said = told("eight")
    assert code == 2 and said.count("\n") == 1
    assert said.startswith("error: data set eight: eight/train/faint/map.pgm: too large; ")


def test_a_vast_shape_is_one_line(site: Path) -> None:
    code, said = told("vast")
    assert code == 2 and said.count("\n") == 1
    assert said.startswith(
        "error: data set vast: fake: shape [3, 16384, 16384]: reading the images"
    )
