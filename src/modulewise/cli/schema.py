"""`modulewise schema`: regenerate the JSON schemas of the configuration files, for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from modulewise.config.dataset import Datasets
from modulewise.config.options import names, options_model
from modulewise.config.recipes import Recipes
from modulewise.config.sweep import Sweep


def schemas() -> dict[str, dict[str, Any]]:
    """File name -> schema: of sweeps, recipes and data sets, and of every method's options."""
    options = {
        name: options_model("methods", name).model_json_schema() for name in names("methods")
    }
    return {
        "sweep.schema.json": _defined_once(Sweep),
        "recipes.schema.json": _defined_once(Recipes),
        "datasets.schema.json": _defined_once(Datasets),
        "options.schema.json": {
            "description": "Options of every method",
            "properties": options,
            "type": "object",
        },
    }


def _defined_once(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of a model; training settings and options, which pydantic writes out wherever they
    stand, are definitions of it."""
    found: dict[str, Any] = {}
    made = _moved(model.model_json_schema(), found)
    return made | {"$defs": made.get("$defs", {}) | found}


def _moved(node: Any, found: dict[str, Any]) -> Any:
    """A part of a schema with references in place of such models, which are added to `found`."""
    if isinstance(node, list):
        return [_moved(item, found) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _moved(value, found) for key, value in node.items()}
    title = str(node.get("title"))
    if "properties" not in node or not title.endswith(("Options", "TrainConfig")):
        return node
    here = {key: node.pop(key) for key in ("default", "description") if key in node}
    found[title] = node
    return here | {"$ref": f"#/$defs/{title}"}


def text(schema: dict[str, Any]) -> str:
    """A schema as its file holds it."""
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def schema(
    folder: Annotated[Path, typer.Option(help="where the schemas go")] = Path("workflow/schemas"),
) -> None:
    """Write the JSON schemas of the files in config/, for editors.

    Of sweeps, recipes, data sets and methods' options.

    Examples:
        modulewise schema
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in schemas().items():
        (folder / name).write_text(text(content))
        print(folder / name)
