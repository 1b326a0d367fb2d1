"""Label efficiency: which labels are drawn, what the heads minimise, the errors, what is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from cases import CLASSES, IMAGES, Case, Row
from modulewise.config.dataset import Dataset
from modulewise.config.training import TrainConfig
from modulewise.data.load import resident
from modulewise.data.resident import Resident
from modulewise.engine.build import build as engine_build
from modulewise.errors import InvalidInput
from modulewise.method import Method
from modulewise.studies import Trained, build
from modulewise.studies._linear import error, fit_linear
from modulewise.studies.labels import draw, supervision

MLP = Row(Case("backprop", modules=1), "mlp3x32")
WIDER = IMAGES.model_copy(update={"train_size": 160})
"""120 images of four classes to train on."""


def data(config: Dataset = WIDER, seed: int = 0, **training: Any) -> Resident:
    return resident(config, Path("unused"), TrainConfig(**training), seed)


def trained(row: Row = MLP, seed: int = 0, config: Dataset = WIDER) -> Trained:
    """A run that ended with the weights it began with."""
    cell = row.cell(seed=seed).model_copy(update={"data": config})
    method = row.build(seed=seed).eval().requires_grad_(False)
    here = torch.device("cpu")
    nothing: Any = None
    return Trained(cell, method, data(config), here, "abc", Path("unused"), nothing)


@pytest.mark.parametrize("validation", [0, 40])
@pytest.mark.parametrize("number", [0, 3])
@pytest.mark.parametrize("n", [1, 5])
def test_a_draw_is_what_a_run_of_its_seed_trains_on(n: int, number: int, validation: int) -> None:
    config = WIDER.model_copy(update={"validation": validation})
    whole = data(config).parts.train
    few = data(config, seed=number, train_images=n * CLASSES, batch_size=1024)
    taken = whole.take(draw(whole.y, number)[: n * CLASSES])
    assert torch.equal(taken.x, few.parts.train.x)
    assert torch.equal(taken.y, few.parts.train.y)
    assert [len(batch.y) for batch in few.batches(1)] == [n * CLASSES], "one step of all images"


def test_a_trunk_of_few_images_is_told_the_labels_of_all() -> None:
    """The same weights: the same numbers, whatever part of the images they are said to be from."""
    study = build("labels", {"per_class": [1, 20], "draws": 2, "floor": False})
    run = trained()
    few = run.cell.training.model_copy(update={"train_images": 8})
    part = replace(
        run, cell=run.cell.model_copy(update={"training": few}), data=data(train_images=8)
    )
    assert study(part) == study(run)


@given(st.integers(0, 2**40), st.integers(1, 6))
def test_draws_hold_every_class_equally_often(number: int, n: int) -> None:
    y = torch.tensor([0] * 6 + [1] * 20 + [2] * 9)
    order = draw(y, number)
    assert torch.bincount(y[order[: 3 * n]]).tolist() == [n, n, n]
    assert sorted(order.tolist()) == list(range(35))


def test_draws_differ() -> None:
    y = data().parts.train.y
    assert not torch.equal(draw(y, 0)[:CLASSES].sort()[0], draw(y, 1)[:CLASSES].sort()[0])


@pytest.mark.parametrize("decay", [1e-3, 0.1])
def test_a_head_is_multinomial_logistic_regression(decay: float) -> None:
    """Against scikit-learn, whose C weighs the sum of the losses against |W|^2 / 2."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(60, 5, generator=g, dtype=torch.float64)
    y = torch.randint(3, (60,), generator=g)
    layer = fit_linear(x, y, 3, decay)
    theirs = LogisticRegression(C=1 / (60 * decay), tol=1e-10, max_iter=10_000).fit(x, y)
    assert layer.weight.numpy() == pytest.approx(theirs.coef_, abs=1e-5)
    # A constant may be added to all scores.
    shift = theirs.intercept_ - layer.bias.numpy()
    assert shift == pytest.approx(np.full(3, shift.mean()), abs=1e-5)


def test_an_error_is_the_percentage_of_wrong_largest_scores() -> None:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(2))
        layer.bias.copy_(torch.tensor([0.0, 1.0]))
    x = torch.tensor([[3.0, 1.0], [1.0, 0.5], [0.0, 0.0], [5.0, 0.0]])
    assert error(layer, x, torch.tensor([0, 0, 1, 1])) == 50.0


