"""What a run records of its method's needs."""

from __future__ import annotations

from pathlib import Path

from cases import Case, Row, trainer_of
from modulewise.engine.needs import needs_of
from modulewise.runs.result import Needs, load


def needs(method: str, **options: object) -> Needs:
    return needs_of(Row(Case(method, options), "mlp3x32").build())


def test_heads_are_counted_over_all_modules() -> None:
    """Two linear classifiers of four classes on 32 units."""
    assert needs("greedy").helpers == {"heads": 2 * (32 * 4 + 4)}


def test_what_never_learns_is_kept() -> None:
    """Two matrices of four by 32 single precision numbers."""
    found = needs("fixed_random")
    assert (found.helpers, found.kept) == ({}, {"heads": 2 * 4 * 32 * 4})


def test_a_moving_average_is_kept_and_the_statistics_of_its_norms_are_not() -> None:
    """A layer of 32 x 32 weights and the 64 of its BatchNorm, twice."""
    assert needs("man", feature_dim=16).kept == {"mixtures": 2 * (32 * 32 + 64) * 4}


def test_a_result_has_its_needs(tmp_path: Path) -> None:
    row = Row(Case("horizon", {"reach": 2, "feature_dim": 8}), "mlp3x32")
    trainer = trainer_of(row.cell(epochs=1), tmp_path)
    trainer.fit()
    assert load(tmp_path / "result.json").needs == needs_of(trainer.method)
