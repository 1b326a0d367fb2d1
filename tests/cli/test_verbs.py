"""What verbs say of themselves, what a shell completes, and settings on the command line."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import forked
import modulewise
from modulewise import models
from modulewise.cli.app import VERBS, load
from modulewise.config.plan import load_plan
from modulewise.runs.result import Result

ROOT = Path(__file__).parents[2]
NARROW = {"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"}


def helped(*words: str) -> str:
    """What `--help` prints on a terminal of 80 columns."""
    done = forked.run(*words, "--help", env=NARROW)
    assert done.returncode == 0, done.stderr
    return done.stdout


def examples(verb: str) -> list[list[str]]:
    """The examples in a verb's help, as a shell splits them."""
    _, _, given = helped(verb).partition("Examples:")
    lines = re.sub(r"\\\s*\n", "", given).splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


def test_the_list_gives_every_verb_one_line() -> None:
    _, _, panel = helped().partition("Commands")
    rows = [line.strip("│ ").split() for line in panel.splitlines() if line.startswith("│")]
    assert [row[0] for row in rows] == VERBS
    assert all(row[-1].endswith(".") for row in rows), "a line ends where it was cut"


@pytest.mark.parametrize("verb", VERBS)
def test_examples_are_words_the_verb_takes(verb: str) -> None:
    given = examples(verb)
    assert 1 <= len(given) <= 3
    for words in given:
        assert words[:2] == ["modulewise", verb]
        with load(verb).make_context(verb, words[2:]) as parsed:
            assert not parsed.args


@pytest.mark.parametrize("verb", ["data", "power", "status"])
def test_examples_that_only_look_run(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = [one for one in examples(verb) if "cifar10" not in one and "--watch" not in one]
    done = forked.run(*words[-1][1:])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_the_version_is_said_with_that_of_torch() -> None:
    import torch

    said = forked.run("--version").stdout
    assert said.startswith(f"modulewise {modulewise.__version__} (")
    assert f"torch {torch.__version__.partition('+')[0]}" in said and said.count("\n") == 1


def completed(words: str, folder: Path = ROOT) -> list[str]:
    """What bash is offered behind these words."""
    whole = f"modulewise {words}"
    asked = {
        "_MODULEWISE_COMPLETE": "complete_bash",
        "COMP_WORDS": whole,
        "COMP_CWORD": str(len(whole.split(" ")) - 1),
    }
    code = (
        "import sys; from modulewise.cli.app import main\ntry: main()\nfinally: print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | asked,
        cwd=folder,
    )
    *offered, loaded = done.stdout.splitlines()
    assert not {"torch", "pandas", "mlflow"} & set(loaded.split(" "))
    return [word for word in offered if word]


def test_verbs_are_completed() -> None:
    assert completed("st") == ["status", "study"]


def test_values_are_completed_from_what_there_is() -> None:
    assert "dgl" in completed("train --recipe dg")
    assert completed("train --dataset mni") == ["mnist"]
    examples = {name for family in models.families() for name in family.EXAMPLES}
    assert set(completed("train --network ")) == examples
    assert completed("train --recipe dgl --set options.h") == ["options.head="]
    assert completed("train --set training.lr_u") == ["training.lr_update="]
    assert completed("study --run x --name la") == ["labels"]


def test_nothing_is_completed_from_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert completed("train --recipe dg", tmp_path) == []


TRAIN = ["train", "--dataset", "digits", "--network", "mlp1x8", "--recipe", "dgl-asynchronous"]
GRID = {"datasets": ["digits"], "networks": ["mlp1x8"], "recipes": ["dgl-asynchronous"]}


def test_set_makes_the_cell_of_a_sweep_with_that_override(tmp_path: Path) -> None:
    changes = {"lr": 0.05, "epochs": 1, "train_images": 64, "lr_milestones": [0.5]}
    sweep = {"sweep": "s", "grids": [GRID | {"modules": [1], "seeds": 1, "training": changes}]}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    (wanted,) = load_plan(tmp_path / "sweep.yaml", ROOT).cells
    assert wanted.training.lr == 0.05
    words = [f"--set=training.{key}={value}" for key, value in changes.items() if key != "epochs"]
    done = forked.run(
        *TRAIN,
        *words,
        "--epochs",
        "1",
        "--config",
        str(ROOT / "config"),
        "--results",
        str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    file = tmp_path / "runs" / wanted.path / "result.json"
    assert Result.model_validate_json(file.read_text()).cell == wanted
    assert done.stdout == f"{file}\n"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("training.lrr=3", "training: unknown key 'lrr'; did you mean 'lr'? valid: accumulate, "),
        ("trainin.lr=3", "--set: unknown key 'trainin'; did you mean 'training'? valid: options, "),
        ("training.lr=fast", "training.lr: input should be a valid number, got 'fast'"),
        ("options.width=3", "options: unknown key 'width'; valid: feature_dim, head"),
        ("training.lr", "--set training.lr: valid: KEY=VALUE, such as training.lr=0.05"),
        ("training.epochs=3", "--set training.epochs: given twice"),
        ("training=3", "--set training: given twice"),
        ("training.lr=[1", "--set training.lr: no valid YAML: line 1, column 3: "),
    ],
)
def test_what_cannot_be_set_is_one_line(word: str, said: str) -> None:
    words = ["--config", str(ROOT / "config"), "--epochs", "1", "--set", word]
    done = forked.run(*TRAIN, *words)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1, (
        done.stderr
    )


def test_a_partition_is_refused_where_nothing_is_cut() -> None:
    words = ["--config", str(ROOT / "config"), "--set", "partition=memory"]
    done = forked.run(*TRAIN[:-1], "backprop", *words)
    assert done.returncode == 2 and "recipe backprop does not cut the network" in done.stderr
