"""Targets, what the maps minimise, and one step of every variant, written a second time."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cases import CLASSES, Case, Row, a_batch
from modulewise import methods
from modulewise.errors import InvalidInput
from modulewise.method import Batch, Method
from modulewise.models.network import Network, cut
from modulewise.parts.inverses import Inverse
from modulewise.tasks.classification import Classification

WIDTH, ETA = 6, 0.3


class Bent(nn.Module):
    """An activation that has an inverse."""

    def forward(self, h: Tensor) -> Tensor:
        """Half of what is negative."""
        return torch.where(h < 0, h / 2, h)


class Undo(nn.Module):
    """The exact inverse of a module that is a square linear layer and perhaps `Bent`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        linear = next(m for m in module.modules() if isinstance(m, nn.Linear))
        self.weight = nn.Parameter(linear.weight.detach().clone())
        self.bias = nn.Parameter(linear.bias.detach().clone())
        self.bent = any(isinstance(m, Bent) for m in module.modules())

    def forward(self, h: Tensor) -> Tensor:
        """B after -> B before."""
        h = torch.where(h < 0, 2 * h, h) if self.bent else h
        return torch.linalg.solve(self.weight, (h - self.bias).T).T


def images(size: int = 8) -> Batch:
    """In double precision."""
    drawn = torch.Generator().manual_seed(7)
    x = torch.randn(size, 3, 2, 2, dtype=torch.float64, generator=drawn)
    return Batch(x, torch.arange(size) % CLASSES, x, torch.arange(size))


def chain(act: type[nn.Module], orthogonal: bool = False, **options: Any) -> Method:
    """Four modules of one layer each, the last with a classifier of as many units: no output is
    smaller than another."""
    torch.manual_seed(0)
    layers: list[tuple[str, nn.Module]] = []
    for n in range(4):
        linear = nn.Linear(WIDTH if n else 12, WIDTH)
        layers.append((str(n), nn.Sequential(*[nn.Flatten()][n:], linear, act())))
    network = Network(layers, nn.Linear(WIDTH, CLASSES), (3, 2, 2))
    trunk = cut(network, [1, 2, 3], Classification(CLASSES))
    made = methods.build("target_propagation", trunk, {"eta": ETA, **options}).double().train()
    with torch.no_grad():  # let errors be large beside rounding
        made.trunk[3][-1].weight.mul_(5)
        for layer in made.trunk.modules():
            if orthogonal and isinstance(layer, nn.Linear):
                nn.init.orthogonal_(layer.weight)
    return made


def knowing(method: Method) -> Method:
    """The exact inverse of the module above in the place of every learnt map."""
    for k in range(len(method.inverses)):
        method.inverses[k] = Undo(method.trunk[k + 1])
    return method


class Step:
    """One step, seen from outside: what all modules give, and the targets they are given."""

    def __init__(self, method: Method, given: Batch, seed: int = 3) -> None:
        outputs: list[Tensor] = []

        def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
            if output.requires_grad:  # passes of noise have no graph
                output.retain_grad()
                outputs.append(output)

        hooks = [module.register_forward_hook(keep) for module in method.trunk]
        method.zero_grad()
        torch.manual_seed(seed)
        for loss in method.losses(given):
            loss.value.backward()
        for hook in hooks:
            hook.remove()
        assert len(outputs) == method.k
        self.h = [h.detach() for h in outputs]
        self.errors = [len(given.x) * h.grad for h in outputs]
        self.targets = [h - e for h, e in zip(self.h, self.errors, strict=True)]


def slopes(method: Method, given: Batch) -> list[Tensor]:
    """dL / dh of each image for the output of every module, L the net's loss, end to end."""
    h, outputs = given.x, []
    for module in method.trunk:
        h = module(h)
        outputs.append(h)
    loss = F.cross_entropy(h, given.y, reduction="sum")
    return list(torch.autograd.grad(loss, outputs))