def features(method: Method, x: Tensor, unit: bool) -> NDArray[np.float64]:
    """What enters the MLP's last layer, of images (B C H W): its other layers one by one."""
    *before, last = [m for m in method.trunk.modules() if isinstance(m, nn.Linear)]
    norms = [m for m in method.trunk.modules() if isinstance(m, nn.BatchNorm1d)]
    h = x.flatten(1).double()
    for layer, norm in zip(before, norms, strict=True):
        h = h @ layer.weight.double().T + (0 if layer.bias is None else layer.bias.double())
        h = (h - norm.running_mean) / (norm.running_var + norm.eps) ** 0.5
        h = (h * norm.weight + norm.bias).relu()
    assert h.shape[1] == last.in_features
    found = h.numpy()
    return found / np.linalg.norm(found, axis=1, keepdims=True) if unit else found


@pytest.mark.parametrize("unit", [True, False])
def test_errors_are_those_of_heads_on_the_drawn_labels(unit: bool) -> None:
    run, decay = trained(seed=1), 0.01
    options = {"per_class": [5, 2, 2], "draws": 2, "decay": decay, "normalise": unit}
    found = build("labels", options)(run)
    parts = run.data.parts  # type: ignore[attr-defined]
    x, x_test = (
        features(run.method, run.data.normalise(p.x.float() / 255), unit)  # type: ignore[attr-defined]
        for p in (parts.train, parts.test)
    )
    y, y_test = parts.train.y.numpy(), parts.test.y.numpy()

    def wrong(index: Any) -> float:
        C = 1 / (len(index) * decay)  # noqa: N806
        head = LogisticRegression(C=C, tol=1e-9, max_iter=10_000).fit(x[index], y[index])
        return float(100 * (head.predict(x_test) != y_test).mean())

    orders = [draw(parts.train.y, d).numpy() for d in (0, 1)]
    assert found["per_class"] == [2, 5]
    expected = [[wrong(order[: n * CLASSES]) for order in orders] for n in (2, 5)]
    assert np.ravel(found["errors"]) == pytest.approx(np.ravel(expected), abs=1e-4)
    assert found["all"] == pytest.approx(wrong(np.arange(len(y))), abs=1e-4)
    assert len({*np.ravel(expected), found["all"]}) > 1, "the numbers tell draws apart"


def test_every_recipe_and_the_floor_are_told_the_same_labels() -> None:
    """Two methods with the same trunk, untrained: all numbers agree."""
    greedy = Row(Case("greedy", modules=3), "mlp3x32")
    study = build("labels", {"per_class": [1, 3], "draws": 3})
    a, b = study(trained()), study(trained(greedy))
    assert a["errors"] == b["errors"] == a["floor"]["errors"]
    assert a["all"] == b["all"] == a["floor"]["all"]


def test_the_floor_is_the_network_before_training() -> None:
    run = trained()
    study = build("labels", {"per_class": [3], "draws": 3})
    before = study(run)
    with torch.no_grad():
        for p in run.method.trunk[0].parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    after = study(run)
    assert after["floor"] == {"errors": before["errors"], "all": before["all"]}
    assert after["errors"] != before["errors"]
    assert build("labels", {"per_class": [3], "floor": False})(run)["floor"] is None


def test_more_labels_than_a_class_has_are_left_out() -> None:
    least = int(torch.bincount(data().parts.train.y).min())
    found = build("labels", {"per_class": [1, least, least + 1], "draws": 1, "floor": False})(
        trained()
    )
    assert (found["per_class"], found["left_out"]) == ([1, least], [least + 1])
    assert (len(found["errors"]), found["classes"]) == (2, CLASSES)


@pytest.mark.parametrize(
    ("method", "network", "cuts", "told"),
    [
        ("pairwise", "resnet18-pre-w4", ("4.1",), "pair"),
        ("pairwise", "resnet18-pre-w4", ("3.1",), "class"),
        ("pairwise", "mlp3x32", ("2",), "class"),
        ("local_simclr", "mlp3x32", ("2",), "none"),
        ("greedy", "resnet18-pre-w4", ("4.1",), "class"),
        ("backprop", "resnet18-pre-w4", (), "class"),
    ],
)
def test_a_trunk_is_told_what_the_losses_before_the_last_layer_are(
    method: str, network: str, cuts: tuple[str, ...], told: str
) -> None:
    """Layers that learn with the last one are told classes."""
    row = Row(Case(method, modules=len(cuts) + 1), network)
    cell = row.cell().model_copy(update={"partition": cuts or "even"})
    assert supervision(engine_build(cell, (3, 32, 32), data().task)[0]) == told


def test_a_data_set_without_class_labels_is_refused() -> None:
    maps = SimpleNamespace(placeholder=lambda n, image, on: torch.zeros(n, *image[1:]))
    run = replace(trained(), data=SimpleNamespace(task=maps, image=(3, 8, 8)))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="labels: needs one class label per image"):
        build("labels", {})(run)


@pytest.mark.parametrize("options", [{"per_class": []}, {"per_class": [0]}, {"decay": 0}])
def test_options_without_a_meaning_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=f"study: .*{next(iter(options))}"):
        build("labels", options)
