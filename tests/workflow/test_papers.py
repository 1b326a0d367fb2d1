"""The sweeps of published exhibits: the right cells, counted by hand, and their published numbers
beside them."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from modulewise.config import references
from modulewise.config.plan import load_plan

REPO = Path(__file__).parents[2]
PAPERS = sorted((REPO / "config/papers").glob("*.yaml"))
SEEDS = 5
FEWER = {"survey-transfer": 3, "infopro-table4": 1, "infopro-table5": 1}
"""Sweep -> seeds, where they are not five."""
CELLS = {
    "infopro-figure2": 1 + 4,
    "infopro-table1": 1 + 4,
    # ResNet-32, DenseNet, SVHN and STL-10: end to end and 4 methods x 4 K; ResNet-110 on CIFAR-10
    # has greedy+ and two asynchronous K too
    "infopro-table2": 4 * (1 + 4 * 4) + (1 + 5 * 4 + 2),
    # end to end, checkpointing at every block, at sqrt(L) and at the local modules' own cuts,
    # InfoPro*
    "infopro-table3": 2 * (1 + 1 + 1 + 3 + 3),
    "infopro-table4": 3 * (1 + 1),
    "infopro-table5": 2 + 3 + 1,
    "contsup-table1": 1 + 4,
    "contsup-table2": 1 + 8 * 4,
    "contsup-table3": 3 * (1 + 4 * 4),
    "contsup-table4": 1 + 6 * 2 + 1,
    "contsup-figure4": (1 + 2 * 4) + (1 + 2 * 3),
    "contsup-figure5": 1 + 11 * 4,
    "budgets": 3 * (1 + 3 * 2),
    "tuned-resnet32": 1 + 3 * 2,
    "survey-man": 2 * (1 + 5 * 2),
    "survey-experimental": (1 + 3) + (1 + 2),
    # MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100: backprop and three losses on 2, 2, 3 and 3
    # networks; fixed random heads on three of them
    "survey-predsim": (2 + 2 + 3 + 3) * 4 + 3,
    "survey-layerwise": 5 + 3 + 2 + 1,  # backprop on every network; k = 1, 2, 3; DGL; cascade
    # four data sets with K = 2; on CIFAR-10 K up to 6, strictly and in parallel, and 9 objectives
    "survey-labels": 2 + 6,  # two trunks, and nets on 1, 2, 5, 10, 50, 100 labels per class alone
    "survey-pairwise": 3 * 2 + (1 + 2 * 5) + 9,
    "survey-transfer": 15,
}
SAME = {"contsup-table2": 2, "contsup-figure5": 3}
"""Sweep -> rows of K = 2 that show another row's training."""
PUBLISHED = {
    "infopro-table1": 5,
    "infopro-table2": 91,
    "infopro-table3": 2 + 8 + 10 + 8 + 8 + 8,
    "infopro-table4": 3 * (4 + 5),
    "infopro-table5": 3 * 6 + 5 + 3,
    "survey-man": 2 * (1 + 4 * 2),
    "survey-predsim": (2 + 2 + 3 + 3) * 4,
    "survey-layerwise": 3 + 2,
    "survey-pairwise": 4 * 2,
}
"""Sweep -> published numbers of its own exhibit that its cells meet."""
EPOCHS = {
    "infopro-table4": {90},
    "survey-man": {400},
    "survey-experimental": {60, 160},
    "survey-labels": {350},
    "survey-pairwise": {350},  # of each module but the last
    "survey-predsim": {100, 200, 400},
    "survey-layerwise": {50},  # of the first layer
    "survey-transfer": {350},
}
"""Sweep -> epochs, where they are not InfoPro's 160."""


def test_every_exhibit_has_a_sweep() -> None:
    assert {p.stem for p in PAPERS} >= set(CELLS)


