"""The papers' schedule: published check values, and its formula over any budget."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modulewise.config.training import TrainConfig
from modulewise.optim import learning_rate

PAPER = TrainConfig()


@pytest.mark.parametrize(
    ("epoch", "rate"), [(1, 0.010), (2, 0.089), (10, 0.714), (11, 0.791), (160, 0.0)]
)
def test_published_values(epoch: int, rate: float) -> None:
    assert learning_rate(PAPER, epoch, 160) == pytest.approx(rate, abs=5e-4)


def test_the_last_epoch_moves_nothing() -> None:
    assert learning_rate(PAPER, 160, 160) == 0.0


@given(st.integers(20, 500), st.data())
def test_cosine_with_warm_up(epochs: int, data: st.DataObject) -> None:
    e = data.draw(st.integers(1, epochs))
    c = 0.5 * 0.8 * (1 + math.cos(math.pi * e / epochs))
    expected = c * (e - 1) / 10 + 0.01 * (11 - e) / 10 if e <= 10 else c
    assert learning_rate(PAPER, e, epochs) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("epochs", "warm"), [(20, 10), (19, 1), (10, 1), (9, 0)])
def test_a_short_budget_warms_up_for_a_tenth_of_it(epochs: int, warm: int) -> None:
    rates = [learning_rate(PAPER, e, epochs) for e in range(1, epochs + 1)]
    plain = [0.4 * (1 + math.cos(math.pi * e / epochs)) for e in range(1, epochs + 1)]
    warmed = [
        e for e, (r, p) in enumerate(zip(rates, plain, strict=True), start=1) if abs(r - p) > 1e-12
    ]
    assert warmed == list(range(1, warm + 1))
    if warm:
        assert rates[0] == pytest.approx(0.01)


def test_a_single_epoch_is_not_trained_at_zero() -> None:
    assert learning_rate(PAPER, 1, 1) == 0.8


def test_steps_at_half_and_three_quarters() -> None:
    training = TrainConfig(lr_schedule="step", lr=1.0, warmup_epochs=0)
    rates = [learning_rate(training, e, 160) for e in range(1, 161)]
    assert rates == pytest.approx([1.0] * 79 + [0.1] * 40 + [0.01] * 41)


def test_constant() -> None:
    training = TrainConfig(lr_schedule="constant", lr=0.3, warmup_epochs=2, warmup_lr=0.1)
    assert [learning_rate(training, e, 6) for e in range(1, 7)] == pytest.approx(
        [0.1, 0.2, 0.3, 0.3, 0.3, 0.3]
    )


def steps(epochs: int, factor: float, *milestones: float) -> list[float]:
    """Rates of a step schedule from 1."""
    training = TrainConfig(
        lr=1.0, lr_schedule="step", warmup_epochs=0, lr_milestones=milestones, lr_factor=factor
    )
    return [learning_rate(training, e, epochs) for e in range(1, epochs + 1)]


@pytest.mark.parametrize(
    ("epochs", "factor", "falls"),
    [
        (50, 0.2, [15, 30, 45]),
        (400, 0.25, [200, 300, 350, 375]),
        (350, 0.1, [200, 300]),
        (100, 0.5, [7, 14, 29, 57, 58]),
        (10, 0.1, []),
    ],
)
def test_a_step_schedule_falls_at_each_of_its_milestones(
    epochs: int, factor: float, falls: list[int]
) -> None:
    """Also where a fraction of the epochs is not the whole number that was meant by a rounding
    error, such as 0.07 x 100."""
    expected = [factor ** sum(e >= at for at in falls) for e in range(1, epochs + 1)]
    assert steps(epochs, factor, *(at / epochs for at in falls)) == pytest.approx(expected)


@given(st.integers(1, 10_000))
def test_the_default_milestones_are_a_half_and_three_quarters(epochs: int) -> None:
    for e in {1, epochs // 2, epochs // 2 + 1, 3 * epochs // 4, 3 * epochs // 4 + 1, epochs}:
        if e:
            rate = learning_rate(
                TrainConfig(lr=1.0, lr_schedule="step", warmup_epochs=0), e, epochs
            )
            assert rate == 0.1 ** ((2 * e >= epochs) + (4 * e >= 3 * epochs))


@given(st.integers(1, 500), st.integers(1, 50), st.data())
def test_a_rate_of_every_step(epochs: int, steps: int, data: st.DataObject) -> None:
    """The cosine over the part of the run that is done, which never is the whole."""
    training = TrainConfig(lr=0.8, warmup_epochs=10, lr_update="step")
    n = data.draw(st.integers(0, epochs * steps - 1))
    rate = learning_rate(training, n // steps + 1, epochs, n % steps / steps)
    c = 0.4 * (1 + math.cos(math.pi * n / (epochs * steps)))
    warm = 10 if epochs >= 20 else epochs / 10
    begun = n / steps
    expected = c * begun / warm + 0.01 * (1 - begun / warm) if begun < warm else c
    assert rate == pytest.approx(expected, rel=1e-9)
    assert rate > 0


def test_steps_pass_a_milestone_where_it_is() -> None:
    training = TrainConfig(lr=1.0, lr_schedule="step", lr_milestones=(0.5,), warmup_epochs=0)
    rates = [learning_rate(training, e, 3, s / 4) for e in (1, 2, 3) for s in range(4)]
    assert rates == pytest.approx([1.0] * 6 + [0.1] * 6)


@pytest.mark.parametrize(
    ("e", "rate", "digits"),
    [(0, 0.4, 9), (1, 0.39988, 5), (30, 0.3, 9), (45, 0.2, 9), (60, 0.1, 9), (89, 0.000122, 6)],
)
def test_cosine_from_the_full_rate_without_warm_up(e: int, rate: float, digits: int) -> None:
    """InfoPro's on ImageNet: 0.2 (1 + cos(pi e / 90)), set once an epoch."""
    training = TrainConfig(lr=0.4, warmup_epochs=0, lr_update="epoch_start")
    found = learning_rate(training, e + 1, 90)
    assert round(found, digits) == rate
    assert found == pytest.approx(0.2 * (1 + math.cos(math.pi * e / 90)), rel=1e-12)


