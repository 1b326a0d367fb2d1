"""What runs inside an allocation, without Slurm: commands, the exit statuses they leave, and
Slurm's warning."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from snakemake_executor_plugin_submitit.job import LEAVE, PACK, Allocation, refuse_exclusive
from snakemake_executor_plugin_submitit.ledger import AGAIN

SAVES = (
    'exec python3 -c "import signal, sys, pathlib, time; signal.signal(signal.SIGUSR2, lambda *_: '
    "(pathlib.Path('saved').touch(), sys.exit(75))); pathlib.Path('ready').touch(); "
    'time.sleep(60)"'
)
FINISHES = SAVES.replace("sys.exit(75)", "sys.exit(0)")
"""Bash cannot trap a signal that was ignored at its start; Python can."""
DEAF = "echo $$ > deaf; touch ready; sleep 60"


class Requeued(Exception):
    """submitit would now ask Slurm to requeue the job and leave."""


REFUSED = subprocess.CalledProcessError(1, ["scontrol", "requeue", "7"])


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    monkeypatch.setenv("SUBMITIT_DEBUG_JOB_ID", "7")
    before = signal.getsignal(signal.SIGUSR2)
    yield
    signal.signal(signal.SIGUSR2, before)


def allocation(
    *commands: str, resumable: bool = True, limit_s: float = 36000.0, leave_s: float = 1.0
) -> Allocation:
    here = Path.cwd()
    return Allocation(
        list(commands), here, str(here), resumable, limit_s, leave_s, str(here / "cache")
    )


def exits() -> dict[str, str]:
    return {p.name: p.read_text() for p in Path.cwd().glob("*.exit")}


def warned(
    a: Allocation,
    ready: Callable[[], bool] = Path("ready").exists,
    then: type[Exception] | Exception = Requeued,
    ends: type[BaseException] = Requeued,
) -> Allocation:
    """Run, with Slurm's warning as soon as the commands are ready; what submitit would requeue.

    Args:
        a: the allocation.
        ready: whether the warning may come.
        then: what the requeue raises.
        ends: with what the allocation ends.
    """
    left: list[Any] = []

    def handler(*_: Any) -> None:
        left.append(a.checkpoint())
        raise then

    def warn() -> None:
        while not ready():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGUSR2)

    signal.signal(signal.SIGUSR2, handler)
    thread = threading.Thread(target=warn)
    thread.start()
    try:
        with pytest.raises(ends):
            a()
    finally:
        thread.join()
    return left[0].function  # type: ignore[no-any-return]


def ends(pid: int) -> bool:
    """Whether a process is gone, or is within seconds."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_commands_run_side_by_side_and_leave_their_exit_statuses() -> None:
    meet = (
        "touch {me}; "
        "for i in $(seq 100); do [ -e {other} ] && exit {status}; sleep 0.05; done; exit 9"
    )
    allocation(
        meet.format(me="a", other="b", status=0),
        meet.format(me="b", other="a", status=3),
        f"echo $PWD ${PACK}; exit 0",
    )()
    assert exits() == {"7_0.exit": "0", "7_1.exit": "3", "7_2.exit": "0"}
    assert Path("7_2.log").read_text() == f"{Path.cwd()} 3\n"


def test_a_command_alone_writes_to_the_log_of_the_allocation(
    capfd: pytest.CaptureFixture[str],
) -> None:
    allocation("echo words; echo more >&2")()
    said = capfd.readouterr()
    assert (said.out, said.err, exits()) == ("words\n", "more\n", {"7_0.exit": "0"})
    assert not list(Path.cwd().glob("*.log"))


def test_what_an_earlier_allocation_finished_is_skipped() -> None:
    Path("7_0.exit").write_text("0")
    allocation("touch first", "touch second")()
    assert not Path("first").exists() and Path("second").exists()
    assert exits() == {"7_0.exit": "0", "7_1.exit": "0"}


@pytest.mark.parametrize(
    ("mode", "refused"), [("Default", False), ("Exclusive_Process", True), ("Prohibited", True)]
)
def test_nothing_is_packed_on_a_gpu_of_one_process(
    mode: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = Path("bin/nvidia-smi")
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\necho {mode}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent.absolute()}:{os.environ['PATH']}")
    if refused:
        with pytest.raises(RuntimeError, match="compute mode is exclusive: remove pack"):
            allocation("touch a", "touch b")()
        assert not Path("a").exists()
    else:
        refuse_exclusive()
    allocation("touch alone")()
    assert Path("alone").exists()


