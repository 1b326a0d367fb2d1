"""The reference pages have every key, every option and every command."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from generator import reference
from typer.models import OptionInfo

from modulewise.cli import app

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return dict(reference.pages(ROOT))


def keys(node: Any) -> Iterator[str]:
    """All keys that a schema names."""
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict) and "type" in node:
            yield from node["properties"]
        for value in node.values():
            yield from keys(value)
    elif isinstance(node, list):
        for value in node:
            yield from keys(value)


@pytest.mark.parametrize("name", ["sweep", "recipes", "datasets", "options"])
def test_every_key_has_its_line(name: str, pages: dict[str, str]) -> None:
    schema = json.loads((ROOT / f"workflow/schemas/{name}.schema.json").read_text())
    if name == "options":
        schema = [*schema["properties"].values()]
    listed = set(re.findall(r"^\| `([\w-]+)` \|", "\n".join(pages.values()), re.MULTILINE))
    found = set(keys(schema))
    assert found and found <= listed


def test_the_keys_of_the_repositorys_sweeps_are_explained(pages: dict[str, str]) -> None:
    text = pages["reference/sweep.md"] + pages["reference/training.md"]
    for path in (ROOT / "config/papers").glob("*.yaml"):
        sweep = yaml.safe_load(path.read_text())
        used = {*sweep, *(k for g in sweep["grids"] for k in [*g, *g.get("training", {})])}
        assert all(f"| `{key}` |" in text for key in used), path


def test_what_a_key_takes(pages: dict[str, str]) -> None:
    training = pages["reference/training.md"]
    assert "| `lr` | a number ≥ 0 | `0.8` |" in training
    assert (
        "| `schedule` | `asynchronous`, `joint`, `parallel`, `sequential` | `joint` |" in training
    )
    assert "| `grids` | a list of [Grid](#grid) | needed |" in pages["reference/sweep.md"]
    assert "| `recipes` | a mapping to [Recipe](#recipe) |" in pages["reference/recipes.md"]


@pytest.mark.parametrize("verb", app.VERBS)
def test_every_verb_and_option(verb: str, pages: dict[str, str]) -> None:
    (section,) = re.findall(
        rf"^## {verb}\n(.*?)(?=^## |\Z)", pages["reference/commands.md"], re.MULTILINE | re.DOTALL
    )
    function = getattr(import_module(f"modulewise.cli.{verb}"), verb)
    said = (inspect.getdoc(function) or "").split("\n")[0]
    assert said in section
    for name, hint in get_type_hints(function, include_extras=True).items():
        if name not in ("return", "ctx"):
            (given,) = hint.__metadata__
            words = [given.default, *(given.param_decls or ())]
            declared = [d for d in words if isinstance(d, str) and d.startswith("-")]
            usual = [f"--{name.replace('_', '-')}"] if isinstance(given, OptionInfo) else []
            for word in declared or usual or [name.upper()]:
                assert all(f"`{w}`" in section for w in word.split("/")), word


def test_every_target_of_make(pages: dict[str, str]) -> None:
    declared = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert declared
    assert all(f"`make {name}`" in pages["reference/make.md"] for name in declared[1].split())
