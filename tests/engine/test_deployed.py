"""`modulewise.load` and `modulewise export`: a run's network computes what the run's evaluation
did, here and without modulewise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import forked
import modulewise
from cases import CASES, Case, Row, trainer_of
from modulewise import models, studies
from modulewise.config.study import StudyOrder
from modulewise.engine import checkpoint, deployed
from modulewise.errors import InvalidInput
from modulewise.method import Method
from modulewise.runs.result import Result

ROOT = Path(__file__).parents[2]
FIRST = {case.method: case for case in reversed(CASES)}
"""A row of every method."""
INFERENCE = ("predict", "entering", "forward_module", "initial_state")
"""What a method may do its own way at inference: such ones are exported too."""
BEYOND = [
    Case("contsup", {"context": "R1E", "mode": "softmax", "feature_dim": 16}, modules=4),
    Case("contsup", {"context": "R2", "mode": "softmax", "feature_dim": 16}, modules=4),
    Case("forward_forward", {"readout": "goodness-all"}, modules=2, networks=("mlp3x32",)),
]
"""Methods that compute more than their network at inference, each in its own way."""


def trained(case: Case, folder: Path, **training: Any) -> Any:
    """The trainer of a short run that keeps its weights, finished."""
    made = trainer_of(Row(case, case.networks[0]).cell(**training), folder, keep_weights=True)
    made.fit()
    return made


def images(trainer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Test images as the data set holds them (uint8), and labels."""
    return trainer.data.parts.test.x, trainer.data.parts.test.y


@pytest.mark.parametrize("case", [*FIRST.values(), *BEYOND], ids=str)
def test_it_computes_what_the_method_predicts(case: Case, tmp_path: Path) -> None:
    row = Row(case, case.networks[0])
    trainer = trainer_of(row.cell(), tmp_path)
    method, data = trainer.method, trainer.data
    for name, value in method.state_dict().items():
        if name.endswith("running_mean"):  # no network of its first moment
            value.normal_()
    checkpoint.keep(tmp_path, trainer.cell.to_json(), method.state_dict(), data)
    finish(trainer, tmp_path)
    net = modulewise.load(tmp_path)
    x, _ = images(trainer)
    (given, _), *_ = data.eval_batches("test")
    wanted = method.eval().predict(given)
    assert torch.equal(net(x), wanted)
    own = [name for name in INFERENCE if getattr(type(method), name) is not getattr(Method, name)]
    if own or case.method == "greedy":
        program = deployed.program(net).module()
        for n in (1, 3, len(x)):
            assert torch.allclose(program(x[:n].float() / 255), wanted[:n], rtol=0, atol=1e-6)


def finish(trainer: Any, folder: Path) -> None:
    """Leave the result of a run that has not been trained."""
    from modulewise.engine.origin import origin_of
    from modulewise.runs.result import Cost

    origin = origin_of(trainer.cell, folder, trainer.device, trainer.progress, trainer.data)
    Result(
        cell=trainer.cell,
        status="done",
        epochs=0,
        planned_epochs=1,
        cuts=trainer.cuts,
        cost=Cost(),
        origin=origin,
    ).save(folder)


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"precision": "bf16"},
        {"channels_last": True},
        {"recompute": "stages"},
        {"schedule": "sequential", "epochs": 3},
    ],
    ids=str,
)
def test_its_test_error_is_that_of_the_run(training: dict[str, Any], tmp_path: Path) -> None:
    case = Case("contsup", {"context": "E", "mode": "softmax", "feature_dim": 16})
    trainer = trained(case, tmp_path, **training)
    result = Result.model_validate_json((tmp_path / "result.json").read_text())
    net = modulewise.load(tmp_path / "result.json")
    x, y = images(trainer)
    assert 100 * float((net(x).argmax(1) != y).sum()) / len(y) == result.test_last
    assert torch.equal(net(x), net(x.float() / 255)), "uint8 or [0, 1], the same"
    if "precision" in training:
        program = deployed.program(net).module()
        assert torch.allclose(program(x.float() / 255), net(x), rtol=0, atol=1e-6)
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    assert net.result.cell == trainer.cell


def test_features_are_what_leaves_the_modules(tmp_path: Path) -> None:
    trainer = trained(Case("dgl", {"feature_dim": 16}), tmp_path)
    net = modulewise.load(tmp_path)
    x, _ = images(trainer)
    h = trainer.data.normalise(x.float() / 255)
    trunk = trainer.method.eval().trunk
    for k in range(2):
        h = trunk[k](h)
        assert torch.equal(net.features(x, k), h)
    last = deployed.last_linear(trainer.method)
    assert torch.allclose(last(net.features(x)), net(x))
    with pytest.raises(ValueError, match="module 2: valid: 0 to 1, or None"):
        net.features(x, 2)


def test_the_state_dict_is_the_networks_own(tmp_path: Path) -> None:
    trainer = trained(Case("dgl", {"feature_dim": 16}), tmp_path / "run")
    said = export(tmp_path / "run", "--state-dict", tmp_path / "network.pt")
    found = re.search(
        r"models\.build\('(\w+)', \((.*)\), (\d+)\).*mean (\[.*\]), std (\[.*\])", said
    )
    assert found
    plain = models.build(found[1], tuple(map(int, found[2].split(","))), int(found[3])).eval()
    plain.load_state_dict(torch.load(tmp_path / "network.pt", weights_only=True))
    x, _ = images(trainer)
    mean, std = (torch.tensor(eval(found[i]))[:, None, None] for i in (4, 5))
    given = (x.float() / 255 - mean) / std
    assert torch.allclose(plain(given), modulewise.load(tmp_path / "run")(x), atol=1e-4)


