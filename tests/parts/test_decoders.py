"""The decoder's factored first layer against resize and convolution, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from modulewise.config.types import Resize
from modulewise.parts.decoders import Decoder, interpolation

SHAPES = [
    ((64, 8, 8), (3, 32, 32)),
    ((32, 16, 16), (3, 32, 32)),
    ((3, 5, 7), (1, 11, 9)),  # odd, not square
    ((2, 9, 4), (3, 5, 6)),  # rows down, columns up
    ((4, 8, 8), (3, 3, 5)),
    ((5, 8, 1), (3, 8, 7)),  # one axis stays
    ((6, 1, 3), (2, 1, 1)),
    ((200,), (1, 7, 7)),
]


def both(feature: tuple[int, ...], image: tuple[int, ...]) -> tuple[Decoder, Decoder]:
    """A plain decoder and a factored one of the same weights, in float64."""
    torch.manual_seed(sum(feature))
    plain, factored = (Decoder(feature, image, resize=way) for way in ("plain", "factored"))
    factored.load_state_dict(plain.state_dict())
    return plain.double(), factored.double()


def compare(feature: tuple[int, ...], image: tuple[int, ...], batch: int = 3) -> None:
    plain, factored = both(feature, image)
    h = torch.randn(batch, *feature, dtype=torch.float64)
    weigh = torch.randn(batch, *image, dtype=torch.float64)
    found = []
    for decoder in (plain, factored):
        leaf = h.clone().requires_grad_()
        loss = (decoder(leaf).sigmoid() * weigh).mean()
        wanted = [leaf, *decoder.parameters()]
        found.append((loss.detach(), torch.autograd.grad(loss, wanted)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=1e-14)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("feature", "image"), SHAPES)
def test_both_ways_are_equal(feature: tuple[int, ...], image: tuple[int, ...]) -> None:
    compare(feature, image)


@settings(deadline=None, max_examples=40)
@given(
    c=st.integers(1, 40),
    own=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_both_ways_are_equal_at_any_size(
    c: int, own: tuple[int, int], size: tuple[int, int]
) -> None:
    # one value a channel would leave BatchNorm's variance at zero
    compare((c, *own), (2, *size), batch=4)


@pytest.mark.parametrize(("feature", "image"), SHAPES)
def test_the_first_layer_is_resize_and_convolution(
    feature: tuple[int, ...], image: tuple[int, ...]
) -> None:
    _, factored = both(feature, image)
    seen: list[Tensor] = []
    factored.hidden[1].register_forward_hook(lambda layer, given, out: seen.append(given[0]))
    h = torch.randn(2, *feature, dtype=torch.float64)
    factored(h)
    maps = h if h.dim() == 4 else h[:, :, None, None]
    large = F.interpolate(maps, size=image[1:], mode="bilinear", align_corners=True)
    first = factored.hidden[0]
    expected = F.conv2d(large, first.weight, first.bias, padding=1)
    torch.testing.assert_close(seen[0], expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("n", "size"), [(1, 1), (1, 4), (4, 1), (5, 5), (3, 8), (8, 3)])
def test_interpolation_of_one_axis(n: int, size: int) -> None:
    values = torch.randn(n, dtype=torch.float64)
    line = F.interpolate(
        values[None, None, :, None], (size, 1), mode="bilinear", align_corners=True
    )
    padded = F.pad(line.flatten(), (1, 1))
    matrices = interpolation(n, size)
    assert matrices.shape == (3, size, n)
    for a in range(3):
        torch.testing.assert_close(matrices[a] @ values, padded[a : a + size], rtol=0, atol=1e-14)


def test_initial_draws_and_names_do_not_depend_on_the_way() -> None:
    states = []
    for way in ("plain", "factored", "auto"):
        torch.manual_seed(1)
        states.append(Decoder((8, 4, 4), (3, 8, 8), resize=way).state_dict())
    for state in states[1:]:
        assert list(state) == list(states[0])
        assert all(torch.equal(state[name], value) for name, value in states[0].items())
    assert [n for n in states[0] if n.startswith("hidden.0")] == [
        "hidden.0.weight",
        "hidden.0.bias",
    ]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("way", ["auto", "plain", "factored"])
def test_a_feature_of_the_images_size_is_convolved(way: Resize, last: bool) -> None:
    """In either layout of it; plain, bit for bit as the layers compute it."""
    decoder = Decoder((4, 6, 5), (3, 6, 5), resize=way).double()
    layout = torch.channels_last if last else torch.contiguous_format
    h = torch.randn(2, 4, 6, 5, dtype=torch.float64).contiguous(memory_format=layout)
    bits = {} if way == "plain" else {"rtol": 1e-13, "atol": 1e-13}
    expected = decoder.out(decoder.hidden(h))
    torch.testing.assert_close(decoder(h), expected, **bits or {"rtol": 0, "atol": 0})


def test_no_large_map_is_kept_for_the_backward_pass() -> None:
    """Plain, the resized feature of 64 channels; factored, nothing of more than 12 at its size."""
    kept = {}
    for name, decoder in zip(("plain", "factored"), both((64, 4, 4), (3, 16, 16)), strict=True):
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: sizes.append(t.untyped_storage().nbytes() // 8) or t, lambda t: t
        ):
            decoder(torch.randn(8, 64, 4, 4, dtype=torch.float64, requires_grad=True))
        kept[name] = max(sizes)
    assert kept == {"plain": 8 * 64 * 16 * 16, "factored": 8 * 12 * 16 * 16}
