"""The methods' cards: values with their sources, pictures, formulas, costs."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from generator import cards, diagram, docstring, formula, measured, results, values

from modulewise.config.cell import Cell
from modulewise.config.options import names, options_model
from modulewise.config.resolve import Catalog

ROOT = Path(__file__).parents[2]
MODULES = sorted(p.stem for p in (ROOT / "docs/generator").glob("*.py") if p.stem != "__init__")


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"generator.{name}")).failed == 0


def cells(catalog: Catalog) -> list[Cell]:
    """A cell of every recipe in three places: with published values, with others, with none."""
    out = []
    for name, recipe in catalog.recipes.recipes.items():
        for dataset, network, k in (
            ("cifar10", "resnet32", 4),
            ("stl10", "resnet110", 2),
            ("mnist", "vgg8b", 2),
        ):
            modules = 1 if recipe.modules == "one" else k
            out.append(catalog.cell(dataset, network, name, modules, 0))
    return out


def test_values_of_a_card_are_those_of_the_cell(catalog: Catalog) -> None:
    """What the card says each option and setting is, and what a run would be given."""
    for cell in cells(catalog):
        found: dict[str, dict[str, Any]] = {"options": {}, "partition": {}, "training": {}}
        for value in values.of_cell(catalog, cell):
            found[value.part][value.key] = value.value
        options = options_model("methods", cell.method)(**found["options"])
        assert options.model_dump(mode="json", exclude_defaults=True) == cell.options
        assert found["partition"] == ({"partition": cell.partition} if cell.modules > 1 else {})
        assert type(cell.training).model_validate(found["training"]) == cell.training


def test_a_published_value_names_its_publication(catalog: Catalog) -> None:
    cell = catalog.cell("cifar10", "resnet32", "infopro", 4, 0)
    found = {v.key: v for v in values.of_cell(catalog, cell)}
    assert found["lambda1"].value == [6, 1]
    assert found["lambda1"].source == "InfoPro, released code"
    assert "160 epochs" in found["lr"].source
    assert found["mode"].source == "the recipe (arXiv 2101.10832, table 2)"
    assert found["temperature"].source == "the method's default"


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> measured.Counted:
    config = ROOT / "config"
    catalog = Catalog(config / "recipes.yaml", config / "datasets.yaml")
    return measured.Counted(catalog, tmp_path_factory.mktemp("kept") / "costs.json")


def test_costs(counted: measured.Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Greedy SL's linear heads stand on 16, 32 and 64 channels; a prediction of forward-forward
    tries ten labels. What was counted is not counted again."""
    greedy = counted.cost("greedy")
    assert greedy.helper_parameters == sum(10 * c + 10 for c in (16, 32, 64))
    assert (greedy.macs_ratio, greedy.parameters_ratio) == (1, 1)
    assert counted.cost("forward-forward").macs_ratio == pytest.approx(10, rel=0.01)
    monkeypatch.setattr(counted, "_count", None)
    assert counted.cost("greedy") == greedy


def flow(method: str, **options: Any) -> measured.Flow:
    catalog = Catalog(ROOT / "config/recipes.yaml", ROOT / "config/datasets.yaml")
    content = {"dataset": "cifar10", "data": catalog.datasets["cifar10"]}
    return measured.flow(method, options, method != "backprop", content)


def arrows(picture: str, kind: str) -> int:
    return len(re.findall(f'class="{kind}" marker', picture))


@pytest.mark.parametrize(
    ("method", "options", "bars", "back", "later"),
    [
        ("backprop", {}, 0, 1, 0),
        ("dgl", {}, 4, 5, 0),  # two cuts of two bars; two heads of two arrows, and the last loss
        ("horizon", {"reach": 2}, 0, 7, 0),  # gradients cross both cuts
        ("pairwise", {}, 4, 3, 0),  # no heads
        ("fixed_random", {}, 4, 5, 0),
        ("man", {}, 4, 7, 2),  # a mixture more, and weights of the next module
        ("mac", {}, 4, 3, 2),  # no helpers: coordinates come back to the modules themselves
        ("local_simclr", {}, 10, 9, 0),  # probes are cut off from the stages as well
        ("contsup", {"context": "E"}, 4, 7, 0),  # an encoder below each module but the first
    ],
)
def test_pictures(method: str, options: dict[str, Any], bars: int, back: int, later: int) -> None:
    picture = diagram.drawn(flow(method, **options))
    assert picture.count('class="cut"') == bars
    assert arrows(picture, "back") == back
    assert arrows(picture, "later") == later


def test_passes() -> None:
    assert flow("dgl").passes == (1, 1)
    assert flow("checkpointed").passes == (1, 2)
    assert flow("local_simclr").passes[1] == 2  # views
    assert flow("forward_forward").predicting == 10  # labels


def test_every_docstring_can_be_read() -> None:
    for method in names("methods"):
        said = docstring.described(ROOT / f"src/modulewise/methods/{method}.py")
        assert said.title and said.formulas and said.deviations


def test_a_docstring_in_parts() -> None:
    said = docstring.described(ROOT / "src/modulewise/methods/dgl.py")
    assert said.title == "Decoupled greedy learning"
    assert said.cited == "Belilovsky et al., arXiv 1901.08164"
    assert said.papers == ["1901.08164"]
    assert said.deviations[0] == "Deviations from the paper:"
    assert len(said.deviations) == 4


def test_a_docstring_without_a_formula_is_refused(tmp_path: Path) -> None:
    (tmp_path / "new.py").write_text('"""New: an idea.\n\nDeviations: none.\n"""\n')
    with pytest.raises(ValueError, match=r"new\.py: .* formula"):
        docstring.described(tmp_path / "new.py")


def test_formulas() -> None:
    set_ = formula.typeset(
        "L_k = lambda1(k) CE( a_k(h_{k-1}), y ) + 1 / (2 tau_k) r_s^2 of a stage"
    )
    assert "λ<sub>1</sub>(<i>k</i>)" in set_
    assert "<i>h</i><sub><i>k</i>−1</sub>" in set_
    assert "τ<sub><i>k</i></sub>" in set_
    assert "<i>r</i><sub><i>s</i></sub><sup>2</sup> of a stage" in set_
    assert formula.prose("feature_dim and `h_k`") == "feature_dim and `h_k`"


def test_published_numbers_beside_ours() -> None:
    found = results.Results(ROOT)
    memory = [x for x in found.beside(["backprop"]).splitlines() if "memory, GB" in x]
    assert any("cifar10, resnet110" in x and "| 9.4 |" in x and "| 8.71 | 1 |" in x for x in memory)
    assert "not run" in found.beside(["dgl"])
    assert found.beside(["dgl-shared"]) == ""


def test_the_recipe_nearest_to_the_defaults_comes_first() -> None:
    made = cards.Cards(ROOT, ROOT / "none.json")
    assert made.recipes("dgl")[0] == "dgl"
    assert made.recipes("contsup")[0] == "contsup-e"
