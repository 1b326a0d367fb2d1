"""A file is written whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from modulewise.files import remove_unfinished, write_atomic


@pytest.mark.parametrize("content", ["größer\n", b"\x00\xff", lambda file: file.write(b"by hand")])
def test_text_bytes_and_what_a_function_writes(
    content: str | bytes | Callable[[IO[bytes]], object], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_text("something longer that was there before")
    write_atomic(path, content)
    wanted = {str: "größer\n".encode(), bytes: b"\x00\xff"}.get(type(content), b"by hand")
    assert path.read_bytes() == wanted
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_readers_of_the_group_may_read_it_as_any_other_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_atomic(tmp_path / "file", "")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_halfway_leaves_the_old_content(
    error: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(file: IO[bytes]) -> None:
        file.write(b"new, but not all of it")
        assert path.read_text() == "old"
        raise error

    with pytest.raises(error):
        write_atomic(path, fail)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_the_old_content(tmp_path: Path) -> None:
    """A limit of file size stands for the disk, in a process of its own."""
    path = tmp_path / "file"
    path.write_text("old")
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from modulewise.files import write_atomic\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_atomic(Path(sys.argv[1]), b'x' * 2000)\n"
    )
    made = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert made.returncode == 1 and "File too large" in made.stderr
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_writer_left_can_be_removed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from modulewise.files import write_atomic\n"
        "write_atomic(Path(sys.argv[1]), lambda file: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    path.write_text("old")
    (tmp_path / "other").write_text("")
    subprocess.run([sys.executable, "-c", code, str(path)])
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 3
    remove_unfinished(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "other"]
