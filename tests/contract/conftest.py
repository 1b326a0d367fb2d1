"""Runs of the contract are short: counting their operations would take longer than they do."""

from __future__ import annotations

import pytest

from modulewise import measure


@pytest.fixture
def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainers do not count operations; `tests/unit/test_operations.py` tests the count."""
    monkeypatch.setattr(measure, "flops", lambda *_: measure.Flops(1.0, 0.0, 1.0))
