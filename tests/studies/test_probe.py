"""What the probes find where the answer is known: of the input itself, of the label, of nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import forked
from cases import BACKPROP, Case, Row, finished
from modulewise import studies
from modulewise.config.study import StudyOrder
from modulewise.data.load import resident
from modulewise.errors import InvalidInput
from modulewise.runs import study as study_files
from modulewise.studies._readers import Images, Reader, fit, judge
from modulewise.tasks.classification import Classification

CPU = torch.device("cpu")
ROW = Row(Case("greedy", modules=2), "mlp4x16")
QUICK = {"epochs": 1, "batch_size": 16, "head": "0c1f"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two modules that kept its weights."""
    return finished(ROW, tmp_path_factory.mktemp("run"), epochs=1)


def found(folder: Path, **options: Any) -> dict[str, Any]:
    order = StudyOrder(study="probe", options=QUICK | options)
    return studies.make(order, folder, folder, CPU).found


def some(n: int = 48, size: int = 6) -> Images:
    """Images of three classes, whose label is the channel that is bright."""
    torch.manual_seed(0)
    y = torch.arange(n) % 3
    image = 0.3 * torch.rand(n, 3, size, size) + 0.6 * torch.eye(3)[y][:, :, None, None]
    return Images(2 * image - 1, image, y)


def readers(*shapes: tuple[int, ...]) -> list[Reader]:
    torch.manual_seed(1)
    return [Reader(shape, (3, 6, 6), Classification(3), 8, 12, "1c1f", 16) for shape in shapes]


def read(outputs: Any, *shapes: tuple[int, ...], epochs: int = 40) -> list[tuple[float, ...]]:
    """Reconstruction loss, cross-entropy and error of features of some images, learnt from them."""
    images, mine = some(), readers(*shapes)
    torch.manual_seed(2)
    fit(mine, outputs, images, epochs, 16, 1e-2)
    return judge(mine, outputs, images, 20)


def test_the_image_is_read_from_itself_and_not_from_nothing() -> None:
    """Of features that say nothing, a decoder gives at best what is common to all images."""
    images = some()
    itself, nothing = read(lambda x: [x, torch.zeros(len(x), 4)], (3, 6, 6), (4,))
    p = images.image.double().numpy()
    entropy = float(-(p * np.log(p) + (1 - p) * np.log(1 - p)).mean())
    mean = p.mean(0)
    blind = float(-(p * np.log(mean) + (1 - p) * np.log(1 - mean)).mean())
    assert entropy < itself[0] < entropy + 0.4 * (blind - entropy)
    assert blind - 0.01 < nothing[0] < blind + 0.1
    assert (itself[2], nothing[2]) == (0.0, pytest.approx(100 * 2 / 3))
    assert itself[1] < 0.1 and nothing[1] == pytest.approx(math.log(3), abs=0.05)


def test_a_reader_learns_the_same_beside_another_as_alone() -> None:
    """They share steps, and nothing else."""

    def first(x: Tensor) -> Tensor:
        return x.mean((2, 3))

    alone = read(lambda x: [first(x)], (3,), epochs=2)
    beside = read(lambda x: [first(x), x[:, :, :2]], (3,), (3, 2, 6), epochs=2)
    assert alone[0] == pytest.approx(beside[0], rel=1e-6)


def test_judging_does_not_depend_on_the_batches() -> None:
    images, mine = some(), readers((3, 6, 6))
    fit(mine, lambda x: [x], images, 1, 16, 1e-2)
    whole = judge(mine, lambda x: [x], images, 48)[0]
    for size in (1, 7, 20):
        assert judge(mine, lambda x: [x], images, size)[0] == pytest.approx(whole, rel=1e-5)
    with torch.no_grad():
        scores = mine[0].classifier(images.x)
    assert whole[2] == pytest.approx(100 * float((scores.argmax(1) != images.y).float().mean()))


