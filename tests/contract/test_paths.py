"""Faster and smaller ways to train give the numbers of the plain one."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cases import BACKPROP, CASES, ROWS, Case, Row, a_batch, images, rows, same, trainer_of
from modulewise import methods, models, schedules
from modulewise.config.training import TrainConfig
from modulewise.engine import device, memory
from modulewise.engine.build import build
from modulewise.engine.trainer import Interrupted, Stop
from modulewise.errors import InvalidInput, parse
from modulewise.method import Batch, Local, Loss, Method, State
from modulewise.methods import method_class
from modulewise.methods.greedy import Greedy
from modulewise.models import partition
from modulewise.models.network import cut
from modulewise.models.normed import Normed, kept
from modulewise.models.resnet_cifar import Block
from modulewise.optim import ModuleOptimizers
from modulewise.parts import recompute
from modulewise.tasks.classification import Classification

pytestmark = pytest.mark.usefixtures("uncounted")

PLAIN = {"lr": 0.05, "warmup_epochs": 0, "batch_size": 8}


def in_backward(row: Row) -> bool:
    """Whether the row's parameters may move within the backward pass."""
    made = row.build()
    return not made.joint_only or (made.horizon == made.k and made.feedback == "none")


def stepped(method: Method, **training: Any) -> tuple[Method, list[dict[str, Tensor]]]:
    """A copy after three joint steps on batches of eight, and their losses."""
    method = copy.deepcopy(method)
    config = TrainConfig(**(PLAIN | training))
    joint = schedules.build(config, method.k, 1, 0)
    joint.begin(method, 0, 1)
    optimizers = ModuleOptimizers(method, config)
    precision = device.precision(config, "cpu")
    torch.manual_seed(3)
    losses = [joint.step(method, a_batch(8, n), optimizers, precision) for n in range(3)]
    return method, losses


def by_hand(method: Method) -> tuple[Method, list[dict[str, Tensor]]]:
    """The same three steps, all of a step's backward passes before one step of one optimiser."""
    method = copy.deepcopy(method).train()
    optimizer = torch.optim.SGD(method.parameters(), 0.05, 0.9, 0, 1e-4, nesterov=True)
    torch.manual_seed(3)
    losses = []
    for n in range(3):
        optimizer.zero_grad()
        losses.append({})
        for loss in method.losses(a_batch(8, n)):
            loss.value.backward()
            losses[-1][loss.name] = loss.value.detach()
        optimizer.step()
    return method, losses


def equal(
    a: tuple[Method, list[dict[str, Tensor]]], b: tuple[Method, list[dict[str, Tensor]]]
) -> bool:
    """Whether weights, buffers and losses agree bit for bit."""
    each = all(same(x, y) for x, y in zip(a[1], b[1], strict=True))
    return same(a[0].state_dict(), b[0].state_dict()) and each


@rows(one_a_method=True)
def test_when_modules_step_makes_no_difference(row: Row) -> None:
    made = row.build()
    expected = by_hand(made)
    assert equal(stepped(made), expected)
    if in_backward(row):
        assert equal(stepped(made, step_in_backward=True), expected)
    assert not same(made.state_dict(), expected[0].state_dict())


def test_methods_that_need_later_modules_cannot_step_in_the_backward_pass() -> None:
    refused = {row.case.method for row in ROWS if not in_backward(row)}
    assert {"horizon", "man", "dfa", "dni", "target_propagation"} <= refused
    for method in refused:
        row = next(r for r in ROWS if r.case.method == method and not in_backward(r))
        with pytest.raises(InvalidInput, match=r"step_in_backward: .*; valid: false"):
            build(row.cell(step_in_backward=True), images().image, images().task)


