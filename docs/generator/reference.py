"""Reference pages: every key of the configuration files, from their schemas; every command, from
the command line itself and the Makefile."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from generator.markdown import cell, number, plain, table
from modulewise.cli import app

Schema = dict[str, Any]
FILES = {
    "sweep": (
        "Keys of a sweep",
        "`config/sweep.yaml`, or the file of `--configfile`",
    ),
    "recipes": ("Keys of recipes", "`config/recipes.yaml`"),
    "datasets": ("Keys of data sets", "`config/datasets.yaml`"),
}
TRAINING = ("TrainConfig", "SequentialOptions", "AsynchronousOptions", "PhaseSettings")
"""Definitions that have a page of their own, for sweeps and recipes share them."""


def pages(root: Path) -> Iterator[tuple[str, str]]:
    """Names and texts of all pages.

    Args:
        root: the repository.
    """
    folder = root / "workflow/schemas"
    schemas = {n: json.loads((folder / f"{n}.schema.json").read_text()) for n in FILES}
    for name, (title, where) in FILES.items():
        yield f"reference/{name}.md", _keys(title, where, schemas[name], name)
    yield "reference/training.md", _training(schemas["sweep"])
    options = json.loads((folder / "options.schema.json").read_text())["properties"]
    yield "reference/options.md", _options(options)
    yield "reference/commands.md", _commands()
    yield "reference/make.md", _targets((root / "Makefile").read_text())


def _keys(title: str, where: str, schema: Schema, page: str) -> str:
    """A page of one file: its own keys, then those of what stands in it."""
    out = f"# {title}\n\nOf {where}. Unknown keys are errors. "
    out += "[Configuration](../../config/README.md) explains them in context.\n\n"
    out += f"## Top level\n\n{_table(schema, page)}"
    for name, part in schema["$defs"].items():
        if name not in TRAINING and not _of_method(name, page) and "properties" in part:
            said = cell(part.get("description", ""))
            out += f"\n## {name}\n\n{said}\n\n{_table(part, page)}"
    return out


def _training(schema: Schema) -> str:
    out = "# Training settings\n\nKeys of `training` in a sweep's grid, and of what a recipe sets. "
    out += "[Configuration](../../config/README.md#training-settings) explains them in context.\n"
    for name in TRAINING:
        out += f"\n## {name}\n\n{_table(schema['$defs'][name], 'training')}"
    return out


def _options(methods: Schema) -> str:
    out = "# Options of methods\n\nKeys of a recipe's `options`, by method.\n"
    for name, part in methods.items():
        rows = _table(part, "options") or "No options.\n"
        out += f"\n## {name}\n\n[Its card](../methods/{name}.md).\n\n{rows}"
    return out


def _of_method(name: str, page: str) -> bool:
    """Whether a definition is one of a method's options, which have their page."""
    return page == "recipes" and name.endswith("Options")


def _table(part: Schema, page: str) -> str:
    needed = part.get("required", [])
    rows = []
    for key, item in part.get("properties", {}).items():
        default = "needed" if key in needed else ""
        if key not in needed and item.get("default") not in (None, "", {}, []):
            default = f"`{plain(item['default'])}`"
        rows.append((f"`{key}`", _type(item, page), default, cell(item.get("description", ""))))
    return table(("key", "takes", "default", "meaning"), rows)


def _type(item: Schema, page: str) -> str:
    """What a key takes, in words."""
    if "$ref" in item:
        name = item["$ref"].split("/")[-1]
        if _of_method(name, page) and name not in TRAINING:
            return "options"
        there = "training.md" if name in TRAINING and page != "training" else ""
        return f"[{name}]({there}#{name.lower()})"
    if "anyOf" in item:
        kinds = [_type(x, page) for x in item["anyOf"] if x.get("type") != "null"]
        kinds = list(dict.fromkeys(kinds))
        return " or ".join(kinds) if len(kinds) <= 6 else "[options](options.md)"
    if "enum" in item:
        return ", ".join(f"`{x}`" for x in item["enum"])
    if item.get("const") is not None:
        return f"`{item['const']}`"
    if "prefixItems" in item:
        return f"a list of {len(item['prefixItems'])}: {_type(item['prefixItems'][0], page)}"
    kind = item.get("type")
    if kind == "array":
        return f"a list of {_type(item.get('items', {}), page)}"
    if kind == "object":
        values = next(iter(item.get("patternProperties", {}).values()), None)
        values = values or item.get("additionalProperties")
        inner = _type(values, page) if isinstance(values, dict) else ""
        return "a mapping" + (f" to {inner}" if inner else "")
    names = {"string": "text", "integer": "a whole number", "number": "a number"}
    words = names.get(str(kind), "true or false" if kind == "boolean" else "")
    return words + _limits(item)


def _limits(item: Schema) -> str:
    parts = [
        f"{sign} {number(item[key])}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"))
        if key in item and item[key] < 1_000_000
    ]
    return f" {', '.join(parts)}" if parts else ""


def _commands() -> str:
    out = (
        "# Commands\n\n`modulewise VERB`; `--help` of a verb says the same. Wrong input ends with "
    )
    out += "one line and status 2: [what wrong input is told](../errors.md).\n"
    for verb in sorted(app.VERBS):
        command = app.load(verb)
        module = importlib.import_module(f"modulewise.cli.{verb}")
        takes = get_type_hints(getattr(module, verb))
        given = (p for p in command.params if not getattr(p, "hidden", False))
        rows = [_option(p, _kind(takes.get(p.name))) for p in given if p.name in takes]
        arguments = " ".join(p.name.upper() for p in command.params if _argument(p))
        out += f"\n## {verb}\n\n{command.help or ''}\n\n"
        out += f"```sh\nmodulewise {verb} {arguments}".rstrip() + " [options]\n```\n\n"
        out += table(("option", "takes", "default", "meaning"), rows)
        if command.epilog:
            lines = command.epilog.replace("\b", "").replace("\\[", "[").strip().splitlines()
            out += "\nExamples:\n\n```sh\n" + "\n".join(x.strip() for x in lines[1:]) + "\n```\n"
    return out


def _argument(param: Any) -> bool:
    return param.param_type_name == "argument"


def _kind(hint: Any) -> str:
    """What a parameter with this type takes, in words; nothing if it is a switch."""
    inner = [x for x in get_args(hint) if x is not type(None)]
    if get_origin(hint) is list:
        return f"{_kind(inner[0])}, and again"
    if get_origin(hint) is Literal:
        return ", ".join(f"`{x}`" for x in inner)
    if inner:
        return " or ".join(dict.fromkeys(map(_kind, inner)))
    words = {bool: "", str: "text", int: "a whole number", float: "a number", Path: "a path"}
    return words.get(hint, "text")


def _option(param: Any, kind: str) -> tuple[str, str, str, str]:
    opts = [param.name.upper()] if _argument(param) else [*param.opts, *param.secondary_opts]
    default = param.default
    shown = "needed" if param.required else ""
    if default not in (None, False, (), []) and not callable(default):
        shown = "yes" if default is True else f"`{default}`"
    said = param.help or ""
    if param.envvar:
        said += f" (or `{param.envvar}` of the environment)"
    return ", ".join(f"`{o}`" for o in opts), kind, shown, re.sub(r"<", "\\<", said)


def _targets(makefile: str) -> str:
    rows = re.findall(r"^([a-z-]+):.*?##\s*(.*)$", makefile, re.MULTILINE)
    out = "# Make targets\n\n"
    return out + table(("command", "does"), ((f"`make {name}`", said) for name, said in rows))
