"""Transfer between tasks: LEEP against numbers worked out by hand, the score against numpy, what is
drawn, what is found and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from cases import IMAGES, Case, Row
from modulewise.config.dataset import Dataset
from modulewise.config.training import TrainConfig
from modulewise.data.load import load
from modulewise.errors import InvalidInput
from modulewise.studies import Trained, build
from modulewise.studies.transfer import balanced_batches, leep

MLP = Row(Case("backprop", modules=1), "mlp3x32")
WIDER = IMAGES.model_copy(update={"train_size": 160})
"""160 images of four classes to train on, 40 to test."""
TARGETS = {f"{a}-{b}": WIDER.model_copy(update={"labels": (a, b)}) for a, b in ((0, 1), (2, 3))}
OPTIONS: dict[str, Any] = {"targets": ["0-1", "2-3"], "batch": 16, "batches": 3}


def trained(entries: dict[str, Dataset] = TARGETS, seed: int = 0) -> Trained:
    """A run on one of the targets that ended with weights of its own."""
    entry = TARGETS["0-1"]
    cell = MLP.cell(seed=seed).model_copy(update={"data": entry})
    data = load(entry, Path("unused"), TrainConfig())
    shell = Trained(cell, None, data, torch.device("cpu"), "abc", Path("unused"), None, entries)  # type: ignore[arg-type]
    method = shell.untrained()
    g = torch.Generator().manual_seed(3)
    for p in method.parameters():
        p.add_(0.1 * torch.randn(p.shape, generator=g))
    cost = SimpleNamespace(cost=SimpleNamespace(train_seconds=7.0))
    return replace(shell, method=method, result=cost)  # type: ignore[arg-type]


def found(**options: Any) -> dict[str, Any]:
    return build("transfer", OPTIONS | options)(trained())["targets"]


def test_leep_by_hand() -> None:
    """Three images, two classes of the source, two of the target.

    P(y, c) / P(c): of class 0 (0.9 + 0.2, 0.4) / 1.5, of class 1 (0.1 + 0.8, 0.6) / 1.5.
    """
    p = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    y = torch.tensor([0, 1, 0])
    eep = [
        1.1 / 1.5 * 0.9 + 0.9 / 1.5 * 0.1,
        0.4 / 1.5 * 0.4 + 0.6 / 1.5 * 0.6,
        1.1 / 1.5 * 0.2 + 0.9 / 1.5 * 0.8,
    ]
    assert leep(p, y) == pytest.approx(np.log(eep).mean(), rel=1e-6)


def test_leep_of_a_perfect_source_is_zero_and_of_an_ignorant_one_the_entropy() -> None:
    y = torch.tensor([0, 1, 1, 2])
    assert leep(torch.eye(3)[y], y) == pytest.approx(0.0, abs=1e-12)
    shares = np.array([1, 2, 1]) / 4
    ignorant = torch.full((4, 5), 0.2)
    assert leep(ignorant, y) == pytest.approx((shares * np.log(shares)).sum(), rel=1e-6)


@pytest.mark.parametrize(("batch", "most", "count"), [(6, 9, 4), (7, 2, 2), (24, 9, 1)])
def test_batches_hold_every_class_equally_often(batch: int, most: int, count: int) -> None:
    """Of 8, 20 and 9 images."""
    y = torch.tensor([0] * 8 + [1] * 20 + [2] * 9)
    chosen = balanced_batches(y, batch, most, torch.Generator().manual_seed(0), "d")
    assert chosen.shape == (count, batch // 3 * 3)
    assert all(torch.bincount(y[b]).tolist() == [batch // 3] * 3 for b in chosen)
    assert len(chosen.unique()) == chosen.numel(), "no image twice"


@pytest.mark.parametrize("batch", [5, 27])
def test_batches_that_cannot_be_are_refused(batch: int) -> None:
    y = torch.tensor([0] * 8 + [1] * 20 + [2] * 9)
    with pytest.raises(InvalidInput, match=r"d: batch: .* valid: 6 to 24"):
        balanced_batches(y, batch, 1, torch.Generator(), "d")


def features(run: Trained, x: Tensor, untrained: bool = False) -> Any:
    """What enters the MLP's last layer, in float64, of normalised images."""
    method = run.untrained() if untrained else run.method
    *before, last = [m for m in method.trunk.modules() if isinstance(m, torch.nn.Linear)]
    norms = [m for m in method.trunk.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    h = x.flatten(1).double().numpy()
    for layer, norm in zip(before, norms, strict=True):
        h = h @ layer.weight.double().numpy().T
        h = h + (0 if layer.bias is None else layer.bias.double().numpy())
        assert norm.running_mean is not None and norm.running_var is not None
        h = (h - norm.running_mean.numpy()) / np.sqrt(norm.running_var.numpy() + norm.eps)
        h = np.maximum(h * norm.weight.numpy() + norm.bias.numpy(), 0)
    assert h.shape[1] == last.in_features
    return h


def cosine_of_upper_triangles(h: Any, y: Any) -> float:
    v = h / np.linalg.norm(h, axis=1, keepdims=True)
    upper = np.triu_indices(len(y), 1)
    k, ideal = (v @ v.T)[upper], (y[:, None] == y[None, :]).astype(float)[upper]
    return float(k @ ideal / np.linalg.norm(k) / np.linalg.norm(ideal))


@pytest.mark.parametrize("kind", ["trained", "untrained"])
@pytest.mark.parametrize("target", TARGETS)
def test_one_batch_of_all_images_has_the_score_of_numpy(target: str, kind: str) -> None:
    run = trained()
    data = load(TARGETS[target], Path("unused"))
    x, y = next(data.eval_batches("train"))
    assert torch.bincount(y).tolist() == [40, 40]
    expected = cosine_of_upper_triangles(features(run, x, kind == "untrained"), y.numpy())
    got = found(batch=80)[target]
    assert (got["images"], got["batch"], got["batches"]) == (80, 80, 1)
    assert got[kind]["score"] == pytest.approx(expected, abs=1e-5)


def test_the_score_is_a_mean_over_batches_of_the_asked_objective() -> None:
    """With `nmse_neo` and sigmoids: kernels of two classes alone, which are to be zero."""
    run = trained()
    x, y = next(load(TARGETS["2-3"], Path("unused")).eval_batches("train"))
    got = found(objective="nmse_neo", feature="sigmoid", batch=40, batches=2)["2-3"]
    from modulewise.rng import generator

    chosen = balanced_batches(y, 40, 2, generator(0, "transfer", "2-3"), "")
    values = []
    for b in chosen.numpy():
        v = 1 / (1 + np.exp(-features(run, x)[b]))
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        k = (v @ v.T)[y.numpy()[b][:, None] != y.numpy()[b][None, :]]
        values.append(-np.mean(k**2))
    assert np.std(values) > 1e-6
    assert got["trained"]["score"] == pytest.approx(np.mean(values), abs=1e-5)


@pytest.mark.parametrize("kind", ["trained", "untrained"])
def test_the_accuracy_is_that_of_a_classifier_refitted_to_all_training_images(kind: str) -> None:
    run, decay = trained(), 0.05
    data = load(TARGETS["2-3"], Path("unused"))
    (x, y), (x_test, y_test) = (next(data.eval_batches(part)) for part in ("train", "test"))  # type: ignore[arg-type]
    a, b = (features(run, images, kind == "untrained") for images in (x, x_test))
    mean, std = a.mean(0), np.maximum(a.std(0), 1e-6)
    fit = LogisticRegression(C=1 / (len(y) * decay), tol=1e-9, max_iter=10_000)
    fit.fit((a - mean) / std, y.numpy())
    expected = 100 * fit.score((b - mean) / std, y_test.numpy())
    assert found(decay=decay)["2-3"][kind]["accuracy"] == pytest.approx(expected, abs=1e-3)


def test_scores_see_no_test_image() -> None:
    """Other labels of the test images change the accuracy alone."""
    from modulewise.data.resident import Parts, Split

    class Other(Trained):
        def other(self, name: str) -> Any:
            data: Any = super().other(name)
            train, _, test = data.parts.train, None, data.parts.test
            data.parts = Parts(train, None, Split(test.x, 1 - test.y))
            return data

    run = trained()
    study = build("transfer", OPTIONS)
    ours = study(run)["targets"]
    theirs = study(Other(**vars(run)))["targets"]
    for target in TARGETS:
        a, b = ours[target]["trained"], theirs[target]["trained"]
        assert a["accuracy"] == pytest.approx(100 - b["accuracy"])
        assert [a[n] for n in ("score", "leep", "probe")] == [
            b[n] for n in ("score", "leep", "probe")
        ]


def test_every_source_is_tried_on_the_same_images() -> None:
    """What is drawn depends on the seed and the target: two sources of equal weights agree, however
    many targets come before."""
    alone = found(targets=["2-3"])["2-3"]["trained"]
    beside = found()["2-3"]["trained"]
    assert {n: alone[n] for n in ("score", "leep", "probe")} == {
        n: beside[n] for n in ("score", "leep", "probe")
    }


def test_seconds_grow_with_what_is_done() -> None:
    seconds = found(batches=1)["2-3"]["trained"]["seconds"]
    assert set(seconds) == {"score", "leep", "probe", "accuracy"}
    assert all(s > 0 for s in seconds.values())
    assert seconds["accuracy"] > seconds["leep"], "a fit beside the forward pass"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"targets": []}, "targets: name the data sets"),
        ({"held_out": 1.0}, "held_out: 1.0 is no share"),
        ({"objective": "alignment_neo"}, "alignment_neo has no value with feature relu"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        build("transfer", OPTIONS | options)


def test_a_target_of_another_shape_is_refused() -> None:
    other = WIDER.model_copy(update={"shape": (1, 8, 8)})
    run = trained({"0-1": TARGETS["0-1"], "2-3": other})
    with pytest.raises(InvalidInput, match=r"target 2-3: images of \(1, 8, 8\); the run's are"):
        build("transfer", OPTIONS)(run)