def close(found: Tensor | None, expected: Tensor) -> None:
    assert found is not None
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_through_orthogonal_modules_targets_are_gradient_steps() -> None:
    """The inverse of an orthogonal map is its transpose, and so its Jacobian's: h_k - t_k is eta
    dL/dh_k in every module, every update eta times backpropagation's."""
    method, given = knowing(chain(nn.Identity, orthogonal=True)), images()
    step = Step(method, given)
    for error, slope in zip(step.errors[:3], slopes(method, given)[:3], strict=True):
        close(error, ETA * slope)
    net = copy.deepcopy(method)
    net.zero_grad()
    F.cross_entropy(net.predict(given.x), given.y).backward()
    for k, factor in enumerate((ETA, ETA, ETA, 1.0)):
        for p, q in zip(method.trunk[k].parameters(), net.trunk[k].parameters(), strict=True):
            close(p.grad, factor * q.grad)


@pytest.mark.parametrize("targets", ["inverse", "difference"])
def test_with_exact_inverses_a_module_would_reach_its_target_from_the_one_below(
    targets: str,
) -> None:
    """f_k(t_{k-1}) = t_k: always without differences, and with them where maps are affine."""
    act = Bent if targets == "inverse" else nn.Identity
    method = knowing(chain(act, targets=targets))
    step = Step(method, images())
    close(step.errors[2], ETA * slopes(method, images())[2])
    for k in (1, 2):
        assert step.errors[k - 1].abs().max() > 1e-3
        close(method.trunk[k](step.targets[k - 1]), step.targets[k])


def test_with_exact_inverses_and_no_error_targets_are_the_outputs() -> None:
    """Vanilla targets of a module that is where it should be; difference targets are so whatever
    the maps are."""
    for method in (
        knowing(chain(Bent, targets="inverse", eta=1e-14)),
        chain(Bent, eta=1e-14),
    ):
        step = Step(method, images())
        for h, t in zip(step.h[:3], step.targets[:3], strict=True):
            torch.testing.assert_close(t, h, rtol=0, atol=1e-8)


def jacobians(method: Method, k: int, last: int) -> Tensor:
    """Of linear modules k to last, together."""
    found = torch.eye(WIDTH, dtype=torch.float64)
    for module in method.trunk[k : last + 1]:
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                found = layer.weight.detach() @ found
    return found


def set_to(method: Method, k: int, weight: Tensor) -> nn.Linear:
    """Give map k this matrix."""
    (layer,) = (m for m in method.inverses[k].modules() if isinstance(m, nn.Linear))
    assert layer.bias is None
    with torch.no_grad():
        layer.weight.copy_(weight / method.feedback_rate)
    return layer


DRAWS = 20_000
"""Of noise: what is zero in the mean is smaller than a tenth of what is not."""


def share(method: Method, k: int, right: Tensor) -> float:
    """Norm of the gradient of map k where its minimum is said to be, in parts of that at zero."""
    sizes = []
    for weight in (right, torch.zeros_like(right)):
        layer = set_to(method, k, weight)
        Step(method, images(DRAWS))
        assert layer.weight.grad is not None
        sizes.append(layer.weight.grad.norm().item())
    return sizes[0] / sizes[1]


def test_the_jacobian_losss_minimum_is_the_transpose() -> None:
    method = chain(nn.Identity, feedback_loss="jacobian")
    for k in range(3):
        right = jacobians(method, k + 1, k + 1).T
        assert share(method, k, right) < 0.1 < share(method, k, 0.7 * right)


@pytest.mark.parametrize("decay", [0.0, 0.4])
def test_the_output_losss_minimum_is_the_damped_pseudo_inverse(decay: float) -> None:
    """arXiv 2006.14331: J^T (J J^T + lambda)^-1, J of the net above; lambda is half the decay,
    times the elements over which the error is a mean."""
    method = chain(
        nn.Identity, targets="direct", feedback_loss="output", feedback_decay=decay, sigma=0.1
    )
    for k in range(3):
        j = jacobians(method, k + 1, 3)
        damping = decay / 2 * j.shape[1] * torch.eye(CLASSES, dtype=torch.float64)
        right = j.T @ torch.linalg.inv(j @ j.T + damping)
        assert share(method, k, right) < 0.1 < share(method, k, 0.7 * right)


def test_through_a_chain_the_output_losss_minima_invert_the_net_above() -> None:
    """Each map makes of what reaches it the closest to the noise that came from below; together,
    from the scores down, they are the pseudo-inverse of the net above."""
    method = chain(nn.Identity, feedback_loss="output")
    down = torch.eye(CLASSES, dtype=torch.float64)
    for k in (2, 1, 0):
        j = jacobians(method, k + 1, 3)
        right = torch.linalg.pinv(down @ j)
        assert share(method, k, right) < 0.1 < share(method, k, 0.7 * right)
        set_to(method, k, right)
        down = right @ down
        close(down, torch.linalg.pinv(j))


