"""What the files of a method must say: a row, a class, declarations, options with types and
defaults."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
import yaml

import modulewise.methods
from cases import CASES, CLASSES, IMAGES, ROWS, Row, a_batch, rows
from modulewise.config.cell import Cell
from modulewise.config.options import names, options_model
from modulewise.config.plan import load_plan
from modulewise.config.resolve import Catalog
from modulewise.engine import flops
from modulewise.errors import InvalidInput, parse
from modulewise.method import Batch, Feedback, Method, Supervision
from modulewise.methods import method_class

RECIPES = Path(__file__).parents[2] / "config" / "recipes.yaml"
FILES = sorted(
    p.stem for p in Path(modulewise.methods.__path__[0]).glob("*.py") if p.stem != "__init__"
)


def test_every_method_file_is_found_by_its_name() -> None:
    assert list(names("methods")) == FILES


@pytest.mark.parametrize("method", FILES)
def test_every_method_file_has_a_row(method: str) -> None:
    assert method in {case.method for case in CASES}, (
        f"methods/{method}.py: add a row to tests/cases.py"
    )


def test_every_row_names_a_method_file() -> None:
    assert {case.method for case in CASES} <= set(FILES)


def test_every_recipe_names_a_method_file() -> None:
    recipes = yaml.safe_load(RECIPES.read_text())["recipes"]
    assert recipes
    for name, recipe in recipes.items():
        assert recipe["method"] in FILES, name


@pytest.mark.parametrize("method", FILES)
class TestClass:
    def test_it_is_a_method(self, method: str) -> None:
        assert issubclass(method_class(method), Method)

    def test_its_docstring_says_what_whose_how_and_what_deviates(self, method: str) -> None:
        """A title and who it is of, a formula, deviations at the end: numbered, or none. Its card
        is made of these."""
        said = inspect.getdoc(inspect.getmodule(method_class(method))) or ""
        body, heading, deviations = said.rpartition("\nDeviations")
        assert heading and "Deviations" not in body
        assert re.match(r"[A-Z][^\n]*[(:]", body), "the first line names the method"
        assert re.search(r"arXiv|https://|\b(19|20)\d\d\b", body), "no paper is named"
        assert re.search(r"\n\n    \S", body), "no indented formula"
        first, *rest = deviations.strip().split("\n\n", 1)
        numbers = [int(n) for n in re.findall(r"^(\d+)\. ", "".join(rest), re.MULTILINE)]
        assert first.startswith(": none") or numbers == list(range(1, len(numbers) + 1)) != []

    @pytest.mark.parametrize(
        "declaration", ["single", "joint_only", "two_views", "graphable", "equals_backprop"]
    )
    def test_declarations_are_true_or_false(self, method: str, declaration: str) -> None:
        assert isinstance(getattr(method_class(method), declaration), bool)

    def test_feedback_is_one_of_three(self, method: str) -> None:
        assert method_class(method).feedback in get_args(Feedback)

    def test_supervision_is_one_of_three(self, method: str) -> None:
        assert method_class(method).supervision in get_args(Supervision)

    def test_the_signature_and_the_options_model_agree(self, method: str) -> None:
        parameters = inspect.signature(method_class(method).__init__).parameters.values()
        signature = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        fields = options_model("methods", method).model_fields
        assert {name: f.default for name, f in fields.items()} == signature
        options_model("methods", method)()  # the defaults themselves are valid
        for name, default in signature.items():
            assert getattr(options_model("methods", method)(**{name: default}), name) == default

    def test_options_are_nothing_but_keywords(self, method: str) -> None:
        parameters = list(inspect.signature(method_class(method).__init__).parameters.values())
        assert [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY] == ["self", "trunk"]


@rows(lambda row: method_class(row.case.method).graphable)
def test_a_graphable_step_looks_at_no_value(row: Row) -> None:
    """On the meta device tensors have none: a host synchronisation or a branch on data is an error
    there."""
    ghost = row.build().to("meta").train()
    x, y = (
        torch.empty(8, *IMAGES.shape, device="meta"),
        torch.empty(8, dtype=torch.long, device="meta"),
    )
    for loss in ghost.losses(Batch(x, y, x, y, lambda: x)):
        loss.value.backward()


@rows(lambda row: method_class(row.case.method).supervision != "class")
def test_losses_that_move_the_trunk_see_no_more_of_labels_than_declared(row: Row) -> None:
    """Classes that change their names, or all labels, change no such loss; that of the net's own
    classifier is left aside."""
    batch, pairs = a_batch(), method_class(row.case.method).supervision == "pair"
    others = (batch.y + 1) % CLASSES if pairs else batch.y.flip(0)
    assert not torch.equal(others, batch.y)
    assert _of_the_trunk(row, batch) == _of_the_trunk(row, replace(batch, y=others))


def _of_the_trunk(row: Row, batch: Batch) -> list[float]:
    """Values of a step's losses that reach the trunk and not the classifier's group."""
    method, found = row.build().train(), []
    last = id(list(method.trunk.parameters())[-1])
    own = [name for name, group in method.groups().items() if last in {id(p) for p in group}]
    torch.manual_seed(0)
    for loss in method.losses(batch):
        if any(g.startswith("trunk") for g in loss.groups) and not set(own) & set(loss.groups):
            found.append(loss.value.item())
        loss.value.backward()
    assert found
    return found


@rows(one_a_method=True)
def test_operations_of_a_step_can_be_counted(row: Row) -> None:
    """Trainers of the contract do not count; torch's counter bears not every use of autograd."""
    counted = flops.flops(row.build(), IMAGES.shape, 8)
    assert counted.trunk > 0
    assert counted.inference_macs > 0


