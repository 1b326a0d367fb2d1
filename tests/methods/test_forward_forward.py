"""Forward-forward: its losses in closed form, its prediction by brute force, what it refuses and
what a prediction costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from cases import IMAGES, Case, Row, a_batch
from modulewise import methods, models
from modulewise.config.training import TrainConfig
from modulewise.data.load import resident
from modulewise.engine import flops
from modulewise.errors import InvalidInput
from modulewise.method import Method
from modulewise.models.network import cut
from modulewise.tasks.classification import Classification

CLASSES = 4
PLAIN = "mlp3x32-relu"
Array = NDArray[np.float64]


def made(modules: int = 3, network: str = PLAIN, **options: Any) -> Method:
    return Row(Case("forward_forward", options, modules), network).build().train()


def written(x: Array, label: Array) -> Array:
    """Images (B N) with a label's weights (B C) in front, by loops."""
    out = x.copy()
    for i in range(len(x)):
        for c in range(CLASSES):
            out[i, c] = label[i, c] * x[i].max()
    return out


def activities(method: Method, h: Array) -> list[Array]:
    """Outputs of every hidden layer, in float64."""
    out = []
    layers = [m for m in method.modules() if isinstance(m, nn.Linear)][:-1]
    for layer in layers:
        h = h / (np.sqrt((h**2).mean(1, keepdims=True)) + 1e-4)
        w, b = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
        h = np.maximum(h @ w.T + b, 0)
        out.append(h)
    return out


def softplus(x: Array) -> Array:
    return np.log1p(np.exp(x))


@pytest.mark.parametrize("theta", [2.0, 0.3])
def test_losses_are_those_of_the_paper(theta: float) -> None:
    """Float64, layer by layer; the wrong labels are those that the stream draws."""
    method, batch = made(theta=theta), a_batch()
    x, y = batch.x.flatten(1).double().numpy(), batch.y.numpy()
    torch.manual_seed(7)
    wrong = (y + torch.randint_like(batch.y, 1, CLASSES).numpy()) % CLASSES
    assert (wrong != y).all()
    one = np.eye(CLASSES)
    true, false = (activities(method, written(x, one[label])) for label in (y, wrong))
    expected = [
        (softplus(theta - (t**2).mean(1)) + softplus((f**2).mean(1) - theta)).mean() / 2
        for t, f in zip(true, false, strict=True)
    ]
    neutral = activities(method, written(x, np.full((len(x), CLASSES), 1 / CLASSES)))[-1]
    neutral = neutral / (np.sqrt((neutral**2).mean(1, keepdims=True)) + 1e-4)
    w, b = (p.detach().double().numpy() for p in method.trunk[-1][-1].parameters())
    scores = neutral @ w.T + b
    log_sum = np.log(np.exp(scores).sum(1))
    expected.append((log_sum - scores[np.arange(len(y)), y]).mean())
    torch.manual_seed(7)
    found = {loss.name: loss.value.item() for loss in method.losses(batch)}
    assert list(found) == ["goodness_0", "goodness_1", "goodness_2", "module_2"]
    assert list(found.values()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("readout", "modules", "first"),
    [("goodness", 3, 1), ("goodness", 1, 0), ("goodness-all", 3, 0)],
)
def test_the_prediction_is_the_best_label_by_brute_force(
    readout: str, modules: int, first: int
) -> None:
    method, x = made(modules, readout=readout).eval(), a_batch().x
    flat = x.flatten(1).double().numpy()
    table = np.zeros((modules, len(x), CLASSES))
    for c in range(CLASSES):
        label = np.eye(CLASSES)[np.full(len(x), c)]
        layers = activities(method, written(flat, label))
        ends = layers if modules == 3 else _last_of(method, written(flat, label))
        for k, h in enumerate(ends):
            table[k, :, c] = (h**2).mean(1)
    with torch.no_grad():
        outputs = method.outputs(x)
    for k in range(modules - 1):
        np.testing.assert_allclose(outputs[k], table[k], rtol=1e-5)
    np.testing.assert_allclose(outputs[-1], table[first:].sum(0), rtol=1e-5)
    assert (outputs[-1].argmax(1).numpy() == table[first:].sum(0).argmax(1)).all()


def _last_of(method: Method, h: Array) -> list[Array]:
    """Of a single module: its layers are not normalised one by one."""
    h = h / (np.sqrt((h**2).mean(1, keepdims=True)) + 1e-4)
    for layer in [m for m in method.modules() if isinstance(m, nn.Linear)][:-1]:
        w, b = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
        h = np.maximum(h @ w.T + b, 0)
    return [h]


def test_labels_reach_a_module_through_its_images_alone() -> None:
    """Its own label and one of the others are all it is told: with two classes the pair of images
    is the same for either label, and swapping all labels turns true into false."""
    method, batch = made(), a_batch()
    torch.manual_seed(0)
    seen = []
    method.trunk[0][0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    next(iter(method.losses(batch)))
    first = seen[0].flatten(1)[:, :CLASSES]
    told = first.argmax(1)
    n = len(batch.y)
    assert (first > 0).sum(1).eq(1).all()
    assert torch.equal(told[:n], batch.y)
    assert not torch.eq(told[n:], batch.y).any()


def test_a_prediction_by_goodness_costs_a_pass_a_class() -> None:
    hidden, own = 3 * 8 * 8 * 32 + 2 * 32 * 32, 32 * CLASSES
    tried, one = (
        flops.flops(made(readout=r), IMAGES.shape or (), 8) for r in ("goodness", "softmax")
    )
    assert tried.inference_macs == CLASSES * hidden
    assert one.inference_macs == hidden + own
    assert flops.parameters(made().deployed()) == hidden + 3 * 32
    assert flops.parameters(made(readout="softmax").deployed()) == hidden + 3 * 32 + own + CLASSES


def test_more_classes_than_values_are_refused_in_one_line() -> None:
    network = models.build("mlp1x8", (1, 2, 2), 5)
    with pytest.raises(InvalidInput, match="one of 5 classes into an image; this one has 4 values"):
        methods.build("forward_forward", cut(network, [], Classification(5)), {})


def test_maps_of_labels_are_refused_in_one_line() -> None:
    class Maps(Classification):
        def placeholder(self, n: int, image: tuple[int, ...], device: Any) -> torch.Tensor:
            return torch.zeros(n, *image[1:], dtype=torch.long, device=device)

    network = models.build("mlp1x8", (1, 4, 4), 2)
    with pytest.raises(InvalidInput, match="needs one label per image"):
        methods.build("forward_forward", cut(network, [], Maps(2)), {})


@pytest.mark.parametrize("readout", ["goodness-all", "softmax"])
def test_it_learns_noise_around_prototypes(readout: str) -> None:
    """Three of four labels would be wrong by chance."""
    plain = IMAGES.model_copy(update={"pad": 0, "flip": False})
    data = resident(plain, Path("unused"), TrainConfig(batch_size=14), 0)
    method = made(2, readout=readout)
    optimizer = torch.optim.Adam(method.parameters(), 0.003)
    torch.manual_seed(0)
    for epoch in range(1, 31):
        for batch in data.batches(epoch):
            optimizer.zero_grad()
            for loss in method.losses(batch):
                loss.value.backward()
            optimizer.step()
    ((x, y),) = data.eval_batches("test")
    with torch.no_grad():
        wrong = (method.eval().predict(x).argmax(1) != y).double().mean().item()
    assert wrong < 0.375