@pytest.mark.parametrize("rate", [0.25, 4.0])
def test_maps_learn_at_their_own_rate(rate: float) -> None:
    """What g gives after steps with rate r is what it gives after steps r times as long, under SGD
    with momentum and, but for its epsilon, under Adam."""
    for make in (
        lambda p, lr: torch.optim.SGD(p, lr, 0.9),
        lambda p, lr: torch.optim.Adam(p, lr, eps=1e-30),
    ):
        given = images()
        ends = []
        for method, lr in (
            (chain(nn.Tanh, feedback_rate=rate), 0.01),
            (chain(nn.Tanh), 0.01 * rate),
        ):
            start = copy.deepcopy(method.inverses)
            optimizer = make(method.inverses.parameters(), lr)
            for n in range(3):
                Step(method, given, seed=n)
                optimizer.step()
            h = torch.ones(2, WIDTH, dtype=torch.float64)
            ends.append(torch.cat([g(h) for g in method.inverses]))
            assert not torch.equal(ends[-1], torch.cat([g(h) for g in start]))
        torch.testing.assert_close(ends[0], ends[1], rtol=1e-6, atol=1e-6)


VARIANTS: list[dict[str, Any]] = [
    {"targets": "inverse"},
    {"targets": "difference"},
    {"feedback_loss": "output", "draws": 2, "feedback_decay": 0.1},
    {"targets": "direct", "feedback_loss": "output", "feedback_rate": 0.5},
    {"feedback_loss": "jacobian", "draws": 2},
]


class ByHand:
    """A step of three modules, written from the formulas: t_0, t_1, and what the maps minimise."""

    def __init__(self, method: Method, given: Batch, options: dict[str, Any]) -> None:
        self.f = [copy.deepcopy(m) for m in method.trunk]
        self.g = list(method.inverses)
        self.sigma, self.options = method.sigma, options
        h = given.x
        self.h = [h := module(h).detach() for module in copy.deepcopy(method).trunk]
        scores = self.h[2].requires_grad_()
        self.slope = torch.autograd.grad(F.cross_entropy(scores, given.y), scores)[0] * len(h)
        self.h[2] = scores.detach()
        x = self.h[1].clone().requires_grad_()
        loss = F.cross_entropy(copy.deepcopy(self.f[2])(x), given.y) * len(h)
        self.hidden = self.h[1] - method.eta * torch.autograd.grad(loss, x)[0]
        self.scores = self.h[2] - method.eta * self.slope
        self.kind = (
            options.get("targets", "difference"),
            options.get("feedback_loss", "reconstruction"),
        )

    def targets(self) -> list[Tensor]:
        """t_0, t_1."""
        g, h = self.g, self.h
        if self.kind == ("inverse", "reconstruction"):
            return [g[0](self.hidden), self.hidden]
        if self.kind == ("difference", "reconstruction"):
            return [h[0] + g[0](self.hidden) - g[0](h[1]), self.hidden]
        t1 = h[1] + g[1](self.scores) - g[1](h[2])
        if self.kind[0] == "direct":
            return [h[0] + g[0](self.scores) - g[0](h[2]), t1]
        return [h[0] + g[0](t1) - g[0](h[1]), t1]

    def minimised(self, k: int) -> Tensor:
        """By map k in one draw."""
        f, g, h = (lambda j, x: copy.deepcopy(self.f[j])(x).detach()), self.g, self.h
        n = self.sigma * torch.randn_like(h[k])
        c = h[k] + n
        if self.kind[1] == "reconstruction":
            return (g[k](f(k + 1, c)) - c).square().mean()
        if self.kind[1] == "jacobian":
            d = self.sigma * torch.randn_like(h[k + 1])
            along = (n * (g[k](f(k + 1, c)) - g[k](h[k + 1]))).mean()
            return ((g[k](h[k + 1] + d) - g[k](h[k + 1])).square().mean() - 2 * along) / (
                self.sigma**2
            )
        s = f(2, c) if k == 1 else f(2, f(1, c))
        if k == 0 and self.kind[0] == "difference":
            back = (h[1] + g[1](s) - g[1](h[2])).detach()
            found = h[0] + g[0](back) - g[0](h[1])
        else:
            found = h[k] + g[k](s) - g[k](h[2])
        return (found - c).square().mean() / self.sigma**2


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: "-".join(map(str, o.values())))
@pytest.mark.parametrize("network", ["mlp3x32", "mlp3x8-tanh", "resnet8", "cnn3x8-d2"])
def test_one_step(network: str, options: dict[str, Any]) -> None:
    """Gradients of the fourth step."""
    b = a_batch()
    given = Batch(b.x.double(), b.y, b.image.double(), b.index)
    method = Row(Case("target_propagation", options), network).build().double().train()
    optimizer = torch.optim.SGD(method.parameters(), 0.02)
    for n in range(3):
        Step(method, given, seed=n)
        optimizer.step()
    before = copy.deepcopy(method)
    step, hand = Step(method, given), ByHand(before, given, options)
    for found, expected in zip(step.targets, hand.targets(), strict=False):
        close(found, expected)
    close(step.errors[2], hand.slope)
    torch.manual_seed(3)
    draws, rate = options.get("draws", 1), options.get("feedback_rate", 1.0)
    for k in reversed(range(len(method.inverses))):
        weights = list(before.inverses[k].parameters())
        value = sum(hand.minimised(k) for _ in range(draws)) / draws
        decay = options.get("feedback_decay", 0.0) / 2 * rate**2
        value = (value + decay * sum(w.square().sum() for w in weights)) / rate
        expected = torch.autograd.grad(value, weights)
        for found, e in zip(method.inverses[k].parameters(), expected, strict=True):
            close(found.grad, e)


