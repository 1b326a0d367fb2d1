"""`modulewise schema`: regenerate the JSON schemas of the configuration files, for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

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
        "sweep.schema.json": Sweep.model_json_schema(),
        "recipes.schema.json": Recipes.model_json_schema(),
        "datasets.schema.json": Datasets.model_json_schema(),
        "options.schema.json": {
            "description": "Options of every method",
            "properties": options,
            "type": "object",
        },
    }


def text(schema: dict[str, Any]) -> str:
    """A schema as it stands in its file."""
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def schema(
    folder: Annotated[Path, typer.Option(help="where the schemas go")] = Path("workflow/schemas"),
) -> None:
    """Write the schemas that are made of config.py and of the methods' signatures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in schemas().items():
        (folder / name).write_text(text(content))
        print(folder / name)