def test_asynchronous_modules_have_rates_of_epochs() -> None:
    with pytest.raises(ValueError, match="not step under schedule asynchronous"):
        TrainConfig(schedule="asynchronous", lr_update="step")
    assert TrainConfig(schedule="asynchronous", lr_update="epoch_start").schedule == "asynchronous"


@pytest.mark.parametrize(
    ("lr", "i", "printed"),
    [
        (0.01, 0, "0.01"),
        (0.01, 10_000, "0.0077417"),
        (0.01, 20_000, "0.0054053"),
        (0.01, 30_000, "0.0029430"),
        (0.01, 39_999, "0.00010071"),
        (0.015, 10_000, "0.0116012"),
        (0.015, 20_000, "0.0080847"),
        (0.015, 30_000, "0.0043789"),
    ],
)
@pytest.mark.parametrize("every", [4_000, 40_000])
def test_poly_of_every_iteration(lr: float, i: int, printed: str, every: int) -> None:
    """InfoPro's on Cityscapes, whatever the steps between evaluations."""
    training = TrainConfig(lr=lr, lr_schedule="poly", lr_update="step", warmup_epochs=0)
    found = learning_rate(training, i // every + 1, 40_000 // every, i % every / every)
    assert f"{found:.{len(printed) - 2}f}" == printed
    assert found == pytest.approx((lr - 1e-4) * (1 - i / 40_000) ** 0.9 + 1e-4, rel=1e-12)


def test_poly_with_a_rate_an_epoch() -> None:
    """A power and a floor of its own; the floor is the last epoch's rate, of its end."""
    settings = TrainConfig(lr=1.0, lr_schedule="poly", lr_power=2, lr_floor=0.2, warmup_epochs=0)
    rates = [learning_rate(settings, e, 4) for e in (1, 2, 3, 4)]
    assert rates == pytest.approx([0.65, 0.4, 0.25, 0.2])
    start = settings.model_copy(update={"lr_update": "epoch_start"})
    assert [learning_rate(start, e, 4) for e in (1, 2, 3, 4)] == pytest.approx([1, 0.65, 0.4, 0.25])