@pytest.mark.parametrize(
    ("options", "modules", "passes"),
    [
        ({}, 4, 2),
        ({}, 2, 1),
        ({"draws": 3}, 3, 4),
        ({"feedback_loss": "jacobian", "draws": 2}, 3, 3),
        ({"feedback_loss": "output", "draws": 2}, 3, 5),
        ({"targets": "direct", "feedback_loss": "output"}, 4, 4),
        ({"targets": "direct"}, 4, 4),
        ({"feedback_loss": "output"}, 1, 1),
    ],
)
def test_forward_passes_of_a_step(options: dict[str, Any], modules: int, passes: int) -> None:
    """As often as the module that runs most often does."""
    method = Row(Case("target_propagation", options, modules), "mlp4x8").build().train()
    counts = [0] * modules

    def count(k: int) -> None:
        counts[k] += 1

    for k, module in enumerate(method.trunk):
        module.register_forward_hook(lambda *_, k=k: count(k))
    for loss in method.losses(a_batch()):
        loss.value.backward()
    assert max(counts) == method.passes == passes


def test_a_map_is_bounded_where_the_feature_is() -> None:
    method = Row(Case("target_propagation", {"feedback_loss": "output"}), "mlp3x8-tanh").build()
    far = 1e6 * torch.ones(1, 8)
    assert method.inverses[0](far).abs().max() == 1
    direct = {"targets": "direct", "feedback_loss": "output"}
    linear = Row(Case("target_propagation", direct), "mlp3x8-tanh").build().inverses[0]
    assert linear(1e6 * torch.ones(1, CLASSES)).abs().max() > 1


@pytest.mark.parametrize(
    ("after", "before"), [((8, 2, 2), (4, 3, 5)), ((8, 4, 4), (4, 4, 4)), ((7,), (4, 3, 3))]
)
def test_shapes_of_maps(after: tuple[int, ...], before: tuple[int, ...]) -> None:
    assert Inverse(after, before)(torch.zeros(2, *after)).shape == (2, *before)


def test_maps_are_never_rounded_to_bf16() -> None:
    g, h = Inverse((8,), (8,)), torch.randn(2, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(g(h), g.float()(h)) and g(h.bfloat16()).dtype == torch.float32


def test_transposed_jacobians_are_no_inverses() -> None:
    with pytest.raises(InvalidInput, match="needs targets difference or direct, got inverse"):
        chain(nn.Tanh, targets="inverse", feedback_loss="jacobian")
