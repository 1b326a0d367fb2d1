"""Wrong input is one line that names the place and the valid choices, never a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from cases import Case, Row, images
from modulewise import data
from modulewise.config import Book, Dataset, Recipes, Sweep
from modulewise.errors import InvalidInput, parse
from modulewise.trainer import Trainer

GRID: dict[str, Any] = {"datasets": ["fake"], "networks": ["resnet8"], "recipes": ["dgl"], "modules": [1], "seeds": 1}


def sweep(**changes: Any) -> dict[str, Any]:
    return {"sweep": "s", "grids": [{k: v for k, v in (GRID | changes).items() if v is not None}]}


@pytest.mark.parametrize("kind", ["empty", "npy", "text"])
def test_a_file_that_is_no_npz(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    if kind == "npy":
        with path.open("wb") as f:
            np.save(f, np.zeros(3))
    else:
        path.write_text("" if kind == "empty" else "hello")
    with pytest.raises(InvalidInput, match="not a readable npz file") as error:
        data.load(Dataset(source="npz", path=str(path)), tmp_path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_labels_too_large_for_an_index(tmp_path: Path) -> None:
    x, y = np.zeros((3, 8, 8), np.uint8), np.arange(3)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.array([0, 1, 2**63 + 5], np.uint64), x_test=x, y_test=y)
    with pytest.raises(InvalidInput, match=f"y_train holds labels 0 to {2**63 + 5}"):
        data.load(Dataset(source="npz", path=str(tmp_path / "a.npz")), tmp_path)


def test_a_single_training_image(tmp_path: Path) -> None:
    x, y = np.zeros((3, 8, 8), np.uint8), np.arange(3)
    np.savez(tmp_path / "a.npz", x_train=x[:1], y_train=y[:1], x_test=x, y_test=y)
    with pytest.raises(InvalidInput, match="1 training images; at least 2 are needed"):
        data.load(Dataset(source="npz", path=str(tmp_path / "a.npz")), tmp_path)


def test_more_reflection_than_image(tmp_path: Path) -> None:
    entry = Dataset(source="fake", shape=(3, 4, 4), classes=4, pad=4, padding="reflect")
    with pytest.raises(InvalidInput, match="at most 3"):
        data.load(entry, tmp_path)
    data.load(entry.model_copy(update={"pad": 3}), tmp_path)


def test_an_unknown_key_inside_a_union_is_named() -> None:
    override = {"when": {"net": "a"}, "set": {}, "source": "x"}
    content = {"training": {}, "recipes": {"a": {"method": "dgl", "label": "x", "overrides": [override]}}}
    with pytest.raises(InvalidInput, match=r"recipes\.a\.overrides\[0\]\.when: unknown key 'net'.*valid: dataset, modules, network"):
        parse(Recipes, content, "r.yaml")


def test_a_misspelt_key_is_named_rather_than_the_missing_one() -> None:
    with pytest.raises(InvalidInput, match="unknown key 'dataset'; did you mean 'datasets'"):
        parse(Sweep, sweep(datasets=None, dataset=["fake"]), "s.yaml")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"^s\.yaml: grids\[0\]\.recipes: missing$"):
        parse(Sweep, sweep(recipes=None), "s.yaml")


@pytest.mark.parametrize("seeds", [[], 0, [-1], "three"])
def test_wrong_seeds_are_told_at_their_place(seeds: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^s\.yaml: grids\[0\]\.seeds(\[0\])?: ") as error:
        parse(Sweep, sweep(seeds=seeds), "s.yaml")
    assert "constrained" not in str(error.value)


def test_a_method_that_does_not_cut_is_refused_with_several_modules(book: Book, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="backprop does not cut the network; valid modules: 1, got 4"):
        book.cell("fake", "resnet8", "backprop", 4, 0)
    with pytest.raises(InvalidInput, match="backprop does not cut the network; valid modules: 1, got 4"):
        Trainer(Row(Case("backprop"), "resnet8").cell(modules=4), images(), tmp_path, torch.device("cpu"))


def test_sequential_training_needs_an_epoch_a_module() -> None:
    with pytest.raises(ValidationError, match="sequential training of 3 modules needs at least 3 epochs, got 2"):
        Row(Case("greedy"), "resnet8").cell(schedule="sequential", epochs=2)


def test_a_small_flops_budget_still_trains_every_module(tmp_path: Path) -> None:
    row = Row(Case("greedy"), "resnet8")
    trainer = Trainer(row.cell(schedule="sequential", epochs=160, flops=1.0), images(), tmp_path, torch.device("cpu"), say=lambda _: None)
    before = [p.clone() for p in trainer.method.parameters()]
    assert trainer.fit().epochs == 3
    assert all(not torch.equal(a, b) for a, b in zip(before, trainer.method.parameters(), strict=True))


def test_a_checkpoint_of_another_cell_is_refused(tmp_path: Path) -> None:
    row = Row(Case("greedy"), "resnet8")

    class Enough(Exception):
        pass

    def stop(line: str) -> None:
        raise Enough

    with pytest.raises(Enough):
        Trainer(row.cell(), images(), tmp_path, torch.device("cpu"), save_every=0, say=stop).fit()
    with pytest.raises(InvalidInput, match="holds the checkpoint of another cell"):
        Trainer(row.cell(lr=0.01), images(), tmp_path, torch.device("cpu")).fit()
