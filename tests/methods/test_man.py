"""MAN and MAN++: what the helpers hold, how the momentum block follows, and whose weights the
gradients of a module depend on."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cases import CLASSES, IMAGES, Case, Row, a_batch, same, snapshot
from modulewise import methods, models
from modulewise.engine.flops import flops, parameters
from modulewise.errors import InvalidInput
from modulewise.method import Batch, Method
from modulewise.models import partition
from modulewise.models.network import cut
from modulewise.tasks.classification import Classification


def row(network: str = "mlp3x32", **options: Any) -> Row:
    return Row(Case("man", {"head": "0c1f", **options}), network)


def build(network: str, k: int, size: int = 32, **options: Any) -> Method:
    """On the meta device."""
    with torch.device("meta"):
        net = models.build(network, (3, size, size), 10)
        trunk = cut(net, partition.even(len(net.stages), k), Classification(10))
        return methods.build("man", trunk, options)


def double(batch: Batch) -> Batch:
    return Batch(batch.x.double(), batch.y, batch.image.double(), batch.index, batch.view)


def step(method: Method, batch: Batch) -> list[Tensor]:
    """The losses of a step, which leaves its gradients."""
    method.zero_grad()
    values = []
    for loss in method.losses(batch):
        loss.value.backward()
        values.append(loss.value.detach())
    return values


def test_the_momentum_block_is_an_exponential_average_of_the_next_stage() -> None:
    """E_n = m^n E_0 + (1 - m) sum_i m^(n - i) F_i, F_i being the weights at the begin of step i."""
    m, steps = 0.9, 5
    method = row(momentum=m).build().double().train()
    averages = [dict(mixture.average.named_buffers()) for mixture in method.mixtures]
    expected = [{n: b.clone() for n, b in a.items()} for a in averages]
    before = copy.deepcopy(expected)
    optimizer = torch.optim.SGD(method.parameters(), 0.5)
    seen: list[list[dict[str, Tensor]]] = [[] for _ in averages]
    for _ in range(steps):
        for k, of_module in enumerate(seen):
            stage = method.trunk[k + 1][0]
            of_module.append({n: p.detach().clone() for n, p in stage.named_parameters()})
        step(method, double(a_batch()))
        optimizer.step()
    for k, of_module in enumerate(seen):
        assert of_module[0].keys() == {"0.weight", "1.weight", "1.bias"}
        for n in of_module[0]:
            sums = [(1 - m) * m ** (steps - i) * w[n] for i, w in enumerate(of_module, 1)]
            torch.testing.assert_close(averages[k][n], m**steps * before[k][n] + sum(sums))
            assert not torch.equal(of_module[0][n], of_module[-1][n]), "the trunk has learnt"


def test_the_average_stands_still_in_evaluation_and_starts_from_weights_of_its_own() -> None:
    method = row("resnet8").build()
    for k, mixture in enumerate(method.mixtures):
        stage = dict(method.trunk[k + 1][0].named_parameters())
        assert not torch.equal(mixture.average.get_buffer("conv1.weight"), stage["conv1.weight"])
        assert not torch.equal(mixture.block.conv1.weight, stage["conv1.weight"])
    method.eval()
    before = snapshot(method)
    with torch.no_grad():
        method.outputs(a_batch().x)
        list(method.losses(a_batch()))
    assert same(before, snapshot(method))


def test_statistics_of_the_average_are_its_own() -> None:
    """Batch statistics of what it made of the module's output, after one step from 0 and 1."""
    method = row().build().double().train()
    batch = double(a_batch())
    h = copy.deepcopy(method.trunk[0])(batch.x).detach()
    step(method, batch)
    average = method.mixtures[0].average
    z = h @ average.get_buffer("0.weight").T
    torch.testing.assert_close(average[1].running_mean, 0.1 * z.mean(0))
    torch.testing.assert_close(average[1].running_var, 0.9 + 0.1 * z.var(0))


