"""Random mutations of valid configurations, given to `modulewise check`: it passes, or says one
line; never a traceback or a file."""

from __future__ import annotations

import copy
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from valid_files import FILES, SWEEP

from modulewise.cli import app

GridPoint = tuple[Any, ...]


def places(content: Any, at: GridPoint = ()) -> Iterator[GridPoint]:
    """Where something stands in a configuration."""
    items: list[tuple[Any, Any]] = list(content.items()) if isinstance(content, dict) else []
    items += list(enumerate(content)) if isinstance(content, list) else []
    for key, value in items:
        yield (*at, key)
        yield from places(value, (*at, key))


def parent(content: Any, at: GridPoint) -> Any:
    for key in at[:-1]:
        content = content[key]
    return content


STRANGE: list[Any] = [
    None, True, False, -1, 0, 1, 2, 1.5, -0.1, 10**6, 2**31, 2**63,
    10**40, 10**400, 1e308, float("nan"), float("inf"), -float("inf"),
    "", " ", "x", "true", "1e-3", "-3", "Zürich", "a/b", "../..", "a\nb: c", "\x00",
    "\x1b[31m", "~nobody", "/dev/null", "x" * 3000,
    "fake", "npz", "imagefolder", "torchvision", "dgl", "contsup", "even", "memory", "one",
    "single", "resnet8", "resnet9", "mlp0", "mlp2x0", "vgg8b-w2",
    [], {}, [[]], [{}], {"": 1}, {1: 2}, {None: None}, [None], [-1], [True],
    ["1.0"], ["1.0", "1.0"], [1, 2, 3], ["even"], [0.5] * 100,
    {"a": {"b": {"c": [1]}}}, {"modules": 2}, {"lr": -1}, {"options": {}}, b"bytes", {"x", "y"},
]  # fmt: skip
KEYS = [
    "",
    "x",
    "Modules",
    "modules ",
    "dataset",
    "recipe",
    "epochs",
    "seeds",
    "path",
    "source",
    "set",
    "method",
    "options",
    "shape",
    0,
    True,
]


def near(value: Any) -> list[Any]:
    """Values of the same type that are wrong, or right only just."""
    if isinstance(value, int | float):
        return [
            -1,
            0,
            1,
            2,
            3,
            4,
            9,
            97,
            10**6,
            2**31,
            2**63,
            10**40,
            -0.5,
            0.1,
            1e308,
            float("nan"),
            float("inf"),
            "1e-3",
            True,
            [value],
        ]
    if isinstance(value, str):
        names = [
            "made",
            "digits",
            "mine",
            "local",
            "plain",
            "info",
            "cuts",
            "paper",
            "resnet8",
            "mlp3x8",
            "vgg8b-w2",
            "mlp0",
            "mlp2x0",
            "resnet7",
        ]
        kinds = [
            "even",
            "memory",
            "one",
            "dgl",
            "contsup",
            "fake",
            "npz",
            "imagefolder",
            "torchvision",
            "sequential",
            "1.0",
            "2.0",
            "3.0",
        ]
        return [
            *names,
            *kinds,
            "",
            "a\nb: c",
            "x" * 300,
            value.upper(),
            f"{value} ",
            [value],
            value + "\x00",
            "..",
            "~nobody/x",
        ]
    if isinstance(value, list):
        return [[], value[::-1], value * 2, [value], value[:1], dict(enumerate(value))]
    return [{}, [], [value], None]


@st.composite
def changed(draw: st.DrawFn) -> dict[str, Any]:
    """The three files, one to three places changed."""
    files = copy.deepcopy(FILES)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(files)))
        found = list(places(files[name]))
        if not found:
            continue
        at = draw(st.sampled_from(found))
        owner, key = parent(files[name], at), at[-1]
        how = draw(
            st.sampled_from(
                [
                    "delete",
                    "rename",
                    "near",
                    "near",
                    "near",
                    "replace",
                    "repeat",
                    "swap",
                    "nest",
                    "misspell",
                ]
            )
        )
        if how == "delete":
            del owner[key]
        elif how == "rename" and isinstance(owner, dict):
            owner[draw(st.sampled_from(KEYS))] = owner.pop(key)
        elif how == "misspell" and isinstance(owner[key], str) and owner[key]:
            owner[key] = owner[key][:-1] + draw(st.sampled_from("ax1-. "))
        elif how == "near":
            owner[key] = copy.deepcopy(draw(st.sampled_from(near(owner[key]))))
        elif how == "replace":
            owner[key] = copy.deepcopy(draw(st.sampled_from(STRANGE)))
        elif how == "repeat" and isinstance(owner, list):
            owner.append(copy.deepcopy(owner[key]))
        elif how == "swap":
            other = draw(st.sampled_from(found))
            second = parent(files[name], other)
            if at[: len(other)] != other and other[: len(at)] != at:
                owner[key], second[other[-1]] = second[other[-1]], owner[key]
        elif how == "nest":
            owner[key] = draw(st.sampled_from([[owner[key]], {key: owner[key]}]))
    return files


