"""What a study is told, what it refuses in one line, and where it leaves what it found."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import forked
from cases import BACKPROP, Case, Row, finished
from modulewise import studies
from modulewise.config.dataset import Dataset
from modulewise.config.plan import Plan, load_plan, make_plan
from modulewise.config.resolve import Catalog
from modulewise.config.study import StudyOrder
from modulewise.config.sweep import Sweep
from modulewise.data.load import load
from modulewise.engine.deployed import last_linear
from modulewise.engine.trainer import Trainer
from modulewise.errors import InvalidInput, parse
from modulewise.runs import study as study_files
from modulewise.studies._trained import stage_outputs
from run_folders import ROOT, finish

CPU = torch.device("cpu")
ROW = Row(Case("greedy"), "mlp3x16")
GRID: dict[str, Any] = {
    "datasets": ["fake"],
    "networks": ["resnet8"],
    "recipes": ["backprop", "dgl"],
    "modules": [2, 3],
    "seeds": 2,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that kept its weights; tests leave it as it is."""
    return finished(ROW, tmp_path_factory.mktemp("run"), epochs=1)


@pytest.fixture
def broken(run: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    for path in run.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def refusal(folder: Path, **order: Any) -> str:
    """The one line that a study of a run is refused with."""
    with pytest.raises(InvalidInput) as error:
        studies.make(StudyOrder(**({"study": "probe"} | order)), folder, folder, CPU)
    return str(error.value)


def test_a_run_without_a_result_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: no result.json; a study needs a finished run"


def test_a_run_without_weights_is_refused_with_what_to_do(broken: Path) -> None:
    (broken / "weights.pt").unlink()
    assert refusal(broken) == (
        f"{broken}: no weights.pt; remove {broken}/result.json and train again: a studied run "
        f"keeps its weights, and so does modulewise train --keep-weights"
    )


@pytest.mark.parametrize("content", [b"", b"hello", None], ids=["empty", "text", "cut off"])
def test_damaged_weights_are_refused(content: bytes | None, broken: Path) -> None:
    path = broken / "weights.pt"
    path.write_bytes(path.read_bytes()[:-500] if content is None else content)
    assert refusal(broken).startswith(f"{path}: damaged; remove ")


def test_weights_of_another_network_are_refused(broken: Path, tmp_path_factory: Any) -> None:
    other = finished(Row(Case("greedy"), "mlp3x8"), tmp_path_factory.mktemp("other"), epochs=1)
    (broken / "weights.pt").write_bytes((other / "weights.pt").read_bytes())
    assert refusal(broken).startswith(f"{broken}/weights.pt: weights of another cell; remove ")


def test_a_damaged_result_is_refused(broken: Path) -> None:
    (broken / "result.json").write_text("{")
    assert refusal(broken) == f"{broken}/result.json: damaged; remove it to train again"


def test_images_that_were_replaced_are_refused(tmp_path: Path) -> None:
    """The file is another one than the run was made from."""
    rng = np.random.default_rng(0)
    path = tmp_path / "mine.npz"

    def write() -> None:
        x, y = rng.integers(0, 255, (16, 8, 8, 3), np.uint8), np.arange(16) % 4
        np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)

    write()
    cell = ROW.cell(epochs=1).model_copy(update={"data": Dataset(source="npz", path=str(path))})
    data = load(cell.data, tmp_path, cell.training, cell.seed)
    Trainer(cell, data, tmp_path / "run", CPU, keep_weights=True).fit()
    write()
    assert refusal(tmp_path / "run") == (
        f"{tmp_path}/run: the images have changed since the run was made"
    )


def test_a_wrong_option_is_named_with_the_valid_ones(run: Path) -> None:
    said = refusal(run, options={"dcay": 1})
    assert said.startswith("study: options: unknown key 'dcay'; did you mean 'decay'? valid: ")


def test_a_study_of_a_run_that_diverged_finds_nothing(tmp_path: Path) -> None:
    finished(ROW, tmp_path, lr=1e30)
    found = studies.make(StudyOrder(study="probe"), tmp_path, tmp_path, CPU)
    assert found.found == {}


