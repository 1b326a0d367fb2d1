"""The net's own classifier as read-only local readout: its scores and gradients, what it holds,
where it fits, and which methods offer it."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cases import Case, Row, a_batch
from modulewise import methods, models
from modulewise.config.options import names, options_model
from modulewise.engine.flops import parameters
from modulewise.errors import InvalidInput
from modulewise.method import Batch, Method
from modulewise.models.network import Network, cut
from modulewise.parts.heads import SharedReadout
from modulewise.tasks.classification import Classification


def offers(method: str) -> bool:
    """Whether `head: shared` is among a method's options."""
    field = options_model("methods", method).model_fields.get("head")
    return field is not None and "shared" in get_args(field.annotation)


OFFER = [m for m in names("methods") if offers(m)]


def options(method: str) -> dict[str, Any]:
    has_mode = "mode" in options_model("methods", method).model_fields
    return {"head": "shared"} | ({"mode": "softmax"} if has_mode else {})


def build(method: str = "dgl", network: str = "mlp3x32", modules: int = 3) -> Method:
    return Row(Case(method, options(method), modules), network).build()


def test_methods_with_label_heads_offer_it() -> None:
    assert {"contsup", "dgl", "greedy", "horizon", "infopro", "man", "trgl"} <= set(OFFER)


@pytest.mark.parametrize("method", OFFER)
def test_it_is_declared(method: str) -> None:
    made = build(method)
    assert any(isinstance(m, SharedReadout) for m in made.modules())
    assert made.feedback == "later", (
        f"methods/{method}.py: head shared is feedback of later modules"
    )
    assert made.joint_only, f"methods/{method}.py: head shared needs the joint schedule"


@pytest.mark.parametrize("method", [m for m in OFFER if m != "man"])
def test_local_scores_are_the_nets_own_of_the_local_feature(method: str) -> None:
    """MAN's stand behind its blocks, as in tests/methods/test_man.py."""
    made, h = build(method).eval(), torch.rand(5, 32)
    last = made.trunk[-1][-1]
    with torch.no_grad():
        assert torch.equal(made.scores(0, h), h @ last.weight.T + last.bias)


@pytest.mark.parametrize("method", OFFER)
def test_the_classifier_learns_from_the_last_loss_alone(method: str) -> None:
    made, reached = build(method).train(), []
    for loss in made.losses(a_batch()):
        made.zero_grad()
        loss.value.backward()
        reached.append(made.trunk[-1][-1].weight.grad is not None)
    if made.horizon == 1:
        assert reached == [False, False, True]
    assert reached[-1]
    assert not any(reached[: made.k - made.horizon])


def test_it_has_no_parameters_and_is_registered_nowhere_else() -> None:
    made, plain = build(), Row(Case("dgl"), "mlp3x32").build()
    assert parameters([made]) == parameters([made.trunk]) == parameters([plain.trunk])
    assert list(made.state_dict()) == [n for n in plain.state_dict() if n.startswith("trunk.")]
    assert list(made.groups()) == ["trunk/0", "trunk/1", "trunk/2"]
    assert sum(m is made.trunk[-1][-1] for m in made.modules()) == 1


def test_a_copy_reads_its_own_classifier() -> None:
    made = build().eval()
    other, h = copy.deepcopy(made), torch.rand(5, 32)
    before = made.scores(0, h)
    with torch.no_grad():
        other.trunk[-1][-1].weight.zero_()
        other.trunk[-1][-1].bias.copy_(torch.arange(4.0))
    assert torch.equal(other.scores(0, h), torch.arange(4.0).expand(5, 4))
    assert torch.equal(made.scores(0, h), before)