def test_on_a_warning_a_command_with_a_handler_saves_and_is_run_again() -> None:
    again = warned(allocation(SAVES, leave_s=20))
    assert Path("saved").exists() and not exits(), "it left because it was asked to: that is no end"
    assert again.commands == [SAVES] and not again._running


def test_one_without_a_handler_survives_the_warning_and_is_ended_when_its_time_is_up() -> None:
    begun = time.monotonic()
    warned(allocation(DEAF, leave_s=1.5))
    assert time.monotonic() - begun >= 1.5, "it had its time"
    assert ends(int(Path("deaf").read_text())) and not exits()


def test_what_comes_to_its_end_after_a_warning_is_not_run_again() -> None:
    again = warned(
        allocation(FINISHES, DEAF, leave_s=1.5),
        ready=lambda: Path("ready").exists() and Path("deaf").exists() and _trapped(),
    )
    assert exits() == {"7_0.exit": "0"}
    assert len(again.commands) == 2


def _trapped() -> bool:
    time.sleep(0.5)
    return True


@pytest.mark.parametrize("resumable", [True, False])
def test_all_at_their_end_after_a_warning_the_allocation_ends(resumable: bool) -> None:
    """Also at the limit: who made it in time has not failed."""
    with pytest.raises(SystemExit) as end:
        warned(allocation(FINISHES, resumable=resumable, limit_s=60, leave_s=20))
    assert not end.value.code and exits() == {"7_0.exit": "0"}


@pytest.mark.parametrize("delay_s", [15, 120, 600, 3600])
def test_at_its_limit_what_cannot_resume_says_so(delay_s: float) -> None:
    """Slurm's warning comes up to a minute before the time asked for, whatever that time is."""
    a = allocation("true", resumable=False, limit_s=36000, leave_s=delay_s * LEAVE)
    a()
    Path("7_0.exit").unlink()  # as if it had not come to its end
    a._begun = time.time() - (36000 - delay_s - 59)
    with pytest.raises(
        RuntimeError,
        match="reached its time limit of 600 min and cannot resume: give it more runtime",
    ):
        a.checkpoint()


def test_preempted_what_cannot_resume_is_run_again() -> None:
    again = warned(allocation(DEAF, resumable=False, leave_s=0.2))
    assert again.commands == [DEAF] and not exits()


def test_a_requeued_allocation_has_forgotten_that_it_was_told_to_end() -> None:
    """Else it would wait at its end for Slurm to kill it, and hold its GPU."""
    a = allocation(DEAF, leave_s=0.2)
    a._terminated = True
    assert not warned(a)._terminated


@pytest.mark.parametrize(
    "error", [REFUSED, subprocess.TimeoutExpired("scontrol", 60), FileNotFoundError("scontrol")]
)
def test_not_requeued_it_is_handed_back_to_the_controller(error: Exception) -> None:
    """Without a failure: what had saved goes on, what had ended stays as it ended."""
    Path("7_1.exit").write_text("0")
    warned(allocation(SAVES, "true", leave_s=20), then=error, ends=SystemExit)
    assert Path("saved").exists() and exits() == {"7_0.exit": AGAIN, "7_1.exit": "0"}


def test_an_error_before_the_checkpoint_is_an_error() -> None:
    a = allocation("true")
    a.workdir = "/nowhere"
    with pytest.raises(FileNotFoundError):
        a()
    assert not exits()


@pytest.mark.parametrize("home", ["missing", "file"])
def test_without_a_home_to_write_to_the_cache_is_below_the_logs(
    home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    Path("file").touch()
    monkeypatch.setenv("HOME", "/proc/none" if home == "missing" else str(Path("file").absolute()))
    allocation("echo $XDG_CACHE_HOME > said")()
    assert Path("said").read_text().strip() == str(Path("cache").absolute())


def test_a_cache_that_can_be_written_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(Path.cwd()))
    allocation("echo ${XDG_CACHE_HOME-none} > said")()
    assert Path("said").read_text().strip() == "none"