def test_two_losses_for_one_parameter_are_found_at_the_first_step() -> None:
    class Twice(Greedy):
        def local(self, k: int, batch: Batch, state: State) -> Local:
            for name in ("first", "second"):
                yield Loss(self.trunk[k](state[0]).sum(), self.of_module(k), f"{name}_{k}")
            return state

    network = models.build("mlp3x32", (3, 8, 8), 4)
    trunk = cut(network, [2], Classification(4))
    with pytest.raises(InvalidInput, match="step_in_backward: two losses of a step reach"):
        stepped(Twice(trunk), step_in_backward=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"accumulate": 2, "schedule": "sequential"}, "accumulate needs schedule joint, got seq"),
        ({"accumulate": 5}, "5 micro-batches .* batch_size, 8; valid: 1 to 4"),
        ({"accumulate": 2, "step_in_backward": True}, "accumulate and step_in_backward exclude"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse(TrainConfig, PLAIN | settings, "training")


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_stepping_in_the_backward_pass_keeps_the_optimisers_state(optimizer: str) -> None:
    states = []
    for within in (False, True):
        made = BACKPROP.build()
        config = TrainConfig(**PLAIN, optimizer=optimizer, step_in_backward=within)
        optimizers = ModuleOptimizers(made, config)
        joint = schedules.build(config, 1, 1, 0)
        for n in range(2):
            joint.step(made, a_batch(8, n), optimizers, nullcontext)
        assert all(p.grad is None for p in made.parameters())
        states.append(optimizers.state_dict()[0])
    assert states[0]["param_groups"] == states[1]["param_groups"]
    assert states[0]["state"].keys() == states[1]["state"].keys()
    for n, state in states[0]["state"].items():
        assert same(state, states[1]["state"][n])


def test_a_run_that_steps_in_the_backward_pass_is_stopped_and_resumed(tmp_path: Path) -> None:
    plain = trainer_of(BACKPROP.cell(), tmp_path / "plain")
    plain.fit()
    cell, stop = BACKPROP.cell(step_in_backward=True), Stop()
    first = trainer_of(cell, tmp_path / "within", stop=stop)
    step = first.step

    def third(batch: Batch) -> dict[str, Tensor]:
        stop.asked = first.progress.step == 2
        return step(batch)

    first.step = third  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        first.fit()
    again = trainer_of(cell, tmp_path / "within")
    again.fit()
    assert same(again.method.state_dict(), plain.method.state_dict())


@pytest.mark.parametrize("kind", ["relu", "tanh"])
@pytest.mark.parametrize(("images", "parts"), [(8, 2), (8, 4), (7, 3), (5, 4), (3, 2)])
def test_accumulated_micro_batches_are_the_whole_batch(kind: str, images: int, parts: int) -> None:
    """Without BatchNorm, in double precision; sizes may differ by one."""
    row = Row(CASES[0], f"mlp3x32-{kind}")
    both = []
    for accumulate in (1, parts):
        made = row.build().double()
        config = TrainConfig(**(PLAIN | {"batch_size": 8}), accumulate=accumulate)
        optimizers = ModuleOptimizers(made, config)
        joint = schedules.build(config, 1, 1, 0)
        losses = []
        for n in range(3):
            b = a_batch(images, n)
            b = Batch(b.x.double(), b.y, b.image, b.index, b.view)
            losses.append(joint.step(made, b, optimizers, nullcontext)["module_0"])
        both.append([*made.parameters(), *losses])
    for ours, theirs in zip(*both, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-13)


def test_a_losss_own_gradients_are_not_scaled() -> None:
    """Direct feedback alignment carries the error at the output back: scaled twice, it would be too
    small by the number of micro-batches."""
    row = Row(Case("dfa"), "mlp3x32-tanh")
    made = row.build()
    for part in (made, *made.children()):
        part.double()
    whole = Batch(a_batch().x.double(), a_batch().y, a_batch().image, a_batch().index)
    after = []
    for accumulate in (1, 4):
        one = copy.deepcopy(made)
        config = TrainConfig(**PLAIN, accumulate=accumulate)
        schedules.build(config, 3, 1, 0).step(
            one, whole, ModuleOptimizers(one, config), nullcontext
        )
        after.append(list(one.parameters()))
    moved = [not torch.equal(a, b) for a, b in zip(after[0], made.parameters(), strict=True)]
    assert all(moved)
    for ours, theirs in zip(*after, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-13)


@rows(lambda row: row.network == row.case.networks[0], one_a_method=True)
def test_every_method_learns_from_micro_batches(row: Row) -> None:
    made = row.build()
    after, losses = stepped(made, accumulate=2)
    assert losses[0].keys() == stepped(made)[1][0].keys()
    assert all(torch.isfinite(value) for step in losses for value in step.values())
    moved = dict(after.named_parameters())
    assert all(not torch.equal(p, moved[name]) for name, p in made.named_parameters())
    assert all(p.grad is None for p in moved.values())


def grown(method_name: str, k: int, **training: Any) -> int:
    """Growth of live bytes in the second step of a ResNet-8 on 32 images."""
    network = models.build("resnet8", (3, 32, 32), 10)
    trunk = cut(network, partition.even(len(network.stages), k), Classification(10))
    method = methods.build(method_name, trunk, {})
    config = TrainConfig(**training)
    optimizers = ModuleOptimizers(method, config)
    x = torch.rand(32, 3, 32, 32)
    batch = Batch(x, torch.arange(32) % 10, x, torch.arange(32))
    joint = schedules.build(config, k, 1, 0)
    joint.begin(method, 0, 1)
    joint.step(method, batch, optimizers, nullcontext)
    with memory.growth() as found:
        joint.step(method, batch, optimizers, nullcontext)
    return found.live


def test_accumulation_needs_a_share_of_the_activations() -> None:
    """Beside it, gradients: the sum, and what is added to it."""
    whole, half, quarter = (grown("backprop", 1, accumulate=n) for n in (1, 2, 4))
    weights = 2 * 4 * 78_000
    assert half < 0.5 * whole + weights
    assert quarter < 0.25 * whole + weights


def wide(**training: Any) -> int:
    """Growth in the second step of an MLP with three wide layers on four images."""
    row = Row(CASES[0], "mlp3x512-relu")
    made = row.build()
    plain = {"momentum": 0, "nesterov": False, "weight_decay": 0}  # no temporary tensors
    config = TrainConfig(**(PLAIN | plain | training))
    optimizers = ModuleOptimizers(made, config)
    joint = schedules.build(config, 1, 1, 0)
    joint.step(made, a_batch(4), optimizers, nullcontext)
    with memory.growth() as found:
        joint.step(made, a_batch(4), optimizers, nullcontext)
    return found.live


def test_gradients_that_are_freed_at_once_are_never_all_there() -> None:
    """Weights of 192 x 512, twice 512 x 512 and 512 x 4: the step needs all their gradients, or the
    largest."""
    layer = 4 * 512 * 512
    everything = 4 * (192 * 512 + 2 * 512 * 512 + 4 * 512)
    assert everything < wide() < everything + 0.5 * layer
    assert layer < wide(step_in_backward=True) < 1.6 * layer


def built(row: Row, modules: int | None = None, **training: Any) -> Method:
    """The row's method with these settings."""
    return build(row.cell(modules, **training), images().image, images().task)[0]


def has_blocks(method: Method) -> bool:
    """Whether some convolution stands behind BatchNorm and ReLU in a block."""
    return any(isinstance(part, Normed) for part in method.modules())


@rows(one_a_method=True)
@pytest.mark.parametrize("what", ["norms", "stages"])
def test_what_is_recomputed_is_what_was_there(what: str, row: Row) -> None:
    plain = row.build()
    if not (plain.whole_modules if what == "stages" else has_blocks(plain)):
        with pytest.raises(InvalidInput, match=r"recompute: .*; valid: none, "):
            built(row, recompute=what)
        return
    made = built(row, recompute=what)
    assert same(made.state_dict(), plain.state_dict())
    assert equal(stepped(made), stepped(plain))


@pytest.mark.parametrize("what", ["norms", "stages"])
def test_what_is_recomputed_in_bf16_is_what_was_there(what: str) -> None:
    """The second pass runs outside of the step's autocast, and yet in its precision."""
    row = Row(Case("dgl", {"feature_dim": 16}), "resnet8")
    with torch.backends.mkldnn.flags(enabled=False):  # see test_isolation.py
        plain, mine = (stepped(built(row, recompute=r), precision="bf16") for r in ("none", what))
    assert equal(mine, plain)


def runs_of_stages(method: Method) -> list[list[int]]:
    """How often each stage of each module runs in a step."""
    counts = [[0] * len(list(module.children())) for module in method.trunk]

    def count(k: int, n: int, *_: object) -> None:
        counts[k][n] += 1

    for k, module in enumerate(method.trunk):
        for n, stage in enumerate(module.children()):
            stage.register_forward_pre_hook(partial(count, k, n))
    for loss in method.train().losses(a_batch()):
        loss.value.backward()
    counts[-1].pop()  # the head
    return counts


@rows(lambda row: row.network == row.case.networks[0], one_a_method=True)
def test_every_stage_but_a_modules_last_runs_again(row: Row) -> None:
    """Methods that call their modules declare it rightly; of two modules one has two stages."""
    modules = 1 if method_class(row.case.method).single else 2
    if not row.build().whole_modules:
        return
    ways = [runs_of_stages(built(row, modules, recompute=w)) for w in ("none", "stages")]
    for once, again in zip(*ways, strict=True):
        assert again[-1] == once[-1]
        assert all(a > b for a, b in zip(again[:-1], once[:-1], strict=True))


BLOCK_MAP = 64 * 16 * 32 * 32 * 4
"""Bytes of a map of a block with 16 channels, of 64 images."""


@pytest.mark.parametrize(("what", "maps"), [("none", 4), ("norms", 3)])
def test_a_block_keeps_a_map_less(what: str, maps: int) -> None:
    """Of each block the results of both convolutions, for BatchNorm, and the ReLU of the sum; and
    what BatchNorm and ReLU make between the convolutions, if it is kept. At the end of the forward
    pass the last block's branch is there too. Beside maps, statistics of channels."""
    chain = nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
    for block in chain:
        block.runner = recompute.norms if what == "norms" else kept  # type: ignore[assignment]
    x = torch.rand(64, 16, 32, 32)
    chain(x)
    with memory.growth() as grown:
        result = chain(x)
    peak = (3 * maps + 1) * BLOCK_MAP
    assert peak <= grown.live < peak + 0.01 * BLOCK_MAP
    assert result.requires_grad