def test_a_last_batch_of_one_image_is_left_out() -> None:
    """BatchNorm could not normalise it."""
    images, mine = some(33), readers((3,))
    fit(mine, lambda x: [x.mean((2, 3))], images, 2, 16, 1e-2)
    assert math.isfinite(judge(mine, lambda x: [x.mean((2, 3))], images, 33)[0][0])


def test_every_stage_or_every_cut_is_read(run: Path) -> None:
    """Two modules of two stages each."""
    stages, cuts = found(run), found(run, at="cuts")
    assert (stages["stage"], cuts["stage"]) == ([1, 2, 3, 4], [2, 4])
    picked = [stages["linear_error"][i - 1] for i in cuts["stage"]]
    assert cuts["linear_error"] == picked, "linear classifiers are no matter of chance"
    for name in ("linear_error", "reconstruction", "auxiliary_error", "auxiliary_loss"):
        assert len(stages[name]) == 4 and all(map(math.isfinite, stages[name]))


def test_what_reconstructions_range_between(run: Path) -> None:
    """Worked out in numpy, from the images' own bytes."""
    trained = studies.load(run, run, CPU)
    raw = resident(trained.cell.data, run, trained.cell.training, 0).parts
    train, test = (part.x.numpy().astype(float) / 255 for part in (raw.train, raw.test))

    def bce(guess: Any) -> float:
        return float(-(test * np.log(guess) + (1 - test) * np.log(1 - guess)).mean())

    said = found(run)
    assert said["rebuilt_best"] == pytest.approx(bce(np.clip(test, 1e-9, 1 - 1e-9)), rel=1e-4)
    assert said["rebuilt_blind"] == pytest.approx(bce(train.mean(0)), rel=1e-4)
    assert min(said["reconstruction"]) > said["rebuilt_best"]


def test_pixels_are_the_images_before_normalisation() -> None:
    cell = BACKPROP.cell()
    data = resident(cell.data, Path("unused"), cell.training, 0)
    x, _ = next(data.eval_batches("test"))
    assert torch.allclose(data.pixels(x), data.parts.test.x.float() / 255, atol=1e-6)


def test_fewer_images_are_drawn_alike_for_runs_of_one_seed(run: Path, tmp_path: Path) -> None:
    other = finished(Row(Case("dgl", {"feature_dim": 16}, 2), "mlp4x16"), tmp_path, epochs=1)
    few, same, every = found(run, images=20), found(other, images=20), found(run)
    assert few["rebuilt_blind"] == same["rebuilt_blind"] != every["rebuilt_blind"]
    assert found(run, images=10_000) == every


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 1}, r"batch_size: 1; BatchNorm needs 2 images at least"),
        ({"head": "shared"}, r"head: .*'0c1f'"),
        ({"at": "modules"}, r"at: .*'stages' or 'cuts'"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, Any], message: str, run: Path) -> None:
    with pytest.raises(InvalidInput, match=f"^study: .*{message}"):
        found(run, **options)


def test_the_verb_prints_a_row_a_stage_within_80_columns(run: Path, tmp_path: Path) -> None:
    for path in run.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    words = ["--options", json.dumps(QUICK), "--threads", str(torch.get_num_threads())]
    said = forked.run("probe", str(tmp_path), *words)
    assert said.returncode == 0, said.stderr
    written = study_files.read(tmp_path / "study~probe.json")
    assert written and written.found == found(run)
    rows = [line.split() for line in said.stdout.splitlines()]
    for i in range(4):
        values = [
            f"{written.found['linear_error'][i]:.2f}",
            f"{written.found['reconstruction'][i]:.4f}",
        ]
        assert [str(i + 1), *values] in [row[:3] for row in rows]
    assert max(map(len, said.stdout.replace(str(tmp_path), "").splitlines())) <= 80


def test_the_verb_refuses_a_run_without_weights_in_one_line(tmp_path: Path) -> None:
    said = forked.run("probe", str(tmp_path))
    assert said.returncode == 2 and said.stderr.endswith(
        "no result.json; a study needs a finished run\n"
    )
    assert len(said.stderr.splitlines()) == 1
