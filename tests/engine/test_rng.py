"""Named streams: functions of (seed, name), each apart from all others and from torch's global
generator."""

from __future__ import annotations

import hashlib

import torch
from hypothesis import given
from hypothesis import strategies as st

from modulewise.rng import fork, generator, seed_of

NAMES = st.lists(st.one_of(st.text(max_size=8), st.integers(0, 99)), max_size=3)


@given(st.integers(0, 10**6), NAMES)
def test_a_seed_is_a_function_of_seed_and_name_that_torch_accepts(
    seed: int, name: list[str | int]
) -> None:
    assert seed_of(seed, *name) == seed_of(seed, *name)
    assert 0 <= seed_of(seed, *name) < 2**63
    generator(seed, *name)


def test_streams_differ() -> None:
    places = [
        (s, *n)
        for s in range(20)
        for n in (("order", 1), ("order", 2), ("trunk",), ("1", 2), (1, 2), ("12",))
    ]
    assert len({seed_of(*p) for p in places}) == len(places)


def test_streams_stay_as_they_are() -> None:
    """A change would silently make new runs incomparable with old ones of the same seed."""
    digest = hashlib.sha256(b"(0, 'trunk')").hexdigest()
    assert seed_of(0, "trunk") == int(digest[:16], 16) // 2


def test_drawing_from_a_stream_leaves_the_global_generator_as_it_was() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with fork(0, "trunk"):
        inside = torch.rand(100)
    generator(0, "order", 1)
    assert torch.equal(torch.rand(3), expected)
    with fork(0, "trunk"):
        assert torch.equal(torch.rand(100), inside)
    with fork(0, "helpers"):
        assert not torch.equal(torch.rand(100), inside)


def test_a_stream_is_left_even_by_an_error() -> None:
    torch.manual_seed(7)
    expected = torch.get_rng_state()
    try:
        with fork(0, "trunk"):
            torch.rand(5)
            raise KeyError
    except KeyError:
        pass
    assert torch.equal(torch.get_rng_state(), expected)
