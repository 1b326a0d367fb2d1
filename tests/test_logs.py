"""Which messages are shown where."""

from __future__ import annotations

import errno
import logging
import re
from pathlib import Path

import pytest

from modulewise import logs

VERB = logging.getLogger("modulewise.cli.train")
TRAINER = logging.getLogger("modulewise.engine.trainer")


def test_the_terminal_shows_all_but_the_many_messages_of_a_training(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with logs.terminal():
        for epoch in range(1, 13):
            TRAINER.info(f"epoch {epoch}")
            now += 1
        TRAINER.warning("a core is shared")
        VERB.info("saved")
        VERB.info("done")
        VERB.error("no room")
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines() == [
        *("epoch 1", "epoch 6", "epoch 11"),
        *("warning: a core is shared", "saved", "done", "error: no room"),
    ]


def test_the_log_of_a_run_holds_every_message_with_its_time(tmp_path: Path) -> None:
    for n in (1, 2):
        with logs.training(tmp_path / "train.log"):
            TRAINER.info(f"epoch {n}")
            TRAINER.info(f"epoch {n}.5")
    VERB.warning("after it")
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert [re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  (.*)", line)[1] for line in lines] == [
        f"epoch {n}" for n in ("1", "1.5", "2", "2.5")
    ]


def test_a_full_disk_is_an_error_of_the_run() -> None:
    with pytest.raises(OSError) as error, logs.training(Path("/dev/full")):
        TRAINER.info("epoch 1")
    assert error.value.errno == errno.ENOSPC


def test_a_message_is_shown_once_until_it_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    with logs.once(VERB) as once:
        for _ in range(3):
            VERB.warning("no answer")
        VERB.warning("refused")
        once.forget()
        VERB.warning("no answer")
    VERB.warning("no answer")
    assert caplog.messages == ["no answer", "refused", "no answer", "no answer"]