GARBAGE = [
    b"\x00", b"\xff\xfe", b"\t", b"\n", b":", b": ", b"- ", b"&a ", b"*a",
    b"!!python/object:os.system ", b"<<: ", b"{", b"[", b"'", b'"',
    b"#", b"---\n", b"2020-13-45", b"!!int x", b"!!float y", b"? ", b"|",
    b"\xc3", b"%YAML 9\n", b"0o9", b"!!set ", b"!!binary ?",
    b"1" * 5000,
]  # fmt: skip


@st.composite
def scribbled(draw: st.DrawFn) -> dict[str, bytes]:
    """The three files as bytes, one of them truncated, doubled, or with garbage in it."""
    files = {
        name: yaml.safe_dump(content, sort_keys=False).encode() for name, content in FILES.items()
    }
    name = draw(st.sampled_from(sorted(files)))
    text = files[name]
    for _ in range(draw(st.integers(1, 3))):
        a, b = sorted(draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
        how = draw(
            st.sampled_from(["cut", "insert", "insert", "insert", "remove", "double", "bytes"])
        )
        piece = (
            draw(st.sampled_from(GARBAGE))
            if how == "insert"
            else draw(st.binary(max_size=4))
            if how == "bytes"
            else b""
        )
        text = {"cut": text[:a], "remove": text[:a] + text[b:], "double": text[:b] + text[a:]}.get(
            how, text[:a] + piece + text[a:]
        )
    return files | {name: text}


def write(folder: Path, files: dict[str, Any]) -> None:
    for name, content in files.items():
        text = (
            content
            if isinstance(content, bytes)
            else yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()
        )
        (folder / name).write_bytes(text)


def check(folder: Path) -> list[str]:
    """The command line of a check of the files in a folder."""
    return [
        "check",
        "--sweep",
        str(folder / "sweep.yaml"),
        "--root",
        str(folder),
        "--data",
        str(folder / "data"),
        "--runs",
        str(folder / "runs"),
    ]


def verdict(files: dict[str, Any], run: Callable[[list[str]], tuple[int, str]]) -> None:
    """Check a configuration in a folder of its own: it passes, or is refused in one line, and
    nothing is written."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, files)
        before = {p: p.read_bytes() for p in folder.rglob("*")}
        status, said = run(check(folder))
        assert {p: p.read_bytes() for p in folder.rglob("*")} == before
        assert status in (0, 2), said
        if status:
            assert said.startswith("error: ") and said.count("\n") == 1, said
            assert all(c.isprintable() for c in said[:-1]), said
            assert "Traceback" not in said and len(said) < 5000


@pytest.fixture
def called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[list[str]], tuple[int, str]]:
    """Runs the command line in this process; gives its exit status and what it said of an error."""

    def run(words: list[str]) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["modulewise", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            app.main()
        return int(left.value.code or 0), capsys.readouterr().err

    return run


def a_process(words: list[str]) -> tuple[int, str]:
    """Runs the command line for real."""
    done = subprocess.run(
        [sys.executable, "-c", "from modulewise.cli.app import main; main()", *words],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stderr


# One fixture per test, not per example: nothing of it is kept from one example to the next.
common = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def test_the_configuration_itself_is_valid(called: Callable[[list[str]], tuple[int, str]]) -> None:
    with TemporaryDirectory() as name:
        write(Path(name), FILES)
        assert called(check(Path(name))) == (0, "")


@settings(max_examples=40, **common)
@given(files=changed())
def test_changed_values(
    files: dict[str, Any], called: Callable[[list[str]], tuple[int, str]]
) -> None:
    verdict(files, called)


@settings(max_examples=30, **common)
@given(files=scribbled())
def test_scribbled_text(
    files: dict[str, bytes], called: Callable[[list[str]], tuple[int, str]]
) -> None:
    verdict(files, called)


@pytest.mark.slow
@settings(max_examples=5000, derandomize=False, **common)
@given(files=st.one_of(changed(), scribbled()))
def test_many_more(files: dict[str, Any], called: Callable[[list[str]], tuple[int, str]]) -> None:
    verdict(files, called)


@pytest.mark.parametrize("seed", range(3))
def test_a_real_process(seed: int) -> None:
    text = yaml.safe_dump(SWEEP).encode()
    at = random.Random(seed).randrange(len(text))
    verdict(
        FILES
        | {
            "sweep.yaml": [
                text[:at],
                text[:at] + b"\xff" + text[at:],
                text.replace(b"seeds", b"seads"),
            ][seed]
        },
        a_process,
    )
