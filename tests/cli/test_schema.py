"""The schemas that editors complete and check configuration files by."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from modulewise.cli.schema import schemas

ROOT = Path(__file__).parents[2]
SCHEMAS = schemas()
FILES = {
    ROOT / "config/recipes.yaml": "recipes.schema.json",
    ROOT / "config/datasets.yaml": "datasets.schema.json",
    **dict.fromkeys(
        [p for p in ROOT.glob("config/**/*.yaml") if "sweep:" in p.read_text()],
        "sweep.schema.json",
    ),
}


def errors(content: Any, schema: str) -> list[str]:
    return [e.json_path for e in Draft202012Validator(SCHEMAS[schema]).iter_errors(content)]


def test_the_schemas_are_fresh(tmp_path: Path) -> None:
    """As the command makes them."""
    words = [sys.executable, "-m", "modulewise", "schema", "--folder", str(tmp_path)]
    subprocess.run(words, check=True, capture_output=True)
    for path in tmp_path.iterdir():
        assert (ROOT / "workflow/schemas" / path.name).read_text() == path.read_text(), (
            "run make schemas"
        )


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_the_repositorys_own_files_satisfy_them(path: Path) -> None:
    assert errors(yaml.safe_load(path.read_text()), FILES[path]) == []


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (("grids", 0, "training"), {"epoch": 3}),
        (("grids", 0, "training"), {"lr": -1}),
        (("grids", 0, "training"), {"asynchronous": {"buffers": 2}}),
        (("tune",), {"trials": 2, "validation": 9, "seeds": [9], "training": {"lrr": [1]}}),
        (("tune",), {"trials": 2, "validation": 9, "seeds": [9], "training": {"lr": 1}}),
    ],
)
def test_a_wrong_setting_of_a_sweep_is_marked(place: tuple[Any, ...], wrong: Any) -> None:
    content: Any = yaml.safe_load((ROOT / "config/demo.yaml").read_text())
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = wrong
    (found,) = errors(content, "sweep.schema.json")
    assert found.startswith("$." + str(place[0]))


@pytest.mark.parametrize(
    ("options", "fine"),
    [({"lambda1": [1, 1]}, True), ({"lamda1": [1, 1]}, False), ({"reach": 2}, False)],
)
def test_options_go_with_their_method(options: dict[str, Any], fine: bool) -> None:
    """`reach` is an option of another method."""
    content = copy.deepcopy(yaml.safe_load((ROOT / "config/recipes.yaml").read_text()))
    content["recipes"]["infopro"]["options"] = options
    assert (errors(content, "recipes.schema.json") == []) is fine


def fields(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of every model in a schema, with its place."""
    if isinstance(node, dict):
        if node.get("type") == "object" and "title" in node:
            for name, field in node.get("properties", {}).items():
                yield f"{node['title']}.{name}", field
        for key, value in node.items():
            yield from fields(value, f"{place}.{key}")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_has_a_help(name: str) -> None:
    found = dict(fields(SCHEMAS[name]))
    assert found
    bare = [place for place, field in found.items() if not field.get("description")]
    assert bare == []