@pytest.mark.parametrize("path", PAPERS, ids=lambda p: p.stem)
def test_a_sweep_has_the_cells_of_its_exhibit(path: Path) -> None:
    plan = load_plan(path, REPO)
    sweep, cells = plan.sweep, plan.cells
    assert sweep.sweep == path.stem
    if sweep.tune:  # its cells are trials until they are judged
        assert len(cells) == sweep.tune.trials * len(sweep.tune.seeds) * CELLS[path.stem] == 8 * 7
    else:
        assert len(plan.rows) == FEWER.get(path.stem, SEEDS) * CELLS[path.stem]
        assert len(cells) == len(plan.rows) - SEEDS * SAME.get(path.stem, 0)
    epochs = {c.training.epochs for c in cells if not (c.training.flops or c.training.seconds)}
    assert epochs == EPOCHS.get(path.stem, {160})
    if sweep.exhibit and sweep.exhibit.sources:
        assert any(
            r.source in sweep.exhibit.sources
            for r in references.load(REPO / "config" / references.FILE)
        )


@pytest.mark.slow
@pytest.mark.parametrize("path", PAPERS, ids=lambda p: p.stem)
def test_a_sweep_says_what_it_is_expected_to_cost(path: Path, tmp_path: Path) -> None:
    """In its file, what `modulewise check` says where nothing was measured."""
    words = ["check", "--sweep", str(path), "--root", str(REPO)]
    out = subprocess.run(
        [sys.executable, "-m", "modulewise", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert out.returncode == 0, out.stderr
    said = re.search(r"cells, time not measured: about (\S+ \wFLOPs)", out.stdout)
    written = re.search(
        r"^# Expected work: about (\S+ \wFLOPs), by `modulewise check`",
        path.read_text(),
        re.MULTILINE,
    )
    assert said and written and said[1] == written[1]


def test_the_budget_in_seconds_is_backprops_160_epochs_on_the_named_device() -> None:
    path = REPO / "config/papers/budgets.yaml"
    epochs = {}
    for cell in load_plan(path, REPO).cells:
        t = cell.training
        if t.seconds:
            assert t.step_seconds
            epochs[cell.recipe, cell.modules] = int(
                t.seconds / (math.ceil(50_000 / t.batch_size) * t.step_seconds)
            )
    assert len(epochs) == 7 and epochs["backprop", 1] == 160
    assert epochs["contsup-e", 16] < epochs["contsup-e", 4] < epochs["dgl", 16] < epochs["dgl", 4]


@pytest.mark.parametrize("path", [p for p in PAPERS if p.stem in PUBLISHED], ids=lambda p: p.stem)
def test_published_numbers_meet_the_cells_of_their_exhibit(path: Path) -> None:
    plan = load_plan(path, REPO)
    sweep = plan.sweep
    assert sweep.exhibit is not None
    have = {(c.dataset, c.network, c.recipe, c.modules) for _, c in plan.rows}
    met = [
        r
        for r in references.load(REPO / "config" / references.FILE)
        if (r.dataset, r.network, r.recipe, r.modules) in have
        and r.source in sweep.exhibit.sources
        and r.metric in sweep.exhibit.metrics
    ]
    assert len(met) == PUBLISHED[path.stem]


@pytest.mark.slow
def test_the_workflow_lists_the_jobs_of_a_paper(tmp_path: Path) -> None:
    """A dry run by the name of the file: one training a cell and seed, one download."""
    words = [
        "-n",
        "--configfile",
        str(REPO / "config/papers/infopro-table1.yaml"),
        "--profile",
        str(REPO / "profiles/ci"),
    ]
    base = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        str(REPO / "Snakefile"),
        "--directory",
        str(tmp_path),
    ]
    out = subprocess.run([*base, *words], capture_output=True, text=True, timeout=120)
    assert out.returncode == 0, out.stderr
    jobs = {
        w[0]: int(w[1])
        for w in map(str.split, out.stdout.splitlines())
        if len(w) == 2 and w[1].isdigit()
    }
    assert (jobs["train"], jobs["data"], jobs["report"]) == (25, 1, 1)


def test_the_sweep_of_experimental_recipes_compares_none_but_the_baseline() -> None:
    """And the demonstration's number of forward-forward meets its cell."""
    plan = load_plan(REPO / "config/papers/survey-experimental.yaml", REPO)
    recipes = {c.recipe for c in plan.cells}
    known = plan.catalog.recipes.recipes
    assert {r for r in recipes if not known[r].experimental} == {"backprop"}
    have = {(c.dataset, c.network, c.recipe, c.modules) for c in plan.cells}
    met = {
        r.value
        for r in references.load(REPO / "config" / references.FILE)
        if (r.dataset, r.network, r.recipe, r.modules) in have and known[r.recipe].experimental
    }
    assert met == {6.84}
