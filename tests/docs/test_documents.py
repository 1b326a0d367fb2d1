"""Links, paths and commands in the repository's documents are those that there are."""

from __future__ import annotations

import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from modulewise.cli import app

ROOT = Path(__file__).parents[2]
LISTED = subprocess.run(
    ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
)
DOCUMENTS = [ROOT / line for line in LISTED.stdout.splitlines()]
GENERATED = (ROOT / "docs/methods", ROOT / "docs/reference")
FENCED = re.compile(r"^( *)```.*?^\1```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def slug(heading: str) -> str:
    """The anchor that GitHub and MyST give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).strip().replace(" ", "-")


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", path.read_text()), re.MULTILINE)
    return {slug(h) for h in headings}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_documents() -> None:
    assert {"README.md", "config/README.md", "docs/cluster.md"} <= set(map(name, DOCUMENTS))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links(path: Path) -> None:
    for target in LINK.findall(FENCED.sub("", path.read_text())):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        if there.parent in GENERATED:  # the site's test follows these
            continue
        assert there.exists(), f"{name(path)}: {target}: no such file"
        if anchor:
            assert anchor in anchors(there), f"{name(path)}: {target}: no such heading"


COMMAND = re.compile(r"(?:^|[`($] ?|&& )((?:modulewise|make|snakemake) [^`#|&)\n]*)", re.MULTILINE)
"""What begins a line or stands in quotes or behind a prompt."""
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def said(path: Path) -> list[list[str]]:
    """The commands of a document, word by word."""
    return [m.split() for m in COMMAND.findall(re.sub(r"\\\n\s*", "", code(path.read_text())))]


def code(text: str) -> str:
    """What stands in a document as code, a piece a line."""
    fenced = [re.sub(r"^ *```.*$", "", m[0], flags=re.MULTILINE) for m in FENCED.finditer(text)]
    rest = FENCED.sub("", text)
    indented = re.findall(r"^ {4}(.*)$", rest, re.MULTILINE)
    return "\n".join([*map(textwrap.dedent, fenced), *indented, *re.findall(r"`[^`]+`", rest)])


def wrong(words: list[str]) -> str | None:
    """What of a command does not exist."""
    program, *rest = words
    given = [w for w in rest if not w.startswith("-")]
    if program == "make":
        return next((w for w in given if "=" not in w and w not in TARGETS | {".venv/ready"}), None)
    if program == "snakemake":
        files = re.findall(r"--configfile (\S+\.yaml)", " ".join(words))
        return next((f for f in files if "/" in f and not (ROOT / f).exists()), None)
    if not given or not given[0].islower():  # `modulewise --help`, `modulewise VERB`
        return None
    if given[0] not in app.VERBS:
        return given[0]
    valid = {o for p in app.load(given[0]).params for o in p.opts} | {"--help"}
    return next((w for w in rest if w.startswith("--") and w.split("=")[0] not in valid), None)


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if p.name != "CHANGELOG.md"], ids=name)
def test_commands_exist(path: Path) -> None:
    made = set(re.findall(r"^<!-- file: (\S+) -->", path.read_text(), re.MULTILINE))
    for words in said(path):
        assert wrong(words) in {None, *made}, f"{name(path)}: {' '.join(words)}: no {wrong(words)}"


def test_commands_are_found() -> None:
    found = {words[0] for words in said(ROOT / "README.md")}
    assert found == {"make", "modulewise", "snakemake"}
    assert wrong(["modulewise", "train", "--dataset", "digits", "--net", "resnet14"]) == "--net"
    assert wrong(["modulewise", "trian"]) == "trian"
    assert wrong(["make", "demmo"]) == "demmo"