def hidden(h: Tensor, weight: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """Linear, BatchNorm of the batch, ReLU."""
    z = h @ weight.T
    z = (z - z.mean(0)) / torch.sqrt(z.var(0, unbiased=False) + 1e-5)
    return (z * gain + shift).clamp(min=0)


def test_gradients_by_hand() -> None:
    """Of all three modules, in float64: CE( W h_k + b, y ), W and b constant but for the last."""
    made, b = build().double().train(), a_batch()
    batch = Batch(b.x.double(), b.y, b.image.double(), b.index)
    leaf = {n: p.detach().clone().requires_grad_() for n, p in made.named_parameters()}
    for loss in made.losses(batch):
        loss.value.backward()
    weight, bias = leaf["trunk.2.1.weight"], leaf["trunk.2.1.bias"]
    h = batch.x.flatten(1)
    for k in range(3):
        own = [leaf[n] for n in leaf if n.startswith(f"trunk.{k}.0.")]
        h = hidden(h.detach(), *own)
        last = k == 2
        scores = h @ (weight if last else weight.detach()).T + (bias if last else bias.detach())
        F.cross_entropy(scores, batch.y).backward()
    for n, p in made.named_parameters():
        torch.testing.assert_close(p.grad, leaf[n].grad)


def test_gradients_depend_on_the_last_module_and_on_no_other_later_one() -> None:
    made = build("dgl", "mlp4x32", 4).train()

    def gradients(moved: int | None = None) -> list[Tensor]:
        other = copy.deepcopy(made)
        if moved is not None:
            with torch.no_grad():
                for p in other.trunk[moved].parameters():
                    p.add_(0.1 * torch.randn_like(p))
        for loss in other.losses(a_batch()):
            loss.value.backward()
        return [module[0][-3].weight.grad for module in other.trunk]

    base = gradients()
    assert [torch.equal(*g) for g in zip(base, gradients(2), strict=True)][:2] == [True, True]
    assert [torch.equal(*g) for g in zip(base, gradients(3), strict=True)][:3] == [False] * 3


@pytest.mark.parametrize(
    ("network", "cuts", "message"),
    [
        ("resnet20", [7, 8], "takes 64x4x4, the head of module 0 is given 32x8x8"),
        ("resnet20", [8, 9], ""),
        ("vgg8b-w4", [3, 6], "takes 32, the head of module 0 is given 8x8x8"),
        ("densenet10-3", [5], "takes 6x4x4, the head of module 0 is given 3x4x4"),
    ],
)
def test_it_stands_where_the_classifier_fits(network: str, cuts: list[int], message: str) -> None:
    """Of resnet20, stages 7 to 9 give 64 channels: a cut before stage 8 is the first that fits."""
    net = models.build(network, (3, 16, 16), 4)
    trunk = cut(net, cuts, Classification(4))
    if not message:
        made = methods.build("dgl", trunk, {"head": "shared"})
        assert [o.shape for o in made.outputs(torch.rand(2, 3, 16, 16))] == [(2, 4)] * 3
        return
    with pytest.raises(InvalidInput, match=f"{message}; take a partition") as error:
        methods.build("dgl", trunk, {"head": "shared"})
    assert "\n" not in str(error.value)


def test_the_first_module_that_does_not_fit_is_named() -> None:
    channels = [3, 8, 5, 7, 8]
    stages = [(str(i), nn.Conv2d(a, b, 1)) for i, (a, b) in enumerate(pairwise(channels))]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    trunk = cut(Network(stages, head, (3, 6, 6)), [1, 2, 3], Classification(4))
    with pytest.raises(InvalidInput, match="takes 8x6x6, the head of module 1 is given 5x6x6"):
        methods.build("dgl", trunk, {"head": "shared"})


def test_the_contrast_mode_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no embedding; valid mode: softmax"):
        Row(Case("infopro", {"head": "shared", "mode": "contrast"}), "mlp3x32").build()


@pytest.mark.parametrize("schedule", ["sequential", "asynchronous"])
def test_schedules_that_part_the_modules_are_refused(schedule: str) -> None:
    """There the classifier would be untrained, or of another pace."""
    net = models.build("mlp3x16", (3, 4, 4), 4)
    trunk = cut(net, [1], Classification(4))
    with pytest.raises(
        InvalidInput, match="dgl with head shared runs under schedule joint only, got"
    ):
        methods.build("dgl", trunk, {"head": "shared"}, schedule)
    methods.build("dgl", trunk, {}, schedule)


def test_batchnorm_in_the_classifier_does_not_count_the_pass() -> None:
    """A head that normalises: on the batch's statistics of the local feature, its own unmoved."""
    stages = [(str(i), nn.Sequential(nn.Flatten(), nn.Linear(8, 8))) for i in (1, 2)]
    head = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 4))
    readout = SharedReadout(head).train()
    before, h = {n: b.clone() for n, b in head.named_buffers()}, torch.rand(6, 8)
    expected = head[1]((h - h.mean(0)) / torch.sqrt(h.var(0, unbiased=False) + 1e-5))
    torch.testing.assert_close(readout(h), expected)
    assert all(torch.equal(b, before[n]) for n, b in head.named_buffers())
    trunk = cut(Network(stages, head, (8, 1, 1)), [1], Classification(4))
    assert methods.build("dgl", trunk, {"head": "shared"}).heads[0](h).shape == (6, 4)