def test_what_was_found_is_read_as_written(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    found = studies.make(StudyOrder(study="probe"), run, run, CPU)
    found.save(path)
    assert study_files.read(path) == found
    assert (found.study, found.cell) == ("probe", ROW.cell(epochs=1).id)
    path.write_text(path.read_text()[:-20])
    assert study_files.read(path) is None and study_files.read(tmp_path / "none") is None


def test_weights_are_known_by_their_digest(run: Path, tmp_path: Path) -> None:
    mine = studies.load(run, run, CPU)
    other = studies.load(finished(ROW, tmp_path, epochs=2), tmp_path, CPU)
    assert mine.digest == studies.load(run, run, CPU).digest != other.digest


# What the studies see of a network.


def test_stage_outputs_are_those_of_the_network_stage_by_stage() -> None:
    """Also through a stage that works in place, and in whatever modules the net is cut."""
    whole, cut = BACKPROP.build(), Row(Case("greedy"), "resnet8").build()
    cut.trunk.load_state_dict(whole.trunk.state_dict(), strict=False)
    stages = [stage for module in cut.eval().trunk for stage in module][:-1]
    x = torch.randn(2, 3, 8, 8)
    wanted, h = [], x
    with torch.no_grad():
        for stage in stages:
            h = stage(h)
            wanted.append(h.clone())
    found = stage_outputs(cut, x)
    assert len(found) == len(wanted) == 4
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_features_are_what_the_last_layer_gives_scores_of(run: Path) -> None:
    trained = studies.load(run, run, CPU)
    x, y = trained.features(trained.data, "test")
    images = torch.cat([x for x, _ in trained.data.eval_batches("test")])
    with torch.no_grad():
        assert torch.allclose(last_linear(trained.method)(x), trained.method.predict(images))
    assert torch.equal(y, torch.cat([y for _, y in trained.data.eval_batches("test")]))


def test_untrained_weights_are_those_the_run_began_with(run: Path) -> None:
    fresh, trained = ROW.build(), studies.load(run, run, CPU)
    begun = trained.untrained().state_dict()
    assert all(torch.equal(begun[name], value) for name, value in fresh.state_dict().items())
    assert not all(
        torch.equal(begun[name], value) for name, value in trained.method.state_dict().items()
    )


# What a sweep says.


@cache
def _catalog() -> Catalog:
    return Catalog(ROOT / "config/recipes.yaml", ROOT / "config/datasets.yaml")


def plan(**studies: Any) -> Plan:
    sweep = parse(Sweep, {"sweep": "s", "grids": [GRID], "studies": studies}, "s.yaml")
    return make_plan(sweep, _catalog(), where="s.yaml")


def test_a_study_is_made_of_every_run_and_keeps_its_weights() -> None:
    made = plan(probe={})
    assert [s.cell for s in made.studies] == list(made.cells) and len(made.studies) == 6
    assert all(map(made.keeps_weights, made.cells))


def test_only_studied_recipes_keep_their_weights() -> None:
    made = plan(probe={"recipes": ["dgl"]})
    assert {(s.cell.recipe, s.cell.modules) for s in made.studies} == {("dgl", 2), ("dgl", 3)}
    kept = {cell.recipe for cell in made.cells if made.keeps_weights(cell)}
    assert kept == {"dgl"} and not any(map(plan().keeps_weights, plan().cells))


def test_a_studys_file_is_named_by_what_it_measures() -> None:
    """Defaults written out change no name; another option does."""
    plain, spelt, other = (
        plan(probe={"options": options}).studies[0].path
        for options in ({}, {"decay": 1e-4}, {"decay": 1e-2})
    )
    assert plain == spelt != other
    assert plain.startswith(plan().cells[0].path + "/study~probe~")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prob": {}}, r"studies.*: unknown study 'prob'; did you mean 'probe'\? valid: "),
        ({"probe": {"options": {"dcay": 1}}}, r"studies.*unknown key 'dcay'; did you mean 'decay'"),
        ({"probe": {"options": {"decay": -1}}}, r"studies.*decay: .*greater than or equal to 0"),
        ({"probe": {"recipes": ["dlg"]}}, r"studies\.probe\.recipes: unknown recipe of the sweep"),
        (
            {"probe": {"recipe": ["dgl"]}},
            r"studies\.probe: unknown key 'recipe'; did you mean 'recipes'",
        ),
    ],
)
def test_a_wrong_study_is_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=f"^s.yaml: {message}"):
        plan(**given)


# The verbs.


def test_the_verb_writes_beside_the_result(broken: Path) -> None:
    said = forked.run("study", "--run", str(broken / "result.json"), "--name", "probe")
    assert said.returncode == 0, said.stderr
    found = study_files.read(broken / "study~probe.json")
    assert found and found.found
    assert f"{broken}/study~probe.json" in said.stderr + said.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "study: give --name, one of "),
        (["--name", "prob"], "unknown study 'prob'; did you mean 'probe'"),
        (["--name", "probe", "--options", "{"], "--options: "),
        (["--name", "probe", "--options", '{"decay": "x"}'], "decay: "),
    ],
)
def test_the_verb_refuses_in_one_line(words: list[str], message: str, run: Path) -> None:
    said = forked.run("study", "--run", str(run), *words)
    assert said.returncode == 2 and message in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1


@pytest.fixture
def site(tmp_path: Path) -> tuple[Path, Plan]:
    """A sweep with a study, and room for its runs."""
    path = tmp_path / "s.yaml"
    content = {"sweep": "s", "grids": [GRID], "studies": {"probe": {"recipes": ["dgl"]}}}
    path.write_text(yaml.safe_dump(content))
    return path, load_plan(path, ROOT)


def check(path: Path) -> subprocess.CompletedProcess[str]:
    folder = str(path.parent)
    return forked.run("check", "--sweep", str(path), "--root", str(ROOT), "--runs", folder)


def test_check_counts_what_is_measured_and_what_is_made(site: tuple[Path, Plan]) -> None:
    path, sweep = site
    assert "studies  probe (4)" in check(path).stdout
    made = path.parent / sweep.studies[0].path
    made.parent.mkdir(parents=True)
    made.write_text("{}")
    assert "studies  probe (4, 1 made)" in check(path).stdout


def test_check_refuses_to_study_finished_runs_that_kept_no_weights(
    site: tuple[Path, Plan],
) -> None:
    path, sweep = site
    one, other = (s for s in sweep.studies if s.cell.modules == 2)
    finish(path.parent, one.cell)
    said = check(path)
    assert said.returncode == 2 and said.stderr == (
        f"error: {path}: studies: 1 finished run kept no weights, such as "
        f"{path.parent}/{one.cell.path}; remove result.json there to train again\n"
    )
    (path.parent / one.path).write_text("{}")
    assert check(path).returncode == 0, "what is measured already needs no weights"
    finish(path.parent, other.cell)
    (path.parent / other.cell.path / "weights.pt").write_bytes(b"some")
    assert check(path).returncode == 0