def hidden(h: Tensor, weight: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """Linear, BatchNorm of the batch, ReLU."""
    z = h @ weight.T
    z = (z - z.mean(0)) / torch.sqrt(z.var(0, unbiased=False) + 1e-5)
    return (z * gain + shift).clamp(min=0)


@pytest.mark.parametrize("scale", [False, True])
def test_a_step_by_hand(scale: bool) -> None:
    """Every gradient of module 0 against autograd on the equations, in float64."""
    m = 0.75
    method = row(momentum=m, scale=scale).build().double().train()
    mixture, head = method.mixtures[0], method.objectives[0].head[-1]
    if scale:
        with torch.no_grad():
            mixture.s.fill_(1.3)
    leaf = {n: p.detach().clone().requires_grad_() for n, p in method.named_parameters()}
    follows = [
        m * mixture.average.get_buffer(n) + (1 - m) * p.detach()
        for n, p in method.trunk[1][0].named_parameters()
    ]
    batch = double(a_batch())
    (value, *_) = step(method, batch)
    own = [leaf[n] for n in leaf if n.startswith("trunk.0.")]
    trained = [leaf[n] for n in leaf if n.startswith("mixtures.0.block.")]
    s = leaf["mixtures.0.s"] if scale else 1.0
    h = hidden(batch.x.flatten(1), *own)
    mixed = s * hidden(h, *trained) + (2 - s) * hidden(h, *follows)
    names = [n for n, p in method.named_parameters() if p is head.weight or p is head.bias]
    loss = F.cross_entropy(mixed @ leaf[names[0]].T + leaf[names[1]], batch.y)
    torch.testing.assert_close(value, loss.detach())
    loss.backward()
    for n, p in method.named_parameters():
        if n.split(".")[1] == "0":
            torch.testing.assert_close(p.grad, leaf[n].grad)
    assert (mixture.s is not None) == scale


def test_the_scale_at_its_start_is_no_scale() -> None:
    """MAN++ with s = 1 is MAN, bit for bit; and its s learns."""
    plain, scaled = (row("resnet8", scale=scale).build().train() for scale in (False, True))
    assert [m.s.item() for m in scaled.mixtures] == [1.0, 1.0]
    values = [step(method, a_batch()) for method in (plain, scaled)]
    assert all(torch.equal(a, b) for a, b in zip(*values, strict=True))
    gradients = [{n: p.grad for n, p in method.named_parameters()} for method in (plain, scaled)]
    assert same(gradients[0], {n: g for n, g in gradients[1].items() if not n.endswith(".s")})
    assert all(m.s.grad.abs() > 0 for m in scaled.mixtures)


def test_gradients_depend_on_the_next_modules_weights_and_on_no_others() -> None:
    """Beyond the horizon of one module: its first stage, by the moving average."""
    method = Row(Case("man", {"head": "0c1f"}, modules=4), "resnet14").build().train()

    def gradients(moved: int | None = None, stage: int = 0) -> list[dict[str, Tensor]]:
        other = copy.deepcopy(method)
        if moved is not None:
            with torch.no_grad():
                for p in other.trunk[moved][stage].parameters():
                    p.add_(0.1)
        step(other, a_batch())
        return [
            {n: p.grad for n, p in other.named_parameters() if n.split(".")[1] == str(k)}
            for k in range(4)
        ]

    base = gradients()
    for moved in (1, 2, 3):
        found = gradients(moved)
        assert [same(base[k], found[k]) for k in range(moved)] == [True] * (moved - 1) + [False]
        second = gradients(moved, stage=1)
        assert all(same(base[k], second[k]) for k in range(moved)), "its first stage alone"


def block(c_in: int, c_out: int) -> int:
    """Parameters of a ResNet's block."""
    shortcut = c_in * c_out + 2 * c_out if c_in != c_out else 0
    return 9 * c_in * c_out + 9 * c_out * c_out + 4 * c_out + shortcut


@pytest.mark.parametrize("scale", [False, True])
def test_parameters_of_resnet_32_by_hand(scale: bool) -> None:
    """Sixteen modules of a stage each: a block like the next and a linear head behind it; the
    momentum block holds as many weights, none of them a parameter."""
    method = build("resnet32", 16, scale=scale, head="0c1f")
    channels = [16, *[16] * 5, *[32] * 5, *[64] * 5]
    blocks = [block(a, b) for a, b in pairwise(channels)]
    for k, mixture in enumerate(method.mixtures):
        assert parameters([mixture]) == blocks[k] + scale
        floats = (b for n, b in mixture.average.named_buffers() if "running" not in n)
        held = sum(b.numel() for b in floats if b.is_floating_point())
        assert held == blocks[k]
        assert not list(mixture.average.parameters())
    heads = sum(c * 10 + 10 for c in channels[1:])
    helpers = parameters([method]) - parameters([method.trunk])
    assert helpers == sum(blocks) + heads + 15 * scale
    assert parameters(method.deployed()) == parameters([method.trunk])


def test_operations_of_the_helpers_by_hand() -> None:
    """Of mlp3x32, for each of two helpers: forward, and gradients of weights and input, of the
    trained block and the head; no gradient of weights of the momentum block."""
    counted = flops(row().build(), IMAGES.shape, 8)
    layer, head = 32 * 32, 32 * CLASSES
    assert counted.helpers == 2 * 2 * (3 * layer + 2 * layer + 3 * head)


@pytest.mark.parametrize(
    ("network", "size"), [("resnet14", 10), ("vgg8b-w4", 8), ("vgg8b-w4", 32), ("mlp4x16", 8)]
)
@pytest.mark.parametrize("loss", ["label", "infopro"])
def test_helpers_stand_on_every_stage(network: str, size: int, loss: str) -> None:
    stages = len(build(network, 1, size).trunk[0]) - 1
    method = build(network, stages, size, loss=loss)
    assert len(method.mixtures) == stages - 1
    x = torch.rand(3, 3, size, size, device="meta")
    assert all(o.shape == (3, 10) for o in method.outputs(x))


def test_infopros_terms_stand_on_the_mixed_feature() -> None:
    """lambda1 and lambda2 times what decoder and head make of B(h) + E(h)."""
    options = {"loss": "infopro", "lambda1": [3.0, 3.0], "lambda2": [0.5, 0.5]}
    method, batch = row("resnet8", **options).build().double().train(), double(a_batch())
    ghost = copy.deepcopy(method)
    (value, *_) = step(method, batch)
    ghost.mixtures[0].follow(ghost.trunk[1][0])
    h = ghost.trunk[0](batch.x)
    mixed = ghost.mixtures[0].block(h) + ghost.mixtures[0].average(h)
    assert mixed.shape[1:] == ghost.trunk[1][0](h).shape[1:]
    made = ghost.objectives[0].decoder(mixed).sigmoid()
    cross = -(batch.image * made.log() + (1 - batch.image) * (1 - made).log()).mean()
    scores = ghost.objectives[0].head(mixed)
    label = (scores.logsumexp(1) - scores.gather(1, batch.y[:, None])[:, 0]).mean()
    torch.testing.assert_close(value, (3 * cross + 0.5 * label).detach())


@pytest.mark.parametrize("loss", ["label", "infopro"])
def test_scores_of_a_module_are_of_its_own_head_behind_both_blocks(loss: str) -> None:
    method = row("resnet8", loss=loss).build().eval()
    h = torch.rand(3, 16, 8, 8)
    mixture = method.mixtures[0]
    expected = method.objectives[0].head(mixture.block(h) + mixture.average(h))
    assert torch.equal(method.scores(0, h), expected)


def test_a_network_without_layers_to_copy_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"none like stage 3 \(from 0\), behind module 0"):
        build("densenet10-3", 2)


def test_a_layer_of_another_structure_is_refused() -> None:
    """A network whose builder takes another kind of layer than its stages."""
    net = models.build("mlp3x16", (3, 4, 4), 10)
    net.layer = lambda feature, stage: nn.Linear(feature[0], 16)
    with pytest.raises(InvalidInput, match="none like stage 2"):
        methods.build("man", cut(net, [2], Classification(10)), {})


@pytest.mark.parametrize("schedule", ["sequential", "asynchronous"])
def test_other_schedules_are_refused(schedule: str) -> None:
    net = models.build("mlp3x16", (3, 4, 4), 10)
    with pytest.raises(InvalidInput, match=f"man runs under schedule joint only, got {schedule}"):
        methods.build("man", cut(net, [1], Classification(10)), {}, schedule)
