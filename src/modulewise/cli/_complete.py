"""What a shell completes behind options, found without torch: nothing where a file is missing or
wrong, which the verb itself says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import typer

from modulewise.config.loading import read_yaml
from modulewise.config.options import literal, names, options_model
from modulewise.runs import find


def datasets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names in `datasets.yaml`."""
    return _begin(_entries(ctx, "datasets"), incomplete)


def recipes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names in `recipes.yaml`."""
    return _begin(_entries(ctx, "recipes"), incomplete)


def networks(incomplete: str) -> list[str]:
    """Examples of every family of networks."""
    found: list[str] = []
    for family in names("models"):
        with suppress(TypeError):  # a file without EXAMPLES builds no network
            found += literal("models", family, "EXAMPLES")
    return _begin(found, incomplete)


def settings(ctx: typer.Context, incomplete: str) -> list[str]:
    """Keys of `--set`: training settings, and options of the method of the recipe that is given."""
    from modulewise.config.training import TrainConfig

    keys = ["partition", *(f"training.{key}" for key in TrainConfig.model_fields)]
    recipe = _entries(ctx, "recipes").get(str(ctx.params.get("recipe")))
    if isinstance(recipe, dict) and recipe.get("method") in names("methods"):
        options = options_model("methods", recipe["method"]).model_fields
        keys += [f"options.{key}" for key in options]
    return _begin([f"{key}=" for key in keys], incomplete)


def studies(incomplete: str) -> list[str]:
    """Names of studies."""
    return _begin(names("studies"), incomplete)


def runs(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Ids of cells with a run, and what they are."""
    folder = Path(ctx.params.get("runs") or find.RUNS)
    for path in find.matching(incomplete, folder):
        yield path.rpartition("~")[2], find.words(path)


def _entries(ctx: typer.Context, kind: str) -> dict[str, object]:
    """What a file of the configuration's folder lists."""
    file = Path(ctx.params.get("config") or "config") / f"{kind}.yaml"
    with suppress(ValueError, LookupError, TypeError):
        return dict(read_yaml(file)[kind])
    return {}


def _begin(values: object, incomplete: str) -> list[str]:
    """Those that begin so."""
    return [str(v) for v in values if str(v).startswith(incomplete)]  # type: ignore[attr-defined]