def _content(method: str, **options: object) -> dict[str, object]:
    places = {"dataset": "fake", "network": "resnet8", "recipe": "r", "modules": 1, "seed": 0}
    return places | {"method": method, "options": options, "data": IMAGES}


@pytest.mark.parametrize("method", FILES)
def test_a_misspelt_option_is_refused_with_the_valid_names(method: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse(Cell, _content(method, no_such_option=1), "here")
    assert "here" in str(error.value)
    assert "'no_such_option'" in str(error.value)
    for name in options_model("methods", method).model_fields:
        assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("method", "option", "value", "valid"),
    [
        ("dgl", "head", "3c3f", "mlp-sr"),
        ("infopro", "mode", "sofmax", "softmax"),
        ("contsup", "context", "R3", "R1E"),
        ("infopro", "lambda1", [1.0], "lambda1"),
        ("infopro", "lambda2", [-1.0, 0.0], "lambda2"),
        ("infopro", "temperature", 0.0, "temperature"),
        ("dgl", "feature_dim", 0, "feature_dim"),
    ],
)
def test_a_wrong_value_is_refused(method: str, option: str, value: object, valid: str) -> None:
    with pytest.raises(InvalidInput, match=valid):
        parse(Cell, _content(method, **{option: value}), "here")


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(InvalidInput, match="did you mean 'feature_dim'"):
        parse(Cell, _content("dgl", featur_dim=1), "here")


@rows()
def test_every_row_is_a_valid_cell(row: Row) -> None:
    assert row.cell().options.items() <= row.case.options.items()


def test_rows_differ() -> None:
    assert len({row.cell().id for row in ROWS}) == len(ROWS)


def test_the_survey_demo_trains_every_method() -> None:
    root = RECIPES.parents[1]
    plan = load_plan(root / "config/survey-demo.yaml", root)
    assert {cell.method for cell in plan.cells} == set(FILES)


def test_every_recipe_gives_a_cell(catalog: Catalog) -> None:
    for name, recipe in catalog.recipes.recipes.items():
        k = 1 if recipe.modules == "one" else 2
        assert catalog.cell("digits", "resnet8", name, k, 0).method == recipe.method
