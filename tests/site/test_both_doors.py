"""`snakemake --configfile` and `modulewise check` read a sweep alike, and what YAML 1.1 takes for
something else than it looks like is refused as it is written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from modulewise.config.loading import read_yaml
from modulewise.config.merged import sweep_file
from modulewise.config.plan import load_plan
from modulewise.config.sweep import Sweep
from modulewise.errors import InvalidInput, parse
from snakemake_executor_plugin_submitit.configfiles import check, fault

REPO = Path(__file__).parents[2]
SWEEP = """sweep: tiny
title: {}
grids:
  - {{datasets: [fake], networks: [resnet8], recipes: [dgl], modules: [2], seeds: 1}}
"""
TRUTH, BASE_8 = ", or say true or false", ", or a number without the first 0"
TAKEN = {
    "2026-11-26": ("a date", ""),
    "2026-11-26T10:00:00Z": ("a date", ""),
    "2026-13-45": ("a date", ""),
    "12:30": ("a number in base 60", ""),
    "12:30:00": ("a number in base 60", ""),
    "190:20:30.15": ("a number in base 60", ""),
    "yes": ("a truth value", TRUTH),
    "No": ("a truth value", TRUTH),
    "on": ("a truth value", TRUTH),
    "OFF": ("a truth value", TRUTH),
    "010": ("a number in base 8", BASE_8),
    "007": ("a number in base 8", BASE_8),
}
NUMBERS = (".inf", "-.INF", ".nan", "1.50", "3", "0x10", "1_000", "true", "False", "1.0e+3")


def message(path: Path) -> str:
    """What the sweep's reader says of a file."""
    with pytest.raises(InvalidInput) as error:
        load_plan(path, REPO)
    return str(error.value)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("s.yaml")


@pytest.mark.parametrize("word", TAKEN)
def test_a_word_that_yaml_takes_for_something_else(word: str, file: Path) -> None:
    taken, number = TAKEN[word]
    said = f"s.yaml: line {{}}: YAML takes {word} for {taken}; write it in quotes: '{word}'{number}"
    file.write_text(SWEEP.format(word))
    assert message(file) == said.format(2)
    with pytest.raises(InvalidInput) as error:
        sweep_file([file], {"title": object()}, Path("merged"))
    assert str(error.value) == said.format(2)
    file.write_text(f"sweep: s\ngrids:\n  - training: {{lr_schedule: {word}}}\n")
    assert message(file) == said.format(3)
    file.write_text(f"{word}: 1\n")
    assert message(file) == said.format(1)
    file.write_text(SWEEP.format(f"'{word}'"))
    assert load_plan(file, REPO).sweep.title == word


@pytest.mark.parametrize("word", NUMBERS)
def test_a_number_for_text_is_shown_as_it_is_written(word: str, file: Path) -> None:
    file.write_text(SWEEP.format(word))
    said = f"input should be a valid string, got {word}; write it in quotes: '{word}'"
    assert message(file) == f"s.yaml: title: {said}"
    file.write_text(SWEEP.format("x").replace("[fake]", f"[a, {word}]"))
    assert message(file) == f"s.yaml: grids[0].datasets[1]: {said}"


@pytest.mark.parametrize("word", ["1e3", "12:3x", "2026-11", "12-30", "~/x", "y", "08", "0.5.1"])
def test_words_that_are_words(word: str, file: Path) -> None:
    file.write_text(SWEEP.format(word))
    assert load_plan(file, REPO).sweep.title == word


def test_a_date_of_the_command_line_is_the_word_that_it_was(file: Path) -> None:
    import datetime

    file.write_text(SWEEP.format("x"))
    merged = read_yaml(file) | {"title": datetime.date(2026, 11, 26)}
    made = sweep_file([file], merged, Path("merged"))
    assert parse(Sweep, read_yaml(made), "").title == "2026-11-26"


def test_content_that_json_does_not_have(file: Path) -> None:
    file.write_text(SWEEP.format("x"))
    itself: dict[str, object] = {}
    itself["itself"] = itself
    for merged in (itself, {b"x": 1}, {(1, 2): 1}):
        with pytest.raises(InvalidInput, match="configuration: "):
            sweep_file([file], merged, Path("merged"))  # type: ignore[arg-type]


BROKEN = {
    "tabs": b"sweep: a\n\tgrids: 1\n",
    "an open list": b"sweep: [a\ntitle: b\n",
    "an open quote": b"sweep: 'a\n",
    "two values": b"sweep: a: b\n",
    "an unknown anchor": b"sweep: *a\n",
    "a list as a key": b"? [a]\n: 1\n",
    "no text": b"\xff\xfe\x00",
    "a number of 5000 digits": b"sweep: " + b"1" * 5000,
    "nothing": b"# nothing\n",
    "a character that YAML forbids": b"sweep: a\x00b\n",
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_snakemake_cannot_read_is_said_as_by_check(what: str, file: Path) -> None:
    file.write_bytes(BROKEN[what])
    assert f"s.yaml: {fault(file)}" == message(file)
    with pytest.raises(SystemExit) as ended:
        check(["/some/bin/snakemake", "-n", "--configfile", "s.yaml"])
    assert ended.value.code == f"error: {message(file)}"


@pytest.mark.parametrize("tagged", ["!!timestamp x", "!!bool 3", "!!int x"])
def test_a_value_that_does_not_fit_its_tag(tagged: str, file: Path) -> None:
    file.write_text(SWEEP.format(tagged))
    where, tag = "s.yaml: no valid YAML: line 2, column 8", tagged.split()[0]
    assert message(file) == f"{where}: not a value of {tag}"
    assert f"s.yaml: {fault(file)}" == message(file)


def test_other_programs_and_sound_files_are_left_alone(file: Path) -> None:
    file.write_bytes(BROKEN["tabs"])
    check(["/some/bin/pytest", "--configfile", "s.yaml"])
    check(["/some/snakemake/__main__.py", "-n", "s.yaml"])
    file.write_text('{\n\t"sweep": "JSON with tabs, which is no YAML"\n}\n')
    check(["snakemake", "--configfiles", "s.yaml", "-n"])


@pytest.mark.parametrize("words", [["--configfile", "s.yaml"], ["--configfile=s.yaml", "-n"]])
def test_the_program_itself(words: list[str], file: Path) -> None:
    file.write_bytes(BROKEN["tabs"])
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-s", str(REPO / "Snakefile"), *words],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr, done.stdout) == (1, f"error: {message(file)}\n", "")