def test_the_program_needs_no_modulewise_and_has_no_helpers(tmp_path: Path) -> None:
    trainer = trained(Case("contsup", {"feature_dim": 16}), tmp_path / "run")
    said = export(tmp_path / "run", "--to", tmp_path / "model.pt2")
    assert said == f"{tmp_path}/model.pt2: float32 images (B, 3, 8, 8) in [0, 1] -> scores (B, 4)\n"
    x, _ = images(trainer)
    torch.save(x.float() / 255, tmp_path / "x.pt")
    code = f"""
import sys, torch
program = torch.export.load("{tmp_path}/model.pt2")
x = torch.load("{tmp_path}/x.pt")
y = torch.cat([program.module()(part) for part in x.split([1, 2, len(x) - 3])])
torch.save(y, "{tmp_path}/y.pt")
print(sum(p.numel() for p in program.parameters()), *(m for m in sys.modules if "modulewise" in m))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(trainer.fit().cost.inference_parameters)]
    wanted = modulewise.load(tmp_path / "run")(x)
    assert torch.allclose(torch.load(tmp_path / "y.pt"), wanted, rtol=0, atol=1e-6)


def export(*words: object) -> str:
    done = forked.run("export", *map(str, words))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_cannot_be_exported_is_one_line(tmp_path: Path) -> None:
    trained(Case("contsup", {"feature_dim": 16}), tmp_path)
    done = forked.run("export", str(tmp_path), "--state-dict", str(tmp_path / "network.pt"))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "contsup computes more than its network at inference" in done.stderr
    assert not (tmp_path / "network.pt").exists()
    done = forked.run("export", str(tmp_path))
    assert done.returncode == 2 and "give --to FILE.pt2, --state-dict FILE.pt" in done.stderr
    (tmp_path / "weights.pt").unlink()
    with pytest.raises(InvalidInput, match=r"no weights.pt; .*modulewise train --keep-weights`"):
        modulewise.load(tmp_path)


NO_WORK = """
from modulewise import studies
from modulewise.engine import deployed
studies.make = deployed.program = None
"""


def test_a_file_has_a_place_before_the_work(tmp_path: Path) -> None:
    trained(Case("greedy"), tmp_path / "run")
    export(tmp_path / "run", "--state-dict", tmp_path / "new" / "one" / "network.pt")
    assert (tmp_path / "new" / "one" / "network.pt").exists()
    (tmp_path / "file").touch()
    for path, told in (
        ("file/x", "a file stands where a folder"),
        ("new", "a folder stands where"),
    ):
        for words in (
            ["export", str(tmp_path / "run"), "--to"],
            ["study", "--run", str(tmp_path / "run"), "--name", "labels", "--out"],
        ):
            done = forked.run(*words, str(tmp_path / path), before=NO_WORK)
            assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
            assert told in done.stderr


def test_weights_kept_before_inputs_were_are_read_with_the_data(tmp_path: Path) -> None:
    trainer = trained(Case("greedy"), tmp_path)
    x, _ = images(trainer)
    wanted = modulewise.load(tmp_path)(x)
    content = torch.load(tmp_path / "weights.pt", weights_only=True)
    del content["inputs"]
    torch.save(content, tmp_path / "weights.pt")
    assert torch.equal(modulewise.load(tmp_path)(x), wanted)


def test_weights_of_other_code_are_one_line(tmp_path: Path) -> None:
    trained(Case("greedy"), tmp_path)
    content = torch.load(tmp_path / "weights.pt", weights_only=True)
    name = next(iter(content["method"]))
    content["method"][name] = content["method"][name][:1]
    torch.save(content, tmp_path / "weights.pt")
    told = rf"^{tmp_path}/weights.pt: its weights do not fit the code.*{name} is .*; .*train"
    with pytest.raises(InvalidInput, match=told):
        modulewise.load(tmp_path)
    order = StudyOrder(study="gradients")
    with pytest.raises(InvalidInput, match=told):
        studies.make(order, tmp_path, tmp_path, torch.device("cpu"))


def test_the_package_offers_load_without_loading_torch() -> None:
    code = "import sys, modulewise; print('torch' in sys.modules, modulewise.load.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False load\n"
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        modulewise.lode  # noqa: B018


def test_the_documented_probe_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "use-a-trained-network.md").read_text()
    (code,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        if "def probe" in block
    )
    words = "--dataset digits --network mlp3x32 --recipe dgl --modules 2 --epochs 3 --keep-weights"
    config = ["--config", str(ROOT / "config"), "--out", str(tmp_path), "--set", "training.lr=0.1"]
    done = forked.run("train", *words.split(" "), *config)
    assert done.returncode == 0, done.stderr
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    own, run = re.fullmatch(r"the net +(\S+) %, its run +(\S+) %", said[0]).groups()  # type: ignore[union-attr]
    assert own == run
    errors = {line[:12].strip(): float(line[12:-1]) for line in said[1:]}
    assert errors.keys() == {"module 0", "classifier"} and max(errors.values()) < 50
