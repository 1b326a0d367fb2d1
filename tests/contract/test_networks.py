"""What every network family must give: stages that compose to the net, names, any precision, any
cut."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import NETWORKS
from modulewise import models
from modulewise.errors import InvalidInput
from modulewise.models import partition
from modulewise.models.network import Network, cut
from modulewise.tasks.classification import Classification


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Network:
    """A net of every family."""
    torch.manual_seed(0)
    return models.build(request.param, NETWORKS[request.param], 5)


def test_every_family_is_exercised() -> None:
    for family in models.families():
        assert any(re.fullmatch(family.PATTERN, name) for name in NETWORKS), (
            f"{family.__name__}: add a net to NETWORKS in tests/cases.py"
        )


@pytest.mark.parametrize(
    ("name", "dense"),
    [(name, int(getattr(f, "DENSE", 0))) for f in models.families() for name in f.EXAMPLES],
)
def test_every_example_builds(name: str, dense: int) -> None:
    with torch.device("meta"):
        scores = models.build(name, (3, 32, 32), 10).eval()(torch.empty(2, 3, 32, 32))
    assert scores.shape == ((2, 10, 32 // dense, 32 // dense) if dense else (2, 10))


@pytest.mark.parametrize("size", [32, 96])
@pytest.mark.parametrize("name", ["resnet110", "densenet100-12"])
def test_sizes_of_svhn_and_stl10(name: str, size: int) -> None:
    """The papers' stem is the same at both sizes: 3x3 at stride 1; two halvings."""
    with torch.device("meta"):
        network = models.build(name, (3, size, size), 10)
        assert network(torch.empty(2, 3, size, size)).shape == (2, 10)
    shapes = network.stage_shapes
    assert shapes[0][1:] == (size, size)
    assert shapes[-1][1:] == (size // 4, size // 4)


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_have_one_column_or_map_a_class(name: str) -> None:
    family = next(f for f in models.families() if re.fullmatch(f.PATTERN, name))
    image = NETWORKS[name]
    scores = models.build(name, image, 5).eval()(torch.rand(3, *image))
    dense = int(getattr(family, "DENSE", 0))
    assert scores.shape == (3, 5, *(-(-side // dense) for side in image[1:] if dense))


def test_stage_names_are_unique_and_one_a_stage(network: Network) -> None:
    assert len(network.names) == len(set(network.names)) == len(network.stages)


def test_stages_and_head_compose_to_the_net(network: Network) -> None:
    network.eval()
    h = x = torch.rand(2, *network.image)
    for stage, shape in zip(network.stages, network.stage_shapes, strict=True):
        h = stage(h)
        assert h.shape[1:] == shape
    assert torch.equal(network.head(h), network(x))


def test_stages_and_head_hold_every_parameter(network: Network) -> None:
    held = [p for part in (*network.stages, network.head) for p in part.parameters()]
    assert len(held) == len(set(map(id, held)))
    assert {id(p) for p in held} == {id(p) for p in network.parameters()}


def test_finding_shapes_changes_nothing(network: Network) -> None:
    before = {k: v.clone() for k, v in network.state_dict().items()}
    assert network.stage_shapes
    partition.activation_bytes(network)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_it_works_in_float64(network: Network) -> None:
    x = torch.rand(4, *network.image)
    network.eval()
    single = network(x)
    double = network.double()(x.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)


def test_a_cut_leaves_the_function_unchanged(network: Network) -> None:
    network.eval()
    x, n = torch.rand(2, *network.image), len(network.stages)
    expected = network(x)
    for k in range(1, n + 1):
        trunk = cut(network, partition.even(n, k), Classification(5))
        assert len(trunk.modules) == k
        h = x
        for i, module in enumerate(trunk.modules):
            h = module(h)
            if i < k - 1:
                assert h.shape[1:] == trunk.cut_shapes[i]
        assert torch.equal(h, expected)
        assert len(trunk.cut_shapes) == k - 1


def test_a_cut_shares_the_stages(network: Network) -> None:
    trunk = cut(network, [1] if len(network.stages) > 1 else [], Classification(5))
    assert {id(p) for m in trunk.modules for p in m.parameters()} == {
        id(p) for p in network.parameters()
    }


@given(st.data())
@settings(max_examples=20)
def test_any_increasing_cuts_leave_the_function_unchanged(data: st.DataObject) -> None:
    network = models.build("resnet14", (1, 8, 8), 5).eval()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(network.stages) - 1))))
    h = x = torch.rand(2, 1, 8, 8)
    for module in cut(network, cuts, Classification(5)).modules:
        h = module(h)
    assert torch.equal(h, network(x))


def test_more_modules_than_stages_are_refused(network: Network) -> None:
    n = len(network.stages)
    with pytest.raises(InvalidInput, match=f"valid: 1 to {n}"):
        partition.resolve(network, "even", n + 1)


@pytest.mark.parametrize(
    "name",
    [
        "resnet33",
        "resnet2",
        "mlp0",
        "mlp3x0",
        "vgg8b-w0",
        "vgg11b-d100",
        "cnn0x8",
        "cnn3x8-d1",
        "cnn3x8-d4",
        "cnn3x8-d3.2",
        "cnn3x8-h11",
        "densenet100-0",
        "densenet12-12",
        "densenet4-12",
    ],
)
def test_impossible_sizes_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(InvalidInput, match=name) as error:
        models.build(name, (3, 32, 32), 10)
    assert "\n" not in str(error.value)


def test_an_unknown_name_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(InvalidInput, match="did you mean 'resnet32'") as error:
        models.build("resnt32", (3, 32, 32), 10)
    assert "mlp2" in str(error.value)
    assert "vgg8b" in str(error.value)


def test_convolutions_of_a_resnet_start_as_published() -> None:
    """N(0, 2 / (k k C_out)); BatchNorm at 1 and 0."""
    torch.manual_seed(0)
    network = models.build("resnet110", (3, 32, 32), 10)
    for c in (16, 32, 64):
        weights = [
            m.weight
            for m in network.modules()
            if isinstance(m, torch.nn.Conv2d) and m.weight.shape[0] == c
        ]
        for kernel in (1, 3):
            drawn = (
                torch.cat([w.flatten() for w in weights if w.shape[2] == kernel])
                if kernel == 3 or c > 16
                else None
            )
            if drawn is not None:
                expected = (2 / (kernel * kernel * c)) ** 0.5
                slack = 4 / (2 * len(drawn)) ** 0.5
                assert abs(drawn.std().item() / expected - 1) < slack
                assert abs(drawn.mean().item()) < 4 * expected / len(drawn) ** 0.5
    for m in network.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            assert torch.equal(m.weight, torch.ones_like(m.weight))
            assert torch.equal(m.bias, torch.zeros_like(m.bias))
